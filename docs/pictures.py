"""Draws the examples of the detectors' pages: ``python docs/pictures.py`` from the root.

They are of real days if ``TAPEWATCH_TEST_DATA`` names the folder of real data, else of a simulated session.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import matplotlib as mpl
import numpy as np

from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from connectors.sessions import Session
from connectors.store_questions import Document
from connectors.store_sqlite import SqliteStore
from models.real_days import judge_files
from models.tapes import session_of_files
from tapewatch.documents import rfc3339
from tapewatch.records import HOUR, MINUTE

mpl.use("Agg")
from matplotlib import pyplot as plt

_DOCS = Path(__file__).parent
_INK, _FOUND = "#2f6690", "#d1495b"
_REAL = (
    "equs-mini-20131007.trades.dbn.zst",
    "equs-mini-20131008.trades.dbn.zst",
    "glbx-mdp3-20131007.gc.trades.dbn.zst",
)
_ALL = 100_000


def main() -> None:
    """Judge tapes, and draw the worst anomaly of each detector."""
    _simple()
    _models()


def _simple() -> None:
    with tempfile.TemporaryDirectory() as name:
        paths = _paths(Path(name))
        with _judged(paths) as store:
            volumes = store.anomalies(detector="high_volume", order="worst", limit=_ALL)
            # A burst of trading shows more than a single print does.
            burst = [found for found in volumes if found["contributions"].get("trades", 0) >= 0.5]
            volume = (burst or volumes)[0]
            bars = store.bars(volume["key"], "1m", limit=_ALL)
            block = store.anomalies(detector="block_trade", order="worst", limit=1)[0]
        session = session_of_files(paths)
    _draw_volume(volume, bars)
    trades = session.records[session.records["instrument_id"] == session.instrument_id(block["key"])]
    _draw_block(block, trades["ts_event"].astype(np.int64), trades["size"])


@contextmanager
def _judged(paths: Sequence[Path]) -> Iterator[SqliteStore]:
    """Yield the results of the market flow on some files."""
    with tempfile.TemporaryDirectory() as name:
        judge_files(paths, Path(name) / "results.db")
        with SqliteStore(Path(name) / "results.db") as store:
            yield store


def _models() -> None:
    """Draw for each detector that learns the worst it says of an injected event of one kind."""
    kinds = {"half_space_trees": "flash_crash", "isolation_forest": "price_jump", "autoencoder": "bad_tick"}
    session = simulate(MarketSimulation(symbols=40, seed=7, anomalies=tuple(kinds.values())))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "day.dbn.zst"
        write_dbn(path, session.records, session.symbols)
        _draw_models(session, kinds, path)


def _draw_models(session: Session, kinds: dict[str, str], path: Path) -> None:
    with _judged([path]) as store:
        for detector, kind in kinds.items():
            keys = {label.key for label in session.labels if label.kind == kind}
            worst = store.anomalies(detector=detector, order="worst", limit=200)
            found = next(anomaly for anomaly in worst if anomaly["key"] in keys)
            _draw_model(found, store.bars(found["key"], "1m"))


def _draw_model(found: Document, bars: list[Document]) -> None:
    near = [bar for bar in bars if abs(bar["ts_start"] - found["ts_start"]) < HOUR]
    minutes = np.array([(bar["ts_start"] - found["ts_start"]) / MINUTE for bar in near])
    colours = [_FOUND if found["ts_start"] <= bar["ts_start"] < found["ts_end"] else _INK for bar in near]
    figure, axes = plt.subplots(1, 3, figsize=(11, 2.8), dpi=100, width_ratios=(3, 3, 2))
    axes[0].vlines(minutes, [b["low"] for b in near], [b["high"] for b in near], color=colours, linewidth=2)
    axes[0].set(xlabel="minutes from the anomaly's start", ylabel="price")
    axes[1].bar(minutes, [bar["volume"] for bar in near], 0.85, color=colours)
    axes[1].set(xlabel="minutes from the anomaly's start", ylabel="shares a minute")
    shares = sorted(found["contributions"].items(), key=lambda pair: pair[1])[-6:]
    axes[2].barh([name for name, _ in shares], [share for _, share in shares], color=_FOUND)
    axes[2].set(xlabel="share of the score")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_title(f"{found['key']}, severity {found['severity']:.0f}", fontsize=10, loc="left")
    figure.tight_layout()
    figure.savefig(_DOCS / f"{found['detector'].replace('_', '-')}.png")
    plt.close(figure)


def _paths(folder: Path) -> Sequence[Path]:
    real = os.environ.get("TAPEWATCH_TEST_DATA")
    if real:
        return [Path(real) / "dbn" / name for name in _REAL]
    session = simulate(MarketSimulation(symbols=40, seed=7, anomalies=("high_volume", "block_trade")))
    write_dbn(folder / "day.dbn.zst", session.records, session.symbols)
    return [folder / "day.dbn.zst"]


def _draw_volume(found: Document, bars: list[Document]) -> None:
    near = [bar for bar in bars if abs(bar["ts_start"] - found["ts_start"]) < HOUR]
    minutes = [(bar["ts_start"] - found["ts_start"]) / MINUTE for bar in near]
    inside = [found["ts_start"] <= bar["ts_start"] < found["ts_end"] for bar in near]
    figure, axes = plt.subplots(figsize=(8, 2.8), dpi=100)
    axes.bar(
        minutes, [bar["volume"] for bar in near], 0.85, color=[_FOUND if yes else _INK for yes in inside]
    )
    axes.axhline(found["expected"], color="#555555", linewidth=1, linestyle="--", label="expected")
    axes.set(xlabel="minutes from the anomaly's start", ylabel="volume a minute")
    _finish(figure, axes, found, "high-volume.png")


def _draw_block(found: Document, times: np.ndarray, sizes: np.ndarray) -> None:
    near = np.abs(times - found["ts_start"]) < HOUR
    minutes, shown = (times[near] - found["ts_start"]) / MINUTE, sizes[near]
    inside = (
        (times[near] >= found["ts_start"]) & (times[near] < found["ts_end"]) & (shown >= found["threshold"])
    )
    figure, axes = plt.subplots(figsize=(8, 2.8), dpi=100)
    axes.scatter(minutes[~inside], shown[~inside], 5, color=_INK, alpha=0.5, linewidth=0)
    axes.scatter(minutes[inside], shown[inside], 40, color=_FOUND)
    axes.axhline(found["threshold"], color="#555555", linewidth=1, linestyle="--", label="threshold")
    axes.set(xlabel="minutes from the anomaly", ylabel="size of a trade", yscale="log")
    _finish(figure, axes, found, "block-trade.png")


def _finish(figure: plt.Figure, axes: plt.Axes, found: Document, name: str) -> None:
    when = rfc3339(found["ts_start"])[:16].replace("T", " ")
    axes.set_title(f"{found['key']}, {when} UTC, severity {found['severity']:.0f}", fontsize=10, loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, loc="upper left")
    figure.tight_layout()
    figure.savefig(_DOCS / name)
    plt.close(figure)
    print(f"{name}: {found['reason']}")


if __name__ == "__main__":
    main()
