"""Tables and a picture of the study of injected bars."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from models.bar_baselines import BASELINES
from models.bar_curves import ANY
from models.bar_events import KINDS
from models.bar_results import EVERYTHING, SIZE_EDGES, Result

#: What a transformer autoencoder was published with, on its own test.
PUBLISHED = {"contextual": 0.79, "pattern": 0.42, "collective": 0.55, "subtle": 0.09, "mixed": 0.36}
_TITLES = {
    "delay_bars": "delay, bars",
    "false_per_day": "false episodes a day",
    "precision_share": "precision, if the kind came alone and as often as all do,",
    "f1_share": "f1, if the kind came alone and as often as all do,",
}
_AT = "recall at one false episode a day"
_SIGMA = {
    "deviation": "A sigma is the standard deviation of the time of day.",
    "robust": "A sigma is 1.48 times the median absolute deviation of the time of day.",
}


def tables(result: Result) -> str:
    """Return the results as Markdown."""
    parts = [_headline(result), _SIGMA[result.reading], _visible(result), _sizes(result)]
    parts += [_own(result, measure) for measure in ("precision", "recall", "f1", "f2", "f4")]
    parts += [_own(result, "delay_bars"), _own(result, "false_per_day")]
    chosen = ("precision", "recall", "f1", "precision_share", "f1_share", "false_per_day")
    parts += [_own(result, measure, chosen=True) for measure in chosen]
    parts += [_area(result, 0, "ROC AUC of bars"), _area(result, 1, "average precision of bars")]
    return "\n\n".join(parts) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _name(name: str) -> str:
    return name if name in BASELINES or name == EVERYTHING else f"`{name}`"


def _told(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.2f}"


def _headline(result: Result) -> str:
    rows = []
    for name in result.rows:
        by_kind = [_spread(result.recalls(name, kind)) for kind in KINDS]
        rows.append([_name(name), *by_kind, _spread(result.mean(name))])
    ours = float(np.mean(result.mean("ensemble"))) if "ensemble" in result.rows else np.nan
    best = max(float(np.mean(result.mean(name))) for name in BASELINES if "random" not in name)
    text = _table([_AT, *KINDS, "mean"], rows)
    return f"{text}\n\n`ensemble` finds {ours / max(best, 1e-9):.2f} times what the best baseline finds."


def _spread(values: list[float]) -> str:
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return ""
    return f"{np.mean(known):.2f}" + (f" ± {np.std(known):.2f}" if len(known) > 1 else "")


def _visible(result: Result) -> str:
    counts = [result.share_visible(kind) for kind in KINDS]
    rows = [["events", *(str(total) for _, total in counts), str(sum(total for _, total in counts))]]
    rows.append(["visible", *(str(seen) for seen, _ in counts), str(sum(seen for seen, _ in counts))])
    for name in result.rows:
        by_kind = [_spread(result.recalls(name, kind, visible=True)) for kind in KINDS]
        rows.append([_name(name), *by_kind, _spread(result.mean(name, visible=True))])
    return _table([f"{_AT}, of visible events", *KINDS, "mean"], rows)


def _sizes(result: Result) -> str:
    edges = list(pairwise(SIZE_EDGES))
    rows = [[_name(name), *(_told(result.by_size(name, *edge)) for edge in edges)] for name in result.rows]
    return _table([f"{_AT}, by size", *(f"{low:g} to {high:g} sigmas" for low, high in edges)], rows)


def _own(result: Result, measure: str, *, chosen: bool = False) -> str:
    title = _TITLES.get(measure, measure)
    kinds = [*KINDS, ANY] if chosen else list(KINDS)
    rows = [
        [_name(name), *(_told(result.own(name, kind, chosen=chosen)[measure]) for kind in kinds)]
        for name in result.rows
    ]
    if measure in {"f1", "f1_share"}:
        published = [_told(PUBLISHED.get(kind, np.nan)) for kind in kinds]
        rows.append(["published transformer, on its own test", *published])
    at = "the threshold that F1 picks" if chosen else "its own threshold"
    return _table([f"{title} at {at}", *kinds], rows)


def _area(result: Result, which: int, title: str) -> str:
    rows = [[_name(name), *(_told(result.area(name, kind)[which]) for kind in KINDS)] for name in result.rows]
    return _table([title, *KINDS], rows)


def picture(result: Result, path: Path) -> None:
    """Draw what everyone finds, by kind."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    shown = [name for name in result.rows if name != EVERYTHING]
    figure, axis = plt.subplots(figsize=(9, 0.34 * len(shown) + 1.4))
    place = np.arange(len(shown))
    means = {name: float(np.mean(result.mean(name))) for name in shown}
    order = sorted(shown, key=lambda name: means[name])
    axis.barh(place, [means[name] for name in order], color="#c8d4e3", label="mean")
    for kind, mark in zip(KINDS, "o^sDv", strict=True):
        values = [result.recall(name, kind) for name in order]
        axis.plot(values, place, mark, label=kind, markersize=5)
    axis.set_yticks(place, order)
    axis.set(xlabel="event recall at one false alarm episode per instrument and day", xlim=(0, 1))
    axis.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
