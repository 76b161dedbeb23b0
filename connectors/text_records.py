"""Columns of text as records: what the CSV and the JSON encoding have in common.

A column is a pair of int64 arrays: where each record's field starts and ends in one buffer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectors.decimal_text import (
    Bools,
    Text,
    decimal,
    fraction_digits,
    signed,
    timestamp,
    unsigned,
)
from connectors.text_symbols import Column, symbols
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
    book,
)
from tapewatch.symbology import Symbols

Columns: TypeAlias = Mapping[str, Column]

TIMES = ("ts_recv", "ts_event")
#: The best bid and ask beside a trade.
QUOTES = frozenset({"bid_px_00", "ask_px_00"})
BAR_PRICES = ("open", "high", "low", "close")
BAR_SCHEMAS = {32: "ohlcv-1s", 33: "ohlcv-1m", 34: "ohlcv-1h", 35: "ohlcv-1d"}
#: How a price is meant: a decimal; a whole number of 1e-9; or that which it is by having a dot or none.
DECIMAL, UNITS, EITHER = 0, 1, 2
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
_MOST_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Fault:
    """The first record that cannot be read, counted from 0, and what is wrong with it."""

    row: int
    found: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """The records before the first fault, as `Block` has them.

    ``rows`` are their places among all that was read, None if nothing was passed over.
    """

    records: Array
    times: Array
    codes: NDArray[np.intp] | None
    names: tuple[str, ...]
    passed_over: dict[str, int] = field(default_factory=dict)
    fault: Fault | None = None
    rows: Int64s | None = None

    def block(self, end: int) -> Block:
        """Return them as a block that ends at an offset of the file."""
        return Block(self.records, self.times, end, self.codes, self.names, self.passed_over)


def kind_of(names: set[str]) -> Kind | str:
    """Return ``"trades"`` or ``"bars"``, or in words what fields of these names seem to be.

    >>> kind_of({"ts_event", "price", "size"}), kind_of({"ts_event", "price", "stat_type", "quantity"})
    ('trades', 'seems to be `statistics` and holds no trades or bars')
    """
    for name, schema in _OTHERS.items():
        # Quotes sampled on an interval repeat the last trade; what lists every change has actions.
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


def parse(header: Header, text: Text, columns: Columns, count: int, meant: NDArray[np.uint8]) -> Parsed:
    """Read ``count`` records.

    Parameters
    ----------
    header
        Its kind says what the records are; bars must have its width.
    text, columns
        The fields by Databento's names; those that are not needed may be missing.
    count
        Number of records, the length of every column.
    meant
        How each record's prices are meant (`DECIMAL`, `UNITS`, `EITHER`). An empty one is undefined.
    """
    rows: Int64s | None = None
    faults: list[Fault] = []
    total = count
    if header.kind == "trades" and "action" in columns:
        start, end = columns["action"]
        _note(faults, "action", end - start <= 1, text, columns["action"], None)
        trade = (end - start == 1) & (text.bytes[start] == ord("T"))
        if not trade.all():
            rows = np.flatnonzero(trade)
            columns = {name: (column[0][rows], column[1][rows]) for name, column in columns.items()}
            count, meant = len(rows), meant[rows]
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
        records[name], good = _or_undefined(partial(prices, meant=meant), UNDEF_PRICE, text, columns[name])
        _note(faults, name, good, text, columns[name], rows)
    for name, largest in UNSIGNED[header.kind].items():
        if name in columns:
            records[name], good = unsigned(text, *columns[name], largest)
            _note(faults, name, good, text, columns[name], rows, f"a whole number up to {largest}")
    if header.kind == "trades":
        _trade_fields(records, faults, text, columns, rows)
        if QUOTES.issubset(columns):
            # A quote that cannot be read is none: the trade beside it is what matters.
            quotes = [_quoted(text, columns[name], meant) for name in ("bid_px_00", "ask_px_00")]
            records["depth"] = book(*quotes)
    else:
        same = np.array([OHLCV_WIDTHS.get(rtype) == header.width_ns for rtype in range(256)])
        allowed = f"that of `{header.schema}` throughout the file"
        _note(faults, "rtype", same[records["rtype"]], text, columns["rtype"], rows, allowed)
    codes: NDArray[np.intp] | None = None
    names: tuple[str, ...] = ()
    if "symbol" in columns:
        codes, names, good = symbols(text, columns["symbol"], records["instrument_id"])
        _note(faults, "symbol", good, text, columns["symbol"], rows, "printable text of at most 255 bytes")
    parsed = Parsed(records, _event_times(records), codes, names)
    return _before(min(faults, key=lambda fault: fault.row, default=None), parsed, rows, total)


def prices(text: Text, start: Int64s, end: Int64s, meant: NDArray[np.uint8]) -> tuple[Int64s, Bools]:
    """Return prices in units of 1e-9, and which can be read.

    >>> text, column = Text(b"2.5"), (np.array([0, 2]), np.array([3, 3]))
    >>> prices(text, *column, meant=np.array([EITHER, EITHER], np.uint8))[0]
    array([2500000000,          5])
    """
    if not meant.any():
        return decimal(text, start, end)
    whole = meant == UNITS
    if not whole.all():
        whole |= (meant == EITHER) & (fraction_digits(text, start, end) < 0)
    if whole.all():
        return signed(text, start, end)
    values, good = decimal(text, start, end)
    values[whole], good[whole] = signed(text, start[whole], end[whole])
    return values, good


def _quoted(text: Text, column: Column, meant: NDArray[np.uint8]) -> Int64s:
    values, good = _or_undefined(partial(prices, meant=meant), UNDEF_PRICE, text, column)
    return np.where(good, values, UNDEF_PRICE)


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
        rows = None if rows is None else rows[:kept]
        if codes is not None:
            codes = codes[:kept]
            names = names[: int(codes.max(initial=-1)) + 1]
    passed = {"not_a_trade": total - len(records)} if total > len(records) else {}
    return Parsed(records, times, codes, names, passed, fault, rows)


def _event_times(records: Array) -> Array:
    """Return ``ts_recv`` where there is one that is set, else ``ts_event``."""
    if records.dtype == OHLCV:
        return np.ascontiguousarray(records["ts_event"])
    times = records["ts_recv"]
    unset = (times == 0) | (times == UNDEF_TIME)
    return np.where(unset, records["ts_event"], times)


def printable(name: str) -> str:
    r"""Return a name from a file as a terminal may show it.

    >>> print(printable("price"), printable("a\x1b[31m"))
    price a\x1b[31m
    """
    return name if name.isprintable() else repr(name)[1:-1]


def _some(names: list[str]) -> str:
    shown = ", ".join(f"`{printable(name[:_MOST_SHOWN])}`" for name in names[:4])
    return shown + ", ..." * (len(names) > 4)
