"""Databento's JSON encoding, one object a line, as blocks of NumPy records.

Objects are flat or have ``hd`` nested. Times are RFC 3339, or nanoseconds as numbers or texts. A price is a
decimal, as a text or a number; it is an integer of 1e-9 if the object says ``"raw": true``, or if it is a
text of digits alone in an object with ``hd`` or with times in digits, which is how Databento writes raw JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from connectors.byte_stream import ByteStream
from connectors.decimal_text import Text, decimal, timestamp
from connectors.text_lines import Lines, damaged, whole_lines
from tapewatch.errors import DamagedError, UserError
from tapewatch.records import (
    OHLCV,
    OHLCV_WIDTHS,
    PRICE_SCALE,
    TRADE,
    UNDEF_PRICE,
    UNDEF_SIZE,
    UNDEF_TIME,
    Array,
    Block,
    Header,
    Kind,
)
from tapewatch.symbology import Symbols

_BAR_PRICES = ("open", "high", "low", "close")
_SCHEMA_BY_WIDTH = {32: "ohlcv-1s", 33: "ohlcv-1m", 34: "ohlcv-1h", 35: "ohlcv-1d"}
_HEAD = ("ts_event", "rtype", "publisher_id", "instrument_id")
#: Range of the integer fields.
_RANGES = {
    "rtype": (0, 255), "publisher_id": (0, 2**16 - 1), "instrument_id": (0, 2**32 - 1),
    "size": (0, 2**32 - 1),
    "flags": (0, 255), "depth": (0, 255), "ts_in_delta": (-(2**31), 2**31 - 1), "sequence": (0, 2**32 - 1),
    "volume": (0, 2**64 - 1),
}  # fmt: skip
_Object = dict[str, Any]


class _BadValueError(ValueError):
    """A value that its field cannot hold."""


class JsonRecords:
    """Reader of one ``.json`` or ``.jsonl`` file, plain or ``.zst``.

    Parameters
    ----------
    path
        The file.
    block_bytes
        Text per block, about.

    Raises
    ------
    UserError
        If its first object is no trade and no bar.
    """

    def __init__(self, path: Path, block_bytes: int = 4 << 20) -> None:
        self.path = path
        self._block_bytes = block_bytes
        with ByteStream(path) as stream:
            first = next(whole_lines(stream, 0, 1 << 16), None)
            if first is None:
                stream.raise_damage()
                raise UserError(f"{path} is empty; a JSON file has one object a line")
        try:
            value = _flat(orjson.loads(first.data.split(b"\n", 1)[0]))
        except (orjson.JSONDecodeError, _BadValueError) as error:
            raise UserError(f"{path} is no file of JSON objects, one a line: {error}") from error
        kind: Kind
        width, schema = 0, "trades"
        if {"open", "high", "low", "close", "volume"} <= value.keys():
            kind = "bars"
            rtype = value.get("rtype", 33)
            if rtype not in OHLCV_WIDTHS:
                raise UserError(f"{path} has bars of `rtype` {rtype!r}; it must be one of 32, 33, 34, 35")
            width, schema = OHLCV_WIDTHS[rtype], _SCHEMA_BY_WIDTH[rtype]
        elif {"price", "size"} <= value.keys() and "stat_type" not in value:
            kind = "trades"
        else:
            raise UserError(f"{path} holds no trades or bars; its objects have {', '.join(list(value)[:6])}")
        self.header = Header(kind, "", schema, Symbols(), width)
        self._stream = ByteStream(path)

    @property
    def consumed(self) -> int:
        """Compressed bytes read so far."""
        return self._stream.consumed

    @property
    def size(self) -> int:
        """Compressed bytes of the file when it was opened."""
        return self._stream.size

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the file's blocks from decompressed byte ``start`` on (0, or the ``end`` of a block).

        Raises
        ------
        DamagedError
            After the last whole record, if what follows is damaged.
        """
        for lines in whole_lines(self._stream, start, self._block_bytes):
            texts = lines.data.splitlines()
            try:
                yield self._block(orjson.loads(b"[" + b",".join(texts) + b"]"), lines.end)
            except (orjson.JSONDecodeError, _BadValueError, TypeError, KeyError):
                good, error = self._until_damage(texts, lines)
                if good:
                    end = lines.end + int(lines.cut) - sum(len(t) + 1 for t in texts[good:])
                    yield self._block([orjson.loads(t) for t in texts[:good]], end)
                raise error from None

    def _until_damage(self, texts: list[bytes], lines: Lines) -> tuple[int, DamagedError]:
        for number, text in enumerate(texts):
            try:
                self._block([orjson.loads(text)], 0)
            except (orjson.JSONDecodeError, _BadValueError, TypeError, KeyError) as error:
                return number, damaged(self.path, lines.first + number, str(error) or "no record")
        return len(texts), damaged(self.path, lines.first + len(texts), "no record")

    def _block(self, objects: list[Any], end: int) -> Block:
        rows = [_flat(value) for value in objects]
        bars = self.header.kind == "bars"
        records = np.zeros(len(rows), OHLCV if bars else TRADE)
        records["length"] = records.dtype.itemsize // 4
        for name in records.dtype.names or ():
            if name in _RANGES:
                undefined = UNDEF_SIZE if name == "size" else 0
                records[name] = _integers(name, [row.get(name) for row in rows], undefined)
        event = _times([row.get("ts_event") for row in rows])
        received = _times([row.get("ts_recv") for row in rows])
        records["ts_event"] = np.where(event == UNDEF_TIME, received, event)
        wanted = np.ones(len(rows), bool)
        for name in _BAR_PRICES if bars else ("price",):
            records[name] = _prices([row.get(name) for row in rows], rows)
        times = records["ts_event"].copy()
        if not bars:
            records["ts_recv"] = np.where(received == UNDEF_TIME, 0, received)
            times = np.where((received == 0) | (received == UNDEF_TIME), times, received)
            for name, default in (("action", "T"), ("side", "N")):
                records[name] = _letters(name, [row.get(name) for row in rows], default)
            wanted = records["action"] == b"T"
        names: dict[str, int] = {}
        codes = None
        if any("symbol" in row for row in rows):
            spelled = [str(row.get("symbol") or row.get("instrument_id") or 0) for row in rows]
            codes = np.array([names.setdefault(name, len(names)) for name in spelled], np.intp)[wanted]
        others = int((~wanted).sum())
        return Block(
            records[wanted],
            times[wanted],
            end,
            codes,
            tuple(names),
            {"not_a_trade": others} if others else {},
        )


def _flat(value: Any) -> _Object:  # noqa: ANN401 - whatever a file holds
    if not isinstance(value, dict):
        msg = "a line must hold one JSON object"
        raise _BadValueError(msg)
    head = value.get("hd")
    return (
        {**value, **{name: head[name] for name in _HEAD if name in head}} if isinstance(head, dict) else value
    )


def _integers(name: str, values: list[Any], undefined: int) -> Array:
    low, high = _RANGES[name]
    if set(map(type, values)) != {int}:
        values = [_integer(name, value, undefined) for value in values]
    if values and not (low <= min(values) and max(values) <= high):
        worst = min(values) if min(values) < low else max(values)
        raise _BadValueError(f"`{name}` must be from {low} to {high}, was {worst}")
    return np.array(values, np.uint64 if name == "volume" else np.int64)


def _integer(name: str, value: Any, undefined: int) -> int:  # noqa: ANN401 - whatever a file holds
    if value is None:
        return undefined
    if isinstance(value, str) and value.removeprefix("-").isdigit() and len(value) < 24:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise _BadValueError(f"`{name}` must be a whole number, was {str(value)[:40]!r}")


def _times(values: list[Any]) -> Array:
    """Return uint64 ns of texts or numbers; `UNDEF_TIME` where there is none."""
    kinds = set(map(type, values))
    if kinds == {type(None)}:
        return np.full(len(values), UNDEF_TIME, np.uint64)
    if kinds == {str} and not any(map(str.isdigit, values)):
        found, good = timestamp(*_joined(values))
        if not good.all():
            raise _BadValueError(f"a time cannot be {values[int((~good).argmax())][:40]!r}")
        return found
    return np.array([_time(value) for value in values], np.uint64)


def _joined(values: list[str]) -> tuple[Text, Array, Array]:
    """Return texts as one, and where each begins and ends in it."""
    encoded = [value.encode() for value in values]
    ends = np.cumsum([len(value) + 1 for value in encoded]) - 1
    return Text(b",".join(encoded)), np.concatenate([[0], ends[:-1] + 1]), ends


def _time(value: Any) -> int:  # noqa: ANN401 - whatever a file holds
    if value is None:
        return UNDEF_TIME
    if isinstance(value, str) and not value.isdigit():
        return int(_times([value])[0]) if value else UNDEF_TIME
    number = _integer("time", value, UNDEF_TIME)
    if not 0 <= number <= UNDEF_TIME:
        raise _BadValueError(f"a time cannot be {number}")
    return number


def _prices(values: list[Any], rows: list[_Object]) -> Array:
    """Return int64 units of 1e-9."""
    if set(map(type, values)) == {str} and all("." in value for value in values):
        found, good = decimal(*_joined(values))
        if good.all():
            return found
    return np.array([_price(value, row) for value, row in zip(values, rows, strict=True)], np.int64)


def _price(value: Any, row: _Object) -> int:  # noqa: ANN401 - whatever a file holds
    if value is None:
        return UNDEF_PRICE
    if isinstance(value, bool):
        raise _BadValueError(f"a price cannot be {value!r}")
    if isinstance(value, int):
        scaled = value if row.get("raw") is True else value * PRICE_SCALE
    elif isinstance(value, float):
        scaled = round(value * PRICE_SCALE) if abs(value) < 1e10 else UNDEF_PRICE + 1
    elif isinstance(value, str) and len(value) < 40:
        nested_or_raw = row.get("raw") is True or "hd" in row or str(row.get("ts_event", "")).isdigit()
        if nested_or_raw and value.removeprefix("-").isdigit():
            scaled = _integer("price", value, 0)
        else:
            scaled = _decimal(value)
    else:
        raise _BadValueError(f"a price cannot be {str(value)[:40]!r}")
    if not -(2**63) <= scaled <= UNDEF_PRICE:
        raise _BadValueError(f"a price cannot be {value!r}")
    return scaled


def _decimal(text: str) -> int:
    whole, dot, fraction = text.partition(".")
    if dot and len(fraction) == 9 and fraction.isdigit() and whole.removeprefix("-").isdigit():
        return int(whole + fraction)
    try:
        scaled = Decimal(text) * PRICE_SCALE
        if scaled != scaled.to_integral_value() or abs(scaled) > 2**64:
            raise _BadValueError(f"a price cannot be {text!r}")
        return int(scaled)
    except (InvalidOperation, OverflowError, ValueError):
        raise _BadValueError(f"a price cannot be {text!r}") from None


def _letters(name: str, values: list[Any], default: str) -> Array:
    distinct = set(values) if all(v is None or isinstance(v, str) for v in values) else {"??"}
    for value in distinct - {None}:
        if len(value) != 1 or not value.isascii():
            raise _BadValueError(f"`{name}` must be one letter, was {value[:40]!r}")
    return np.array([value or default for value in values] if None in distinct else values, "S1")
