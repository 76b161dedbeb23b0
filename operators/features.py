"""Features of bars: what a bar is like beside its instrument's last ones, in robust standard deviations.

Prices enter as differences over the instrument's own typical true range (Wilder, 1978), so that one model
serves every instrument, whatever its price, currency or sign. Each feature is standardised by the median and
the median absolute deviation of the instrument's last windows (Rousseeuw and Croux, 1993). The conditional
ones compare range, volume and return with what the bar's volume or range lets expect, by least squares over
a longer window of winsorised values.

A bar sees only the bars before it. Sums are of integers, medians are selections and everything else is
element-wise, so no cut of the input into batches can change a bit of the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.bar_shapes import SHAPES, TREND, BarShapes, moves_of, scale_of
from operators.detector import Segments, grown
from operators.stretches import ranges
from operators.windows import SlidingWindows, median_and_spread
from tapewatch.records import PRICE_SCALE, Array, Floats, Int64s

#: Features in the order of the columns; the shipped models are trained on just these.
FEATURES = (*SHAPES, "range_given_volume", "volume_given_range", "return_given_volume")
#: No feature is further from 0 than this.
LARGEST = 50.0
_RETURN, _RANGE, _VOLUME = (SHAPES.index(name) for name in ("return", "range", "volume"))
_RANGE_GIVEN, _VOLUME_GIVEN, _RETURN_GIVEN = range(len(SHAPES), len(FEATURES))
#: What is seen of each feature is a shape.
_SEEN_AS = [*range(len(SHAPES)), _RANGE, _VOLUME, _RETURN]
#: Usual standard deviation of each shape, and how many bars it counts for.
_PRIOR_SIGMA = np.array([0.45, 0.30, 0.25, 0.45, 0.65, 0.5, 0.4, 0.5, 0.8, 0.3])[:, None]
_PRIOR_BARS = 60
#: Bars a standardisation looks back, and the least it needs.
_WINDOW, _LEAST = 60, 20
#: Bars the least squares look back.
_LONG_WINDOW = 240
#: Ridge that holds the slopes near a usual one; the usual residual, and how many bars it counts for.
_RIDGE, _PRIOR_SLOPE, _PRIOR_RESIDUAL, _PRIOR_RESIDUALS = 10.0, 0.4, 0.8, 30
#: Values enter the least squares no larger than this many standard deviations, in steps of ``1 / _STEPS``.
_WINSOR, _STEPS = 4.0, 4096
#: How much volume can change what return is expected.
_LEAST_RATIO, _LARGEST_RATIO = 0.4, 8.0
#: A move is not taken across more windows without trades than these, nor across missing records.
_APART = 10
#: Bars that are worked on at once: this bounds the memory that windows take.
_PIECE = 1024


@dataclass(frozen=True, slots=True)
class Features:
    """Features of some bars; every array has shape ``(n, len(FEATURES))``.

    Attributes
    ----------
    values
        Float32, in standard deviations of the instrument, 0 where a bar cannot tell; NaN while it warms up.
    observed, expected
        Float64: what was seen and what was usual, in the feature's own unit (decimal prices, sizes, counts).
    """

    values: Array
    observed: Floats
    expected: Floats


class BarFeatures:
    """Features of the bars of one width in one shard, with what of each instrument's past they need.

    Parameters
    ----------
    width_ns
        Width of the bars, ns.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, width_ns: int, resume: dict[str, Any] | None = None) -> None:
        self._apart = _APART * width_ns
        self._rows = 0
        #: Of each of the last bars: true range and move, integer prices; -1 where there was no bar.
        self._moves = np.full((0, _WINDOW, 2), -1, np.int64)
        #: Of each of the last bars: its shapes; NaN where unknown.
        self._shapes = np.full((0, _WINDOW, len(SHAPES)), np.nan, np.float32)
        #: Of each of the last bars: whether it counts, its volume and its range, winsorised, in `_STEPS`.
        self._pairs = np.zeros((0, _LONG_WINDOW, 3), np.int16)
        #: Close and start of the last bar.
        self._last = np.zeros((0, 2), np.int64)
        if resume is not None:
            self._rows = len(resume["last"])
            self._moves, self._shapes, self._pairs, self._last = (
                resume[name].copy() for name in ("moves", "shapes", "pairs", "last")
            )

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""
        kept = slice(self._rows)
        return {
            "moves": self._moves[kept].copy(), "shapes": self._shapes[kept].copy(),
            "pairs": self._pairs[kept].copy(), "last": self._last[kept].copy(),
        }  # fmt: skip

    def update(self, segments: Segments, *, learn: bool = True) -> Features:
        """Return the features of bars, each beside those before it, and remember the bars.

        Parameters
        ----------
        segments
            Bars of dtype `tapewatch.documents.BAR`.
        learn
            Without it nothing is remembered.
        """
        rows, starts, bars = segments.rows, segments.starts, np.asarray(segments.items)
        alone = segments.after_break if segments.after_break is not None else np.zeros(len(bars), bool)
        self._grow(int(rows.max(initial=-1)) + 1)
        shape = (len(bars), len(FEATURES))
        out = Features(np.empty(shape, np.float32), np.empty(shape), np.empty(shape))
        at, end = starts[:-1].copy(), starts[1:]
        while len(left := np.flatnonzero(at < end)):
            until = np.minimum(end[left], at[left] + max(_PIECE // len(left), 1))
            length = until - at[left]
            place = ranges(at[left], length)
            self._piece(rows[left], length, bars[place], alone[place], place, out, learn=learn)
            at[left] = until
        return out

    def _grow(self, count: int) -> None:
        self._rows = max(self._rows, count)
        self._moves, self._shapes = grown(self._moves, count, -1), grown(self._shapes, count, np.nan)
        self._pairs, self._last = grown(self._pairs, count), grown(self._last, count)

    def _piece(
        self,
        row: Array,
        length: Int64s,
        bars: Array,
        alone: Array,
        place: Int64s,
        out: Features,
        *,
        learn: bool,
    ) -> None:
        windows = SlidingWindows(length, _WINDOW)
        moves = self._moves_of(row, length, bars, alone)
        joined_moves = windows.join(self._moves[row], moves)
        trends = moves[:, 1] + windows.sums(joined_moves[1:], TREND - 1)[0]
        shapes = BarShapes(bars, moves, trends, scale_of(windows.of(joined_moves[:1])[0], bars, moves[:, 0]))
        new = shapes.values()
        joined = windows.join(self._shapes[row], new.T)
        count, usual, spread = median_and_spread(windows.of(joined))
        ready, known = count[_RETURN] >= _LEAST, ~np.isnan(new) & (count >= _LEAST)
        usual = np.where(known, usual, 0).astype(np.float64)
        sigma = np.sqrt(
            (count * np.where(known, spread, 0).astype(np.float64) ** 2 + _PRIOR_BARS * _PRIOR_SIGMA**2)
            / (count + _PRIOR_BARS)
        )
        values = np.zeros((len(FEATURES), len(bars)))
        np.divide(new - usual, sigma, out=values[: len(SHAPES)], where=known)
        pairs = np.zeros((len(bars), 3), np.int16)
        pairs[ready, 0] = 1
        pairs[ready, 1:] = _winsorised(values[:, ready])
        far = SlidingWindows(length, _LONG_WINDOW)
        joined_pairs = far.join(self._pairs[row], pairs)
        line = _Line.fitted(far.sums(_with_products(joined_pairs)))
        seen, expected = shapes.observed(), np.empty((len(FEATURES), len(bars)))
        expected[: len(SHAPES)] = shapes.expected(usual)
        line.apply(values, expected, usual, sigma)
        expected[[_RANGE_GIVEN, _RETURN_GIVEN]] *= shapes.scale / PRICE_SCALE
        values[:, ~ready] = np.nan
        out.values[place] = np.clip(values, -LARGEST, LARGEST).T
        out.observed[place], out.expected[place] = seen[_SEEN_AS].T, expected.T
        if learn:
            self._moves[row], self._shapes[row] = windows.kept(joined_moves), windows.kept(joined)
            self._pairs[row] = far.kept(joined_pairs)
            last = bars[np.cumsum(length) - 1]
            self._last[row, 0], self._last[row, 1] = last["close"], last["ts_start"]

    def _moves_of(self, row: Array, length: Int64s, bars: Array, alone: Array) -> Int64s:
        first = np.cumsum(length) - length
        before = np.empty((len(bars), 2), np.int64)
        before[1:, 0], before[1:, 1] = bars["close"][:-1], bars["ts_start"][:-1]
        before[first] = self._last[row]
        apart = bars["ts_start"] - before[:, 1] > self._apart
        return moves_of(bars, before[:, 0], apart | alone)


def _winsorised(values: Floats) -> Array:
    """Return volume and range as they enter the least squares, shape ``(n, 2)``."""
    pair = np.clip(values[[_VOLUME, _RANGE]], -_WINSOR, _WINSOR)
    return np.rint(pair * _STEPS).astype(np.int16).T


def _with_products(pairs: Array) -> Int64s:
    """Return number, volume, range and the products of the last two, shape ``(6, n)``."""
    number, volume, span = pairs.astype(np.int64)
    return np.stack([number, volume, span, volume * volume, volume * span, span * span])


@dataclass(frozen=True, slots=True)
class _Line:
    """Least squares of range on volume and of volume on range before each bar; arrays of shape ``(n,)``."""

    volume: Floats
    range: Floats
    range_slope: Floats
    range_residual: Floats
    volume_slope: Floats
    volume_residual: Floats

    @classmethod
    def fitted(cls, sums: Int64s) -> _Line:
        """Return the lines through what `_with_products` sums to."""
        number = np.maximum(sums[0], 1).astype(np.float64)
        volume, span = sums[1] / (number * _STEPS), sums[2] / (number * _STEPS)
        products = sums[3:] / float(_STEPS**2)
        volumes, both, spans = (
            products[0] - number * volume * volume,
            products[1] - number * volume * span,
            products[2] - number * span * span,
        )
        range_slope = (both + _RIDGE * _PRIOR_SLOPE) / (volumes + _RIDGE)
        volume_slope = (both + _RIDGE * _PRIOR_SLOPE) / (spans + _RIDGE)
        return cls(
            volume,
            span,
            range_slope,
            _residual(spans, both, volumes, range_slope, number),
            volume_slope,
            _residual(volumes, both, spans, volume_slope, number),
        )

    def apply(self, values: Floats, expected: Floats, usual: Floats, sigma: Floats) -> None:
        """Fill in the conditional features; ``expected`` of those in prices is left in scales."""
        volume, span = values[_VOLUME] - self.volume, values[_RANGE] - self.range
        values[_RANGE_GIVEN] = (span - self.range_slope * volume) / self.range_residual
        values[_VOLUME_GIVEN] = (volume - self.volume_slope * span) / self.volume_residual
        likely = usual[_RANGE] + sigma[_RANGE] * (self.range + self.range_slope * volume)
        likely = np.expm1(np.clip(likely, 0.05, 20.0))
        ratio = likely / np.expm1(np.maximum(usual[_RANGE], 0.05))
        ratio = np.clip(ratio, _LEAST_RATIO, _LARGEST_RATIO)
        values[_RETURN_GIVEN] = values[_RETURN] / ratio
        expected[_RANGE_GIVEN] = likely
        expected[_RETURN_GIVEN] = sigma[_RETURN] * ratio
        likely = usual[_VOLUME] + sigma[_VOLUME] * (self.volume + self.volume_slope * span)
        expected[_VOLUME_GIVEN] = np.exp(np.clip(likely, 0.0, 45.0))


def _residual(own: Floats, both: Floats, other: Floats, slope: Floats, number: Floats) -> Floats:
    """Return the standard deviation about a line, shrunk towards the usual one."""
    squares = np.maximum(own - slope * (2 * both - slope * other), 0.0)
    return np.sqrt((squares + _PRIOR_RESIDUALS * _PRIOR_RESIDUAL**2) / (number + _PRIOR_RESIDUALS))
