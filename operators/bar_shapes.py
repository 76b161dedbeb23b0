"""What a bar is like before it is compared with others: moves, sizes and sides, free of price and tick.

Bars of an ``ohlcv-*`` input do not tell trades, sides and the average price: what hangs on these is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from operators.windows import quantile
from tapewatch.documents import vwap
from tapewatch.records import PRICE_SCALE, Array, Floats, Int64s

#: Shapes in the order of the rows.
SHAPES = (
    "return", "range", "wick", "trend", "volume", "trades", "average_size", "largest_trade", "imbalance",
    "vwap_distance",
)  # fmt: skip
#: Those that only bars made from trades can tell.
NEED_TRADES = [5, 6, 7, 8, 9]
#: Bars of the trend.
TREND = 5
_LARGEST_MOVE = 2**56
_LARGEST = 1e6
#: Where an instrument hardly moves, its scale is at least this share of its price.
_LEAST_SCALE = 1e-5
_RETURN, _RANGE, _WICK, _TREND, _VOLUME, _TRADES, _SIZE, _LARGEST_TRADE, _IMBALANCE, _VWAP = range(10)


def moves_of(bars: Array, previous: Int64s, apart: Array) -> Int64s:
    """Return the true range and the move of each bar, int64 prices, shape ``(n, 2)``.

    Parameters
    ----------
    bars
        dtype `tapewatch.documents.BAR`, shape ``(n,)``.
    previous
        Close of the bar before.
    apart
        Bars that are not compared with the one before: they start from their own open.
    """
    reference = np.where(apart, bars["open"], previous)
    highest, lowest = np.maximum(bars["high"], reference), np.minimum(bars["low"], reference)
    moves = np.stack([highest - lowest, bars["close"] - reference], axis=1)
    clipped: Int64s = np.clip(moves, [[0, -_LARGEST_MOVE]], _LARGEST_MOVE)
    return clipped


def scale_of(past: Int64s, bars: Array, ranges: Int64s) -> Floats:
    """Return what a bar usually spans: the median true range of the bars before, in integer prices.

    Parameters
    ----------
    past
        True ranges of the bars before each bar, -1 where there was none, shape ``(n, span)``; overwritten.
    bars, ranges
        The bars and their own true ranges, which stand in while there are none before.
    """
    unknown = past < 0
    count = past.shape[1] - unknown.sum(axis=1)
    past[unknown] = np.iinfo(np.int64).max
    past.sort(axis=1)
    # Of an instrument that mostly does not move, the few bars in which it does say how far.
    usual = np.maximum(quantile(past, count, 5), quantile(past, count, 8) // 3)
    least = np.maximum(np.abs(bars["close"]) * _LEAST_SCALE, 1.0)
    scale: Floats = np.maximum(np.where(count > 0, usual, ranges), least)
    return scale


@dataclass(frozen=True, slots=True)
class BarShapes:
    """Bars with their moves ``(n, 2)``, trends ``(n,)`` and scales ``(n,)``, and what these make of them."""

    bars: Array
    moves: Int64s
    trends: Int64s
    scale: Floats

    def values(self) -> Array:
        """Return the shapes, float32, NaN where a bar cannot tell, shape ``(len(SHAPES), n)``."""
        bars, scale = self.bars, self.scale
        ranges, moves = self.moves[:, 0], self.moves[:, 1]
        trades, volume = (np.maximum(bars[name], 1).astype(np.float64) for name in ("trades", "volume"))
        out = np.empty((len(SHAPES), len(bars)))
        out[_RETURN], out[_TREND] = moves / scale, self.trends / (scale * np.sqrt(TREND))
        out[_RANGE] = np.log1p(ranges / scale)
        out[_WICK] = np.log1p(np.maximum(ranges - np.abs(moves), 0) / scale)
        out[_VOLUME], out[_TRADES] = np.log(volume), np.log(trades)
        out[_SIZE] = out[_VOLUME] - out[_TRADES]
        out[_LARGEST_TRADE] = np.log(np.maximum(bars["max_size"], 1).astype(np.float64)) - out[_SIZE]
        out[_IMBALANCE] = (bars["buy_volume"] - bars["sell_volume"]) / volume * np.sqrt(trades)
        out[_VWAP] = (bars["close"] / PRICE_SCALE - vwap(bars)) / (scale / PRICE_SCALE)
        out[_TRADES:, ~bars["detailed"]] = np.nan
        return np.clip(out, -_LARGEST, _LARGEST).astype(np.float32)

    def observed(self) -> Floats:
        """Return the shapes in their own units: decimal prices, sizes, counts, a share; like `values`."""
        bars = self.bars
        ranges, moves = self.moves[:, 0] / PRICE_SCALE, self.moves[:, 1] / PRICE_SCALE
        volume = np.maximum(bars["volume"], 1)
        columns = (
            moves, ranges, ranges - np.abs(moves), self.trends / PRICE_SCALE, bars["volume"], bars["trades"],
            bars["volume"] / np.maximum(bars["trades"], 1), bars["max_size"],
            (bars["buy_volume"] - bars["sell_volume"]) / volume, bars["close"] / PRICE_SCALE - vwap(bars),
        )  # fmt: skip
        return np.stack([np.asarray(column, np.float64) for column in columns])

    def expected(self, usual: Floats) -> Floats:
        """Return in their own units what `values` of ``usual`` stand for, shape ``(len(SHAPES), n)``."""
        bars, scale = self.bars, self.scale / PRICE_SCALE
        trades = np.sqrt(np.maximum(bars["trades"], 1).astype(np.float64))
        out = np.empty_like(usual)
        for at in (_RETURN, _VWAP):
            out[at] = usual[at] * scale
        out[_TREND] = usual[_TREND] * scale * np.sqrt(TREND)
        for at in (_RANGE, _WICK):
            out[at] = np.expm1(usual[at]) * scale
        for at in (_VOLUME, _TRADES, _SIZE):
            out[at] = np.exp(usual[at])
        out[_LARGEST_TRADE] = np.exp(usual[_LARGEST_TRADE]) * bars["volume"] / np.maximum(bars["trades"], 1)
        out[_IMBALANCE] = usual[_IMBALANCE] / trades
        return out
