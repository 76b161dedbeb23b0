"""Lines of JSON, one record each, as records: Databento's encoding and the contract's messages.

What a price means is decided for each record by itself:

- with ``"raw": true`` it is a whole number of 1e-9, with ``"raw": false`` a decimal;
- with a dot it is a decimal;
- without a dot it is a whole number of 1e-9 where the record is in Databento's own form: it has ``hd``, and
  its prices are strings or its time is in nanoseconds; or it has no ``hd``, and its time is a string of
  nanoseconds;
- else it is a decimal without a fraction.

Decimals in strings are exact; numbers are what the shortest decimal of their double says, to 1e-9. Whole
numbers may be strings as well. Null is an undefined price, time or size, a missing ``symbol`` the
instrument's id, a missing ``action`` a trade, other missing fields are zero.
"""

from __future__ import annotations

import re
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import orjson

from connectors.decimal_text import Text
from connectors.json_columns import Shape, best_quotes, numbers, uniform, without_spaces
from connectors.text_records import (
    BAR_PRICES,
    DECIMAL,
    EITHER,
    QUOTES,
    TIMES,
    UNITS,
    UNSIGNED,
    Fault,
    Parsed,
    parse,
)
from connectors.text_symbols import Column
from tapewatch.records import UNDEF_SIZE, Array, Header, Kind

_MOST_SHOWN = 60
#: Lines parsed at once: more objects alive at a time only give the garbage collector work.
_LINES_AT_ONCE = 2048
_LETTERS = {"action", "side", "symbol"}
#: What whole numbers are taken for where they are missing or null, if not for zero.
_MISSING = {"size": b"%d" % UNDEF_SIZE, "volume": b"nothing"}
_SPACES = re.compile(rb"[ \t\r]")
_NEVER = np.zeros((), np.bool_)


class JsonLines:
    r"""Reader of lines that hold records of one kind.

    Parameters
    ----------
    header
        Its kind says what the records are; bars must have its width.

    Examples
    --------
    >>> from connectors.text_records import header_of
    >>> lines = JsonLines(header_of("trades", 0))
    >>> lines.parse(b'{"ts_event": 7, "price": 2.5, "size": 3, "symbol": "SPY"}\n').records["price"]
    array([2500000000])
    """

    def __init__(self, header: Header) -> None:
        self.header = header
        self._prices = BAR_PRICES if header.kind == "bars" else ("price",)
        #: What `parse` reads as numbers.
        self._read = frozenset({*self._prices, *TIMES, *UNSIGNED[header.kind]})
        if header.kind == "trades":
            self._read |= {"ts_in_delta"}

    def parse(self, data: bytes) -> Parsed:
        """Read lines, each with its newline, up to the first that is not as it should be."""
        count = data.count(b"\n")
        text = Text(data)
        shape = uniform(text, count, self._read)
        if shape is None and _SPACES.search(data) and b"\\" not in data:
            closer = without_spaces(data)
            if closer is not None:
                text = Text(closer)
                shape = uniform(text, count, self._read)
        if shape is not None and self._plain(shape):
            meant = self._meant(text, shape, count)
            text, columns = self._filled(text, shape)
            parsed = parse(self.header, text, columns, count, meant)
            if parsed.fault is None and (parsed.rows is None or self._are_numbers(text, shape)):
                return parsed
        return self._one_by_one(data)

    def _are_numbers(self, text: Text, shape: Shape) -> bool:
        """Return whether the numbers of all lines are such, those of lines that were passed over too."""
        return all(
            bool((numbers(text, *shape.columns[name]) | shape.nulls.get(name, _NEVER)).all())
            for name in self._read & shape.columns.keys() - shape.quoted
        )

    def _plain(self, shape: Shape) -> bool:
        """Return whether the fields are all there, and of types that leave nothing to be said of them."""
        needed = {*self._prices, "volume", "rtype"} if self.header.kind == "bars" else {"price", "size"}
        for name in {*self._prices, *TIMES} & shape.columns.keys():
            start, end = shape.columns[name]
            if ((start == end) & ~shape.nulls.get(name, _NEVER)).any():
                return False
        for name in _LETTERS & shape.columns.keys():
            if name not in shape.quoted and not shape.nulls.get(name, _NEVER).all():
                return False
        named = shape.columns.keys()
        return "raw" not in named and needed <= named and bool(named & set(TIMES))

    def _meant(self, text: Text, shape: Shape, count: int) -> Array:
        """Return how each record's prices are meant, as `_meaning` does."""
        clock = "ts_event" if "ts_event" in shape.columns else "ts_recv"
        digits = ~shape.nulls.get(clock, np.zeros(count, np.bool_))
        if clock in shape.quoted:
            digits &= text.bytes[shape.columns[clock][0] + 4] != ord("-")
        if not shape.nested:
            own = digits if clock in shape.quoted else np.zeros(count, np.bool_)
        else:
            own = digits
            for name in shape.quoted.intersection(self._prices):
                own = own | ~shape.nulls.get(name, _NEVER)
        return np.where(own, EITHER, DECIMAL).astype(np.uint8)

    def _filled(self, text: Text, shape: Shape) -> tuple[Text, dict[str, Column]]:
        """Return the text and columns in which whole numbers that are null are what a missing one is."""
        missing = {name: _MISSING.get(name, b"0") for name in (*UNSIGNED[self.header.kind], "ts_in_delta")}
        columns, data = dict(shape.columns), text.data
        for name in missing.keys() & shape.nulls.keys():
            start, end = (np.where(shape.nulls[name], len(data), place) for place in columns[name])
            data += missing[name]
            columns[name] = start, np.where(shape.nulls[name], len(data), end)
        return (text if data is text.data else Text(data)), columns

    def _one_by_one(self, data: bytes) -> Parsed:
        """Read lines of any shape."""
        columns: dict[str, list[bytes]] = {}
        meant: list[int] = []
        named = quoted = False
        fault: Fault | None = None
        lines = data.split(b"\n")[:-1]
        for first in range(0, len(lines), _LINES_AT_ONCE):
            records: list[dict[str, Any]] = []
            for line in lines[first : first + _LINES_AT_ONCE]:
                record = loaded(line)
                if isinstance(record, str):
                    fault = Fault(first + len(records), record)
                    break
                records.append(record)
            for name, values in _texts(records, self.header.kind).items():
                columns.setdefault(name, []).extend(values)
            meant.extend(_meaning(record, self._prices) for record in records)
            named = named or any("symbol" in record for record in records)
            quoted = quoted or any(not QUOTES.isdisjoint(record) for record in records)
            if fault is not None:
                break
        if not named:
            columns.pop("symbol", None)
        if not quoted:
            for name in QUOTES:
                columns.pop(name, None)
        text, places = _joined(columns)
        parsed = parse(self.header, text, places, len(meant), np.array(meant, dtype=np.uint8))
        return parsed if parsed.fault is not None else replace(parsed, fault=fault)


def loaded(line: bytes) -> dict[str, Any] | str:
    """Return a line's record with the fields of its ``hd`` beside its own, or what is wrong with it."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        record = None
    if not isinstance(record, dict):
        shown = line[:_MOST_SHOWN].decode("utf-8", "backslashreplace")
        return f"it must be a JSON object, was {shown.rstrip()!r}"
    if "hd" in record:
        if not isinstance(record["hd"], dict):
            return "`hd` must be a JSON object"
        return {**best_quotes(record), **record, **record["hd"]}
    if not isinstance(record.get("raw", True), bool):
        return "`raw` must be true or false"
    return {**best_quotes(record), **record} if "levels" in record else record


def _meaning(record: dict[str, Any], prices: tuple[str, ...]) -> int:
    """Return how the record's prices are meant."""
    if "raw" in record:
        return UNITS if record["raw"] else DECIMAL
    clock = record["ts_event"] if "ts_event" in record else record.get("ts_recv")
    digits = isinstance(clock, int) or (isinstance(clock, str) and clock[4:5] != "-")
    if "hd" in record:
        own = digits or any(isinstance(record.get(name), str) for name in prices)
    else:
        own = digits and isinstance(clock, str)
    return EITHER if own else DECIMAL


def _texts(records: list[dict[str, Any]], kind: Kind) -> dict[str, list[bytes]]:
    """Return the fields as a CSV file would have them; what must not be is text that cannot be read."""
    texts: dict[str, list[bytes]] = {}
    for name in ("price",) if kind == "trades" else BAR_PRICES:
        texts[name] = [_price(record.get(name, b"nothing")) for record in records]
    texts["ts_recv"] = [_text(record.get("ts_recv", 0)) for record in records]
    texts["ts_event"] = [
        _text(record["ts_event"] if "ts_event" in record else record.get("ts_recv", b"nothing"))
        for record in records
    ]
    for name in (*UNSIGNED[kind], "ts_in_delta"):
        missing = _MISSING.get(name, b"0")
        texts[name] = [_text(record.get(name)) or missing for record in records]
    if kind == "trades":
        for name in sorted(QUOTES):
            texts[name] = [_price(record.get(name, b"")) for record in records]
        texts["action"] = [_letters(record.get("action", "T")) for record in records]
        texts["side"] = [_letters(record.get("side")) for record in records]
    texts["symbol"] = [_letters(record.get("symbol")) for record in records]
    return texts


def _text(value: object) -> bytes:
    if type(value) is int:
        return b"%d" % value
    if type(value) is str:
        return value.encode() or b'""'
    if value is None:
        return b""
    return value if isinstance(value, bytes) else orjson.dumps(value)


def _letters(value: object) -> bytes:
    if value is None:
        return b""
    return value.encode() if isinstance(value, str) else b'"' + orjson.dumps(value)


def _price(value: object) -> bytes:
    if type(value) is not float:
        return _text(value)
    exact = Decimal(repr(value))
    if abs(exact) < 10**10:
        return b"%.40s" % format(round(exact, 9), "f").encode()
    return repr(value).encode()


def _joined(columns: dict[str, list[bytes]]) -> tuple[Text, dict[str, Column]]:
    """Put all fields in one buffer."""
    places: dict[str, Column] = {}
    offset = 0
    for name, values in columns.items():
        ends = offset + np.cumsum([len(value) for value in values], dtype=np.int64)
        starts = np.concatenate([[offset], ends[:-1]])[: len(values)].astype(np.int64)
        places[name] = starts, ends
        offset = int(ends[-1]) if len(values) else offset
    return Text(b"".join(b"".join(values) for values in columns.values())), places
