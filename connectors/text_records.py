"""Columns of text as records: what the CSV and the JSON encoding have in common.

A column is a pair of int64 arrays: where each record's field starts and ends in one buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectors.decimal_text import Bools, Text, first_bytes, signed, timestamp, unsigned
from tapewatch.records import (
    OHLCV,
    OHLCV_WIDTHS,
    TRADE,
    UNDEF_PRICE,
    UNDEF_TIME,
    Array,
    Block,
    Header,
    Int64s,
    Kind,
)
from tapewatch.symbology import Symbols

Column: TypeAlias = tuple[Int64s, Int64s]
Columns: TypeAlias = Mapping[str, Column]
PriceReader: TypeAlias = Callable[[Text, Int64s, Int64s], tuple[Int64s, Bools]]

TIMES = ("ts_recv", "ts_event")
BAR_PRICES = ("open", "high", "low", "close")
BAR_SCHEMAS = {32: "ohlcv-1s", 33: "ohlcv-1m", 34: "ohlcv-1h", 35: "ohlcv-1d"}
#: Whole numbers without a sign, and the largest each may be.
_HEAD = {"rtype": 2**8 - 1, "publisher_id": 2**16 - 1, "instrument_id": 2**32 - 1}
UNSIGNED: dict[Kind, dict[str, int]] = {
    "trades": {**_HEAD, "size": 2**32 - 1, "flags": 2**8 - 1, "depth": 2**8 - 1, "sequence": 2**32 - 1},
    "bars": {**_HEAD, "volume": 2**64 - 1},
}
#: By a column that only they have: schemas that hold something else.
_OTHERS = {
    "stat_type": "statistics",
    "raw_symbol": "definition",
    "security_type": "definition",
    "ref_price": "imbalance",
    "is_trading": "status",
    "bid_px_00": "bbo",
    "levels": "bbo",
    "transaction_id": "transactions",
}
_LONGEST_SYMBOL = 255
_MOST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """The first record that cannot be read, counted from 0, and what is wrong with it."""

    row: int
    found: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """The records before the first fault, as `Block` has them."""

    records: Array
    times: Array
    codes: NDArray[np.intp] | None
    names: tuple[str, ...]
    passed_over: dict[str, int] = field(default_factory=dict)
    fault: Fault | None = None

    def block(self, end: int) -> Block:
        """Return them as a block that ends at an offset of the file."""
        return Block(self.records, self.times, end, self.codes, self.names, self.passed_over)


def kind_of(names: set[str]) -> Kind | str:
    """Return ``"trades"`` or ``"bars"``, or in words what fields of these names seem to be.

    >>> kind_of({"ts_event", "price", "size"}), kind_of({"ts_event", "price", "stat_type", "quantity"})
    ('trades', 'seems to be `statistics` and holds no trades or bars')
    """
    for name, schema in _OTHERS.items():
        # Quotes sampled on an interval repeat the last trade; what lists every change of the book has actions.
        if name in names and not (schema == "bbo" and "action" in names):
            return f"seems to be `{schema}` and holds no trades or bars"
    if {*BAR_PRICES, "volume"} <= names:
        kind: Kind = "bars"
    elif {"price", "size"} <= names:
        kind = "trades"
    else:
        return f"holds no trades or bars (it has {_some(sorted(names))}; trades have `price` and `size`)"
    if names.isdisjoint(TIMES):
        return "holds no times; a record has `ts_recv` or `ts_event`"
    return kind


def header_of(kind: Kind, rtype: int) -> Header:
    """Return the header of a text file: it knows neither dataset nor schema; ``rtype`` tells the bars' width.

    >>> header_of("bars", 33).schema
    'ohlcv-1m'
    """
    if kind == "trades":
        return Header(kind, "", "trades", Symbols())
    return Header(kind, "", BAR_SCHEMAS.get(rtype, "ohlcv"), Symbols(), OHLCV_WIDTHS.get(rtype, 0))


def parse(header: Header, text: Text, columns: Columns, count: int, price: PriceReader) -> Parsed:
    """Read ``count`` records.

    Parameters
    ----------
    header
        Its kind says what the records are; bars must have its width.
    text, columns
        The fields by Databento's names; those that are not needed may be missing.
    count
        Number of records, the length of every column.
    price
        Reads prices that are there; an empty one is undefined.
    """
    rows: Int64s | None = None
    faults: list[Fault] = []
    total = count
    if header.kind == "trades" and "action" in columns:
        start, end = columns["action"]
        _note(faults, "action", (end - start <= 1), text, columns["action"], None)
        trade = (end - start == 1) & (text.bytes[start] == ord("T"))
        if not trade.all():
            rows = np.flatnonzero(trade)
            columns = {name: (column[0][rows], column[1][rows]) for name, column in columns.items()}
            count = len(rows)
    records = np.zeros(count, TRADE if header.kind == "trades" else OHLCV)
    records["length"] = records.dtype.itemsize // 4
    for name in TIMES:
        if name in columns:
            values, good = _or_undefined(timestamp, UNDEF_TIME, text, columns[name])
            if name in (records.dtype.names or ()):
                records[name] = values
            if "ts_event" not in columns:
                records["ts_event"] = values
            _note(faults, name, good, text, columns[name], rows)
    for name in ("price",) if header.kind == "trades" else BAR_PRICES:
        records[name], good = _or_undefined(price, UNDEF_PRICE, text, columns[name])
        _note(faults, name, good, text, columns[name], rows)
    for name, largest in UNSIGNED[header.kind].items():
        if name in columns:
            records[name], good = unsigned(text, *columns[name], largest)
            _note(faults, name, good, text, columns[name], rows, f"a whole number up to {largest}")
    if header.kind == "trades":
        _trade_fields(records, faults, text, columns, rows)
    else:
        same = np.array([OHLCV_WIDTHS.get(rtype) == header.width_ns for rtype in range(256)])
        allowed = f"that of `{header.schema}` throughout the file"
        _note(faults, "rtype", same[records["rtype"]], text, columns["rtype"], rows, allowed)
    codes, names, good = None, (), None
    if "symbol" in columns:
        codes, names, good = symbols(text, columns["symbol"], records["instrument_id"])
        _note(faults, "symbol", good, text, columns["symbol"], rows, "printable text")
    parsed = Parsed(records, _event_times(records), codes, names)
    return _before(min(faults, key=lambda fault: fault.row, default=None), parsed, rows, total)


def symbols(
    text: Text, column: Column, instrument_ids: Array
) -> tuple[NDArray[np.intp], tuple[str, ...], Bools]:
    """Return codes, names in the order of first appearance, and which symbols can be read.

    An empty symbol stands for the instrument's id in digits.

    >>> text = Text(b"QQQ,,SPY,QQQ")
    >>> column = np.array([0, 4, 5, 9]), np.array([3, 4, 8, 12])
    >>> symbols(text, column, np.array([7, 8, 9, 7]))[:2]
    (array([0, 1, 2, 0]), ('QQQ', '8', 'SPY'))
    """
    start, end = column
    size = end - start
    good = size <= _LONGEST_SYMBOL
    size = np.where(good, size, 0)
    # One number for each spelling; the id's digits stand in where there is none.
    mixed = np.where(size == 0, instrument_ids, size).astype(np.uint64)
    words = [
        np.where(size > at, first_bytes(text.word(np.minimum(start + at, end)), np.clip(size - at, 0, 8)), 0)
        for at in range(0, int(size.max(initial=0)), 8)
    ]
    for word in words:
        mixed = (mixed ^ word) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    _, first, group = np.unique(mixed, return_index=True, return_inverse=True)
    one = first[group]
    same = (size == size[one]) & ((size > 0) | (instrument_ids == instrument_ids[one]))
    for word in words:
        same &= word == word[one]
    if not same.all():
        # Two spellings share a number: spell out every record.
        spelled = [
            text.data[a : a + n] or b"\0%d" % i for a, n, i in zip(start, size, instrument_ids, strict=True)
        ]
        places: dict[bytes, int] = {}
        group = np.array([places.setdefault(word, len(places)) for word in spelled], dtype=np.intp)
        first = np.unique(group, return_index=True)[1]
    order = np.argsort(first)
    codes: dict[str, int] = {}
    renamed = np.zeros(len(first), dtype=np.intp)
    readable = np.ones(len(first), dtype=np.bool_)
    for place in order.tolist():
        at = int(first[place])
        name = text.data[start[at] : start[at] + size[at]].decode("utf-8", "replace")
        readable[place] = name.isprintable() and "\ufffd" not in name and '"' not in name
        renamed[place] = codes.setdefault(name or str(int(instrument_ids[at])), len(codes))
    return renamed[group], tuple(codes), good & readable[group]


def _trade_fields(
    records: Array, faults: list[Fault], text: Text, columns: Columns, rows: Int64s | None
) -> None:
    records["action"] = b"T"
    records["side"] = b"N"
    if "side" in columns:
        start, end = columns["side"]
        letter = text.bytes[start]
        there = end > start
        records["side"][there] = letter[there].view("S1")
        good = ~there | ((end - start == 1) & (letter > ord('"')) & (letter < 127))
        _note(faults, "side", good, text, columns["side"], rows, "one letter")
    if "ts_in_delta" in columns:
        records["ts_in_delta"], good = signed(text, *columns["ts_in_delta"], 2**31 - 1)
        allowed = "a whole number of 32 bits"
        _note(faults, "ts_in_delta", good, text, columns["ts_in_delta"], rows, allowed)


def _or_undefined(
    read: Callable[[Text, Int64s, Int64s], tuple[Array, Bools]], undefined: int, text: Text, column: Column
) -> tuple[Array, Bools]:
    start, end = column
    values, good = read(text, start, end)
    empty = start == end
    if empty.any():
        values[empty] = undefined
        good |= empty
    return values, good


_ALLOWED = {
    "action": "one letter",
    "ts_recv": "nanoseconds or a UTC time such as 2013-10-07T08:00:00.464165000Z",
    "price": "a number with at most 9 digits behind the dot",
}


def _note(
    faults: list[Fault],
    name: str,
    good: Bools,
    text: Text,
    column: Column,
    rows: Int64s | None,
    allowed: str = "",
) -> None:
    """Keep the first record whose field is not good; ``rows`` are the records' places among all."""
    if good.all():
        return
    row = int(good.argmin())
    start, end = int(column[0][row]), int(column[1][row])
    allowed = allowed or _ALLOWED.get("ts_recv" if name in TIMES else name, _ALLOWED["price"])
    shown = text.data[start : min(end, start + _MOST_SHOWN)].decode("utf-8", "backslashreplace")
    found = f"`{name}` must be {allowed}, was {shown + '...' * (end - start > _MOST_SHOWN)!r}"
    faults.append(Fault(row if rows is None else int(rows[row]), found))


def _before(fault: Fault | None, parsed: Parsed, rows: Int64s | None, total: int) -> Parsed:
    """Return what comes before a fault, with the number of records passed over until then."""
    records, times, codes, names = parsed.records, parsed.times, parsed.codes, parsed.names
    if fault is not None:
        total = fault.row
        kept = total if rows is None else int(np.searchsorted(rows, total))
        records, times = records[:kept], times[:kept]
        if codes is not None:
            codes = codes[:kept]
            names = names[: int(codes.max(initial=-1)) + 1]
    passed = {"not_a_trade": total - len(records)} if total > len(records) else {}
    return Parsed(records, times, codes, names, passed, fault)


def _event_times(records: Array) -> Array:
    """Return ``ts_recv`` where there is one that is set, else ``ts_event``."""
    if records.dtype == OHLCV:
        return np.ascontiguousarray(records["ts_event"])
    times = records["ts_recv"]
    unset = (times == 0) | (times == UNDEF_TIME)
    return np.where(unset, records["ts_event"], times)


def _some(names: list[str]) -> str:
    shown = ", ".join(f"`{name[:_MOST_SHOWN]}`" for name in names[:4])
    return shown + ", ..." * (len(names) > 4)
