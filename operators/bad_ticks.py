"""Bad ticks: prints far from the recent price that is back at once, a part of ``price_jump``.

A print is held against the median of the five before it and that of the five after it (a running median;
Tukey, "Exploratory Data Analysis", 1977). How far it lies outside of both is its excursion; a price that
moves and stays has none. Two of five neighbours may be bad themselves, so bursts of three are found.
The score is the excursion in units of the mean distance from the median before, of those of the instrument's
last prints that were away from it: bid-ask bounce, wide spreads and fast markets raise the unit, and it is
hardly ever less than a tick.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from operators.detector import (
    Detector,
    Explanation,
    Logic,
    Scores,
    Segments,
    amount,
    grown,
    limits,
    within_percent,
)
from operators.recent import BlockSums, Joined, at_places, latest
from operators.scale import Scale
from operators.thin_trading import Rhythm, told_from
from tapewatch.records import MINUTE, PRICE_SCALE, TRADE, Array, Int64s

#: Prints on either side of a print that its price is held against.
_SIDE = 5
_BLOCK, _BLOCKS = 64, 8
#: A distance beyond this, in units of 1e-9, says nothing more of what is usual.
_LARGEST_DISTANCE = 2**45
#: The unit is at least this part of the price.
_FINEST = 5e-5
#: If the next trade comes later than this, nothing can be said to be back at once.
_AT_ONCE = 10 * MINUTE


class BadTicks(Detector):
    """Prints far off the prices before and after them."""

    name: ClassVar[str] = "price_jump"
    part: ClassVar[str] = "bad_ticks"
    ordinal: ClassVar[int] = 1
    reads: ClassVar[Literal["bars", "records", "severities"]] = "records"
    scale: ClassVar[Scale] = Scale(
        lowest=-1,
        octaves=12,
        shape=0.2,
        spread=0.3,
        prior_peaks=25,
        warm_up=60,
        usual_threshold=14.0,
        prior_observations=300,
    )
    share: ClassVar[float] = 0.3
    least: ClassVar[float] = 8.0
    unit: ClassVar[str] = "bad ticks"

    limits: dict[str, float] = Field(default_factory=dict)

    @property
    def gap_ns(self) -> int:
        """Bad ticks of one instrument within a minute are one episode."""
        return MINUTE

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic."""
        return _BadTicksLogic(self.limits, resume)


class _BadTicksLogic:
    """Each instrument's last ten prints, of which the later five wait for what follows them."""

    def __init__(self, limits_percent: dict[str, float], resume: dict[str, Any] | None) -> None:
        self._limits = limits_percent
        self._prices = np.zeros((0, 2 * _SIDE), np.int64)
        self._waiting = np.zeros((0, _SIDE), TRADE)
        self._times = np.zeros((0, 2 * _SIDE), np.int64)
        self._seen = np.zeros(0, np.int64)
        #: Distances from the median before, and how many of them there were.
        self._distances = BlockSums(_BLOCK, _BLOCKS, None if resume is None else resume["distances"])
        self._apart = BlockSums(_BLOCK, _BLOCKS, None if resume is None else resume["apart"])
        self._rhythm = Rhythm(None if resume is None else resume["rhythm"])
        if resume is not None:
            self._prices, self._waiting, self._times, self._seen = (
                resume[name].copy() for name in ("prices", "waiting", "times", "seen")
            )

    def snapshot(self) -> dict[str, Any]:
        return {
            "prices": self._prices.copy(), "waiting": self._waiting.copy(), "times": self._times.copy(),
            "seen": self._seen.copy(), "distances": self._distances.snapshot(),
            "apart": self._apart.snapshot(), "rhythm": self._rhythm.snapshot(),
        }  # fmt: skip

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        rows, starts, records = segments.rows, segments.starts, segments.items
        self._grow(int(rows.max(initial=-1)) + 1)
        joined = Joined(starts, 2 * _SIDE)
        prices = joined.join(self._prices[rows], np.ascontiguousarray(records["price"]))
        # The print judged is the fifth before each new one.
        price, before, after = (joined.pick(part, 2 * _SIDE) for part in _beside(prices))
        outside = np.maximum(price - np.maximum(before, after), np.minimum(before, after) - price)
        distance = np.minimum(np.abs(price - before), _LARGEST_DISTANCE)
        early = joined.early(self._seen[rows], 2 * _SIDE)
        distance[early] = outside[early] = 0
        sums, known, stretch = self._distances.before(rows, starts, distance, learn=learn)
        counts, _, _ = self._apart.before(rows, starts, (distance > 0).astype(np.int64), learn=learn)
        usual = sums.sum(axis=1) / np.maximum(counts.sum(axis=1), 1)
        reached = joined.join(self._times[rows], segments.times)
        gaps = np.maximum(joined.pick(np.diff(reached), 1), 0)
        gaps[joined.early(self._seen[rows], 1)] = 0
        _, slow, calm = self._rhythm.before(rows, starts, gaps, learn=learn)

        at = np.flatnonzero(outside > 0)
        segment = np.searchsorted(starts, at, "right") - 1
        place = at - starts[segment] - _SIDE
        times, next_times = (
            at_places(segments.times, self._times[rows], starts, segment, place + i) for i in (0, 1)
        )
        around = np.searchsorted(stretch, at, "right") - 1
        over = outside[at] > within_percent(limits(self._limits, segments.names)[rows[segment]], before[at])
        unknown = known[around] == 0
        fit = (next_times - times <= _AT_ONCE) & (over | ~unknown)
        at, segment, place, times, around, over, unknown = (
            a[fit] for a in (at, segment, place, times, around, over, unknown)
        )
        before, after, outside = before[at], after[at], outside[at]
        score = outside / np.maximum(usual[around], _FINEST * np.abs(before) + 1.0)
        due = at_places(records, self._waiting[rows], starts, segment, place)
        judged = Segments(rows, np.searchsorted(at, starts), due, times, segments.names)
        score[unknown] = np.nan
        span = segments.times[at] - joined.pick(reached, 2 * _SIDE)[at]
        thin = span > 2 * _SIDE * slow[np.searchsorted(calm, at, "right") - 1]
        if learn:
            self._prices[rows] = joined.last(prices)
            self._times[rows] = latest(segments.times, self._times[rows], starts)
            self._waiting[rows] = latest(records, self._waiting[rows], starts)
            self._seen[rows] += np.diff(starts)
        # Where prices move tick by tick little lies beyond the body, and its tail says little.
        most = 100.0 - 50.0 * np.sqrt(BadTicks.least / np.fmax(score, BadTicks.least))
        forced = over if self._limits else None
        return Scores(
            score,
            forced,
            {"before": before, "after": after},
            judged,
            at,
            most=most,
            told_from=told_from(thin),
        )

    def _grow(self, rows: int) -> None:
        self._prices, self._times = grown(self._prices, rows), grown(self._times, rows)
        self._waiting, self._seen = grown(self._waiting, rows), grown(self._seen, rows)

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        price = int(item["price"])
        before, after = int(scores.details["before"][index]), int(scores.details["after"][index])
        from_before, from_after = abs(price - before), abs(price - after)
        nearer = before if from_before <= from_after else after
        size = int(item["size"])
        return Explanation(
            observed=price / PRICE_SCALE,
            expected=nearer / PRICE_SCALE,
            contributions={
                "distance_before": from_before / (from_before + from_after),
                "distance_after": from_after / (from_before + from_after),
            },
            reason=(
                f"A trade of {amount(size)} {key} at {price / PRICE_SCALE:g}, {moved(price, nearer)} off: "
                f"trades before were at {before / PRICE_SCALE:g}, those after at {after / PRICE_SCALE:g}"
            ),
        )


def moved(price: int, other: int) -> str:
    """Return how far a price is from another, in percent where that means something.

    >>> moved(102_000_000_000, 100_000_000_000), moved(500_000_000, 0)
    ('2 %', '0.5')
    """
    if other <= 0:
        return f"{abs(price - other) / PRICE_SCALE:.3g}"
    return f"{abs(price - other) / other * 100:.3g} %"


def _beside(prices: Int64s) -> tuple[Array, Array, Array]:
    """Return prices from the sixth on, the medians of the five before each, and of the five after each."""
    low, high = np.minimum(prices[:-1], prices[1:]), np.maximum(prices[:-1], prices[1:])
    least, most = np.maximum(low[:-3], low[2:-1]), np.minimum(high[:-3], high[2:-1])
    median = np.maximum(np.minimum(least, most), np.minimum(np.maximum(least, most), prices[4:]))
    return prices[_SIDE:-_SIDE], median[: -_SIDE - 1], median[_SIDE + 1 :]
