"""Partial bars from records, and whole bars from partial ones: exact sums over sorted segments."""

from __future__ import annotations

import numpy as np

from operators.ordered import Ordered
from tapewatch.documents import BAR
from tapewatch.records import OHLCV, Array

_LOW = np.int64(0xFFFF_FFFF)
#: Below this a product of price and volume is surely exact in an int64.
_SURELY_EXACT = 4e18
_BUY, _SELL = ord("B"), ord("A")


def aggregate(records: Ordered | Array, rows: Array, starts_ns: Array) -> Array:
    """Return one partial bar per (row, window).

    Parameters
    ----------
    records
        ``TRADE`` or ``OHLCV`` records, sorted (stably) by row and window, shape ``(n,)``, ``n > 0``.
    rows
        Row of each record, int32.
    starts_ns
        Start of each record's window, int64 ns.

    Returns
    -------
    Array
        dtype `BAR`, sorted by (row, start).
    """
    changes = (rows[1:] != rows[:-1]) | (starts_ns[1:] != starts_ns[:-1])
    first = np.concatenate([[0], np.flatnonzero(changes) + 1])
    last = np.concatenate([first[1:], [len(records)]]) - 1
    bars = np.zeros(len(first), BAR)
    bars["row"], bars["ts_start"] = rows[first], starts_ns[first]
    bars["instrument_id"] = records[first]["instrument_id"]
    bars["trades"] = last - first + 1
    if records.dtype == OHLCV:
        bars["open"], bars["close"] = records["open"][first], records["close"][last]
        bars["high"] = np.maximum.reduceat(records["high"], first)
        bars["low"] = np.minimum.reduceat(records["low"], first)
        bars["volume"] = np.add.reduceat(records["volume"].astype(np.int64), first)
        return bars
    price = np.ascontiguousarray(records["price"])
    size = records["size"].astype(np.int64)
    bars["open"], bars["close"] = price[first], price[last]
    bars["high"], bars["low"] = np.maximum.reduceat(price, first), np.minimum.reduceat(price, first)
    bars["volume"] = np.add.reduceat(size, first)
    bars["max_size"] = np.maximum.reduceat(size, first)
    bars["detailed"] = True
    # Comparing numbers is many times faster than comparing texts.
    side = records["side"].view(np.uint8)
    for name, letter in (("buy_volume", _BUY), ("sell_volume", _SELL)):
        chosen = side == letter
        if chosen.any():
            bars[name] = np.add.reduceat(size * chosen, first)
    _notional(bars, price, size, first, last)
    return bars


def _notional(bars: Array, price: Array, size: Array, first: Array, last: Array) -> None:
    total = np.add.reduceat(price * size, first)
    bars["notional_high"], bars["notional_low"] = total >> 32, total & _LOW
    largest = np.maximum(np.abs(bars["high"]), np.abs(bars["low"])).astype(np.float64)
    for i in np.flatnonzero(largest * bars["volume"] >= _SURELY_EXACT):
        part = slice(first[i], last[i] + 1)
        exact = sum(p * s for p, s in zip(price[part].tolist(), size[part].tolist(), strict=True))
        bars["notional_high"][i], bars["notional_low"][i] = exact >> 32, exact & 0xFFFF_FFFF


def combine(bars: Array) -> Array:
    """Return bars of which each (row, start) is there once; of equal ones the earlier in the array was first.

    >>> parts = np.zeros(3, BAR)
    >>> parts["row"], parts["volume"], parts["open"] = [1, 0, 1], [2, 3, 4], [7, 8, 9]
    >>> whole = combine(parts)
    >>> whole["row"].tolist(), whole["volume"].tolist(), whole["open"].tolist()
    ([0, 1], [3, 6], [8, 7])
    """
    if len(bars) < 2:
        return bars
    bars = np.take(bars, np.lexsort((bars["ts_start"], bars["row"])))
    changes = (bars["row"][1:] != bars["row"][:-1]) | (bars["ts_start"][1:] != bars["ts_start"][:-1])
    if changes.all():
        return bars
    first = np.concatenate([[0], np.flatnonzero(changes) + 1])
    last = np.concatenate([first[1:], [len(bars)]]) - 1
    whole: Array = bars[first]
    whole["close"] = bars["close"][last]
    for name in ("volume", "trades", "notional_high", "notional_low", "buy_volume", "sell_volume"):
        whole[name] = np.add.reduceat(bars[name], first)
    whole["high"] = np.maximum.reduceat(bars["high"], first)
    whole["low"] = np.minimum.reduceat(bars["low"], first)
    whole["max_size"] = np.maximum.reduceat(bars["max_size"], first)
    whole["detailed"] = np.logical_and.reduceat(bars["detailed"], first)
    whole["notional_high"] += whole["notional_low"] >> 32
    whole["notional_low"] &= _LOW
    return whole
