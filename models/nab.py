"""``tapewatch evaluate nab``: detectors on the Numenta Anomaly Benchmark, each series streamed once.

A series becomes bars of one price each, so the very detectors of the market flow judge it; ``value_novelty``
reads that price. Scores are mapped to [0, 1) by ``score / (1 + score)``, the same for all series, and
written as NAB's result files.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from models.bar_runs import run
from models.nab_scoring import PROFILES, Labelled, Profile, score, windows_of
from operators.detector import Detector
from operators.detectors import KNOWN, detectors
from tapewatch.documents import BAR
from tapewatch.errors import UserError
from tapewatch.records import LARGEST_PRICE, PRICE_SCALE, Array, Floats

#: What a file of this study says that it is.
STUDY = "nab"
#: Chosen on the series of NAB's that are at hand; the same for all series.
DEFAULT = "value_novelty"


@dataclass(frozen=True, slots=True)
class Series:
    """One series: its file below ``data``, the times as written and as ns, and the values."""

    name: str
    written: list[str]
    times: Array
    values: Floats


def read(folder: Path) -> list[Series]:
    """Return the series below ``folder/data``, or below the folder itself.

    Raises
    ------
    UserError
        If there are none, or one cannot be read.
    """
    data = folder / "data" if (folder / "data").is_dir() else folder
    found = [_series(path, path.relative_to(data).as_posix()) for path in sorted(data.glob("*/*.csv"))]
    if not found:
        raise UserError(
            f"`--data` must be laid out as NAB's data/ (GROUP/SERIES.csv), {folder} has no such file"
        )
    return found


def _series(path: Path, name: str) -> Series:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows or [cell.strip() for cell in rows[0][:2]] != ["timestamp", "value"]:
        raise UserError(f"{path} must begin with timestamp,value")
    try:
        times = np.array([row[0].strip().replace(" ", "T") for row in rows[1:]], "datetime64[ns]")
        values = np.array([float(row[1]) for row in rows[1:]])
    except (ValueError, IndexError) as error:
        raise UserError(f"{path} has a row that is no time and number: {error}") from None
    if not np.isfinite(values).all():
        raise UserError(f"{path} has a value that is not finite")
    return Series(name, [row[0] for row in rows[1:]], times, values)


def bars_of(series: Series) -> Array:
    """Return a series as bars of one price each."""
    bars = np.zeros(len(series.values), BAR)
    bars["ts_start"] = series.times.astype(np.int64)
    price = np.clip(np.rint(series.values * PRICE_SCALE), -LARGEST_PRICE + 1, LARGEST_PRICE - 1)
    for name in ("open", "high", "low", "close"):
        bars[name] = price
    bars["trades"] = 1
    return bars


def names() -> list[str]:
    """Return the detectors that can judge a series."""
    return [d.name for d in KNOWN if d.reads in {"bars", "severities"} and d.name != "river"]


def chosen(name: str, parameters: Mapping[str, Any] = MappingProxyType({})) -> tuple[Detector, ...]:
    """Return a detector, with its members if it is the ensemble.

    Raises
    ------
    UserError
        If there is no such detector of bars.
    """
    if name not in names():
        raise UserError(f"`--detector` must be one of {', '.join(names())}, was {name!r}")
    own: dict[str, Any] = {"enabled": True, **parameters}
    if name == DEFAULT:
        own = {"value": "close", **own}
    sections = {d.name: {"enabled": name == "ensemble" and d().enabled} for d in KNOWN} | {name: own}
    return tuple(d for d in detectors(sections) if d.bar_width == "1m")


def scores_of(
    every: Sequence[Series],
    name: str,
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Floats]:
    """Return what a detector says of each series, in [0, 1), 0 where it says nothing."""
    detector = chosen(name, parameters)
    found = {}
    for series in every:
        told = run(detector, bars_of(series))
        score_of = np.nan_to_num(told[detector[-1].id].score)
        found[series.name] = np.maximum(score_of, 0) / (1 + np.maximum(score_of, 0))
    return found


def labels_of(folder: Path) -> dict[str, Any] | None:
    """Return NAB's labelled windows by series, or None if there are none beside the data."""
    for path in (
        folder / "labels" / "combined_windows.json",
        folder.parent / "labels" / "combined_windows.json",
    ):
        if path.is_file():
            try:
                told = json.loads(path.read_text())
            except ValueError as error:
                raise UserError(f"{path} is no JSON: {error}") from None
            if isinstance(told, dict):
                return told
            raise UserError(f"{path} must hold windows by series")
    return None


def profiles_of(folder: Path) -> Mapping[str, Profile]:
    """Return the profiles in a file ``profiles.json`` beside the data, else those that NAB publishes."""
    for path in (folder / "profiles.json", folder / "config" / "profiles.json"):
        if path.is_file():
            try:
                told = json.loads(path.read_text())
                return {
                    name: Profile(
                        *(float(one["CostMatrix"][key]) for key in ("tpWeight", "fpWeight", "fnWeight"))
                    )
                    for name, one in told.items()
                }
            except (ValueError, KeyError, TypeError, AttributeError):
                raise UserError(f"{path} does not hold NAB's profiles") from None
    return PROFILES


def scored(
    every: Sequence[Series],
    told: Mapping[str, Floats],
    labels: Mapping[str, Any],
    profiles: Mapping[str, Profile],
) -> dict[str, dict[str, float]]:
    """Return the score and the threshold of each profile over the series that have labels."""
    corpus = [
        Labelled(told[series.name], windows_of(series.times, labels[series.name]))
        for series in every
        if series.name in labels
    ]
    if not any(one.windows for one in corpus):
        raise UserError("none of the series has a labelled window; without labels there is nothing to score")
    found = {name: score(corpus, profile) for name, profile in profiles.items()}
    return {name: {"score": round(one.score, 2), "threshold": one.threshold} for name, one in found.items()}


def write(folder: Path, detector: str, every: Sequence[Series], told: Mapping[str, Floats]) -> None:
    """Write NAB's result files: ``DETECTOR/GROUP/DETECTOR_SERIES.csv``."""
    for series in every:
        group, _, file = series.name.rpartition("/")
        path = folder / detector / group / f"{detector}_{file}"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(["timestamp", "value", "anomaly_score"])
            for row in zip(series.written, series.values.tolist(), told[series.name].tolist(), strict=True):
                writer.writerow([row[0], repr(row[1]), repr(row[2])])


def robustness(
    every: Sequence[Series], labels: Mapping[str, Any], progress: Callable[[str], None] = lambda what: None
) -> dict[str, float]:
    """Return the standard score of `DEFAULT` with each parameter halved and doubled."""
    found = {}
    for name in ("mean_windows", "quiet_windows"):
        usual = int(KNOWN_DEFAULTS[name])
        for value in (usual // 2, usual * 2):
            progress(f"{name}={value}")
            told = scores_of(every, DEFAULT, {name: value})
            found[f"{name}={value}"] = scored(every, told, labels, {"standard": PROFILES["standard"]})[
                "standard"
            ]["score"]
    return found


KNOWN_DEFAULTS = {"mean_windows": 16, "quiet_windows": 200}
