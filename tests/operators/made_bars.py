"""Bars for the tests of what judges them, and ways to hand them over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from operators.detector import Logic, Scores, Segments, segments_of_bars
from tapewatch.documents import BAR
from tapewatch.records import DAY, MINUTE, Array, Floats

MONDAY = 19_877 * DAY
_TICK = 10_000_000


def made_bars(seed: int, rows: int = 3, count: int = 160, *, detailed: bool | None = True) -> Array:
    """Return minute bars of some instruments, sorted by (row, start), with pauses, bursts and a new day.

    With ``detailed=None`` some instruments tell of trades and sides, and others do not.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for row in range(rows):
        number = int(rng.integers(count // 2, count + 1))
        bars = np.zeros(number, BAR)
        steps = rng.choice([1, 1, 1, 1, 2, 7, 30], number)
        steps[number // 2] = 1000
        bars["row"], bars["instrument_id"] = row, row + 1
        bars["ts_start"] = MONDAY + 13 * 3600 * 10**9 + (np.cumsum(steps) + row % 3) * MINUTE
        close = 3000 + np.cumsum(rng.normal(0, 3, number) * rng.choice([1, 1, 1, 8], number)).astype(int)
        bars["close"] = close * _TICK
        bars["open"] = (close + rng.integers(-3, 4, number)) * _TICK
        spread = rng.integers(0, 6, (2, number)) * _TICK
        bars["high"] = np.maximum(bars["open"], bars["close"]) + spread[0]
        bars["low"] = np.minimum(bars["open"], bars["close"]) - spread[1]
        bars["volume"] = np.maximum(rng.lognormal(7, 0.8, number), 1)
        bars["trades"] = np.minimum(rng.integers(1, 60, number), bars["volume"])
        tells = bool(rng.random() < 0.5) if detailed is None else detailed
        bars["detailed"] = tells
        if tells:
            bars["buy_volume"] = (bars["volume"] * rng.random(number)).astype(np.int64)
            bars["sell_volume"] = bars["volume"] - bars["buy_volume"]
            bars["max_size"] = np.maximum(bars["volume"] // rng.integers(1, 5, number), 1)
            notional = [int(v) * int(p) for v, p in zip(bars["volume"], bars["close"], strict=True)]
            bars["notional_high"] = [n >> 32 for n in notional]
            bars["notional_low"] = [n & 0xFFFF_FFFF for n in notional]
        parts.append(bars)
    return np.concatenate(parts)


def names_of(bars: Array) -> list[str]:
    """Return a name for each row."""
    return [f"SYM{row}" for row in range(int(bars["row"].max(initial=-1)) + 1)]


def whole(bars: Array) -> Segments:
    """Return all bars as one batch."""
    return segments_of_bars(bars, names_of(bars))


def cut_up(bars: Array, cuts: Sequence[int]) -> list[tuple[Segments, Array]]:
    """Return the bars in batches as time passes, and where each batch's bars are in the whole.

    ``cuts`` are minutes since the first bar.
    """
    edges = np.sort(np.array([*cuts], np.int64)) * MINUTE + bars["ts_start"].min()
    number = np.searchsorted(edges, bars["ts_start"], "right")
    places = [np.flatnonzero(number == part) for part in range(len(edges) + 1)]
    return [(segments_of_bars(bars[place], names_of(bars)), place) for place in places if len(place)]


def in_parts(build: Callable[[Any], Logic], bars: Array, cuts: Sequence[int], *, resume: bool) -> Floats:
    """Return the scores of bars that come in batches, resumed from a snapshot after each if asked."""
    logic, scores = build(None), np.full(len(bars), np.nan)
    for segments, place in cut_up(bars, cuts):
        scores[place] = logic.score(segments).score
        if resume:
            logic = build(logic.snapshot())
    return scores


def told(logic: Logic, bars: Array) -> Scores:
    """Return what a logic makes of all bars at once."""
    return logic.score(whole(bars))
