"""Draws the examples of the detectors' pages: ``python docs/pictures.py`` from the root.

They are of real days if ``TAPEWATCH_TEST_DATA`` names the folder of real data, else of a simulated session.
Each detector shows its worst anomaly among those that have a session around them.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from tapewatch.records import HOUR, MINUTE, PRICE_SCALE, SECOND, Array, Floats

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

_DOCS = Path(__file__).parent
_INK, _FOUND = "#2f6690", "#d1495b"
_REAL = (
    "equs-mini-20131007.trades.dbn.zst",
    "equs-mini-20131008.trades.dbn.zst",
    "glbx-mdp3-20131007.gc.trades.dbn.zst",
)
_ALL = 100_000
#: A picture wants this many bars within an hour on either side.
_BARS = 100


def main() -> None:
    """Judge tapes, and draw the worst anomaly of each detector."""
    with tempfile.TemporaryDirectory() as name:
        paths = _paths(Path(name))
        judge_files(paths, Path(name) / "results.db")
        with SqliteStore(Path(name) / "results.db") as store:
            tape = _Tape(store, session_of_files(paths))
            for detector, (least, wanted, draw) in _PICTURES.items():
                _draw(tape, detector, least, wanted, draw)


def _paths(folder: Path) -> Sequence[Path]:
    real = os.environ.get("TAPEWATCH_TEST_DATA")
    if real:
        return [Path(real) / "dbn" / name for name in _REAL]
    session = simulate(MarketSimulation(symbols=40, seed=7))
    write_dbn(folder / "day.dbn.zst", session.records, session.symbols)
    return [folder / "day.dbn.zst"]


@dataclass(frozen=True)
class _Tape:
    """What the flow made of some files, and their trades."""

    store: SqliteStore
    session: Session

    def worst(self, detector: str, least_bars: int, wanted: Callable[[Document], bool]) -> Document:
        """Return the worst anomaly that is wanted and has so many bars around it, or else the worst."""
        worst = self.store.anomalies(detector=detector, order="worst", limit=_ALL)
        fit = (found for found in worst if wanted(found) and len(self.bars(found)) >= least_bars)
        return next(fit, worst[0])

    def bars(self, found: Document) -> list[Document]:
        """Return the minutes within an hour of an anomaly."""
        return self.store.bars(found["key"], "1m", found["ts_start"] - HOUR, found["ts_start"] + HOUR)

    def trades(self, found: Document, around_ns: int) -> tuple[Floats, Array]:
        """Return the trades around an anomaly, and their seconds from its start."""
        records = self.session.records
        mine = records[records["instrument_id"] == self.session.instrument_id(found["key"])]
        seconds = (mine["ts_event"].astype(np.int64) - found["ts_start"]) / SECOND
        near = (seconds > -around_ns / SECOND) & (
            seconds < (found["ts_end"] - found["ts_start"] + around_ns) / SECOND
        )
        return seconds[near], mine[near]


def _draw(
    tape: _Tape, detector: str, least_bars: int, wanted: Callable[[Document], bool], draw: _Draw
) -> None:
    found = tape.worst(detector, least_bars, wanted)
    figure = draw(tape, found)
    first = figure.axes[0]
    when = rfc3339(found["ts_start"])[:16].replace("T", " ")
    first.set_title(f"{found['key']}, {when} UTC, severity {found['severity']:.0f}", fontsize=10, loc="left")
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(_DOCS / f"{detector.replace('_', '-')}.png")
    plt.close(figure)
    print(f"{detector}: {found['reason']}")


def _high_volume(tape: _Tape, found: Document) -> Figure:
    figure, axes = plt.subplots(figsize=(8, 2.8), dpi=100)
    _volumes(axes, tape.bars(found), found)
    axes.axhline(found["expected"], color="#555555", linewidth=1, linestyle="--", label="expected")
    axes.legend(frameon=False, loc="upper left")
    return figure


def _block_trade(tape: _Tape, found: Document) -> Figure:
    figure, axes = plt.subplots(figsize=(8, 2.8), dpi=100)
    seconds, trades = tape.trades(found, HOUR)
    minutes, sizes = seconds / 60, trades["size"]
    inside = (seconds >= 0) & (seconds * SECOND < found["ts_end"] - found["ts_start"])
    inside &= sizes >= found["threshold"]
    axes.scatter(minutes[~inside], sizes[~inside], 5, color=_INK, alpha=0.5, linewidth=0)
    axes.scatter(minutes[inside], sizes[inside], 40, color=_FOUND)
    axes.axhline(found["threshold"], color="#555555", linewidth=1, linestyle="--", label="threshold")
    axes.set(xlabel="minutes from the anomaly", ylabel="size of a trade", yscale="log")
    axes.legend(frameon=False, loc="upper left")
    return figure


def _price_jump(tape: _Tape, found: Document) -> Figure:
    """Draw the worst window, and the worst bad tick beside it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 2.8), dpi=100)
    _prices(left, tape.bars(found), found)
    tick = tape.worst("price_jump", _BARS, lambda found: "distance_before" in found["contributions"])
    seconds, trades = tape.trades(tick, 20 * SECOND)
    prices = trades["price"] / PRICE_SCALE
    off = (trades["ts_event"].astype(np.int64) == tick["ts_event"]) & np.isclose(prices, tick["observed"])
    right.plot(seconds[~off], prices[~off], ".", color=_INK, markersize=4)
    right.plot(seconds[off], prices[off], "o", color=_FOUND)
    when = rfc3339(tick["ts_event"])[:19].replace("T", " ")
    right.set_title(f"{tick['key']}, {when}, severity {tick['severity']:.0f}", fontsize=10, loc="left")
    right.ticklabel_format(useOffset=False, axis="y")
    right.set(xlabel="seconds from the bad tick", ylabel="price of a trade")
    print(f"price_jump, bad ticks: {tick['reason']}")
    return figure


def _feed_integrity(tape: _Tape, found: Document) -> Figure:
    """Draw the trades on both sides of a silence."""
    figure, axes = plt.subplots(figsize=(8, 2.8), dpi=100)
    length = found["ts_end"] - found["ts_start"]
    seconds, trades = tape.trades(found, max(2 * length, MINUTE))
    axes.plot(seconds, trades["price"] / PRICE_SCALE, ".", color=_INK, markersize=4)
    axes.axvspan(0, length / SECOND, color=_FOUND, alpha=0.25, linewidth=0)
    axes.ticklabel_format(useOffset=False, axis="y")
    axes.set(xlabel="seconds from the last trade before the silence", ylabel="price of a trade")
    return figure


def _learned(tape: _Tape, found: Document) -> Figure:
    """Draw prices, volumes, and which features (or members) carry the score."""
    figure, (prices, volumes, shares) = plt.subplots(1, 3, figsize=(11, 2.8), dpi=100, width_ratios=(3, 3, 2))
    bars = tape.bars(found)
    _prices(prices, bars, found)
    _volumes(volumes, bars, found)
    largest = sorted(found["contributions"].items(), key=lambda pair: float(pair[1]))[-6:]
    shares.barh([name for name, _ in largest], [share for _, share in largest], color=_FOUND)
    shares.set(xlabel="share of the score")
    return figure


def _prices(axes: Axes, bars: list[Document], found: Document) -> None:
    minutes, colours = _places(bars, found)
    axes.vlines(minutes, [b["low"] for b in bars], [b["high"] for b in bars], color=colours, linewidth=2)
    axes.scatter(minutes, [b["close"] for b in bars], 6, color=colours, linewidth=0)
    axes.ticklabel_format(useOffset=False, axis="y")
    axes.set(xlabel="minutes from the anomaly's start", ylabel="price")


def _volumes(axes: Axes, bars: list[Document], found: Document) -> None:
    minutes, colours = _places(bars, found)
    axes.bar(minutes, [bar["volume"] for bar in bars], 0.85, color=colours)
    axes.set(xlabel="minutes from the anomaly's start", ylabel="volume a minute")


def _places(bars: list[Document], found: Document) -> tuple[Floats, list[str]]:
    minutes = np.array([(bar["ts_start"] - found["ts_start"]) / MINUTE for bar in bars])
    return minutes, [_FOUND if found["ts_start"] <= b["ts_start"] < found["ts_end"] else _INK for b in bars]


_Draw = Callable[[_Tape, Document], Figure]
#: How many bars an example needs around it, which anomalies show what the page speaks of, and how to draw it.
_PICTURES: dict[str, tuple[int, Callable[[Document], bool], _Draw]] = {
    # A burst of trading shows more than a single print does.
    "high_volume": (_BARS, lambda found: found["contributions"].get("trades", 0) >= 0.5, _high_volume),
    "block_trade": (0, lambda _: True, _block_trade),
    # Two windows or more are, as a rule, there and back.
    "price_jump": (
        _BARS,
        lambda found: "within_window" in found["contributions"] and found["revision"] == 1,
        _price_jump,
    ),
    "feed_integrity": (_BARS, lambda found: "rhythm_before" in found["contributions"], _feed_integrity),
    "half_space_trees": (_BARS, lambda _: True, _learned),
    "isolation_forest": (_BARS, lambda _: True, _learned),
    "autoencoder": (_BARS, lambda _: True, _learned),
    "ensemble": (_BARS, lambda _: True, _learned),
}

if __name__ == "__main__":
    main()
