"""Databento's CSV encoding, raw or pretty, as blocks of NumPy records: parsed by columns, not by lines.

Raw files hold integers (nanoseconds, prices in units of 1e-9), pretty ones ISO times and decimals; which it
is, is decided by each column of the first line of data. Columns that are not needed are passed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from connectors.byte_stream import ByteStream
from connectors.decimal_text import Text, decimal, signed, timestamp, unsigned
from connectors.text_lines import Lines, damaged, whole_lines
from tapewatch.errors import UserError
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

_LONGEST_HEADER = 1 << 20
_BAR_PRICES = ("open", "high", "low", "close")
_SCHEMA_BY_WIDTH = {32: "ohlcv-1s", 33: "ohlcv-1m", 34: "ohlcv-1h", 35: "ohlcv-1d"}
#: Largest value of the integer fields.
_LARGEST = {
    "rtype": 255, "publisher_id": 2**16 - 1, "instrument_id": 2**32 - 1, "size": 2**32 - 1, "flags": 255,
    "depth": 255, "sequence": 2**32 - 1, "volume": 2**64 - 1,
}  # fmt: skip
_Parser = Callable[[Text, Int64s, Int64s], tuple[Array, Array]]


class CsvRecords:
    """Reader of one ``.csv`` or ``.csv.zst`` file.

    Parameters
    ----------
    path
        The file; its first line names the columns.
    block_bytes
        Text per block, about.

    Raises
    ------
    UserError
        If its columns are not those of a schema with trades or bars.
    """

    def __init__(self, path: Path, block_bytes: int = 4 << 20) -> None:
        self.path = path
        self._block_bytes = block_bytes
        with ByteStream(path) as stream:
            head = stream.read(1)
            while b"\n" not in head and len(head) < _LONGEST_HEADER and (more := stream.read(1)):
                head += more
            if not head:
                stream.raise_damage()
                raise UserError(f"{path} is empty; a CSV file begins with the names of its columns")
        line, _, rest = head.partition(b"\n")
        self._begin = len(line) + 1
        self._columns = [name.strip().decode("utf-8", "replace") for name in line.rstrip(b"\r").split(b",")]
        kind = self._kind()
        first = rest.partition(b"\n")[0].rstrip(b"\r").split(b",")
        values = dict(zip(self._columns, first, strict=False)) if rest else {}
        width, schema = 0, "trades"
        if kind == "bars":
            rtype = values.get("rtype", b"33").decode("ascii", "replace")
            if not rtype.isdigit() or int(rtype) not in OHLCV_WIDTHS:
                raise UserError(f"{path} has bars of `rtype` {rtype!r}; it must be one of 32, 33, 34, 35")
            width, schema = OHLCV_WIDTHS[int(rtype)], _SCHEMA_BY_WIDTH[int(rtype)]
        self._pretty = any(b"." in values.get(name, b"") for name in ("price", *_BAR_PRICES)) or any(
            b"T" in values.get(name, b"") for name in ("ts_recv", "ts_event")
        )
        self._pretty_price = any(b"." in values.get(name, b"") for name in ("price", *_BAR_PRICES)) or (
            self._pretty and b"" in (values.get("price"), values.get("open"))
        )
        self.header = Header(kind, "", schema, Symbols(), width)
        self._stream = ByteStream(path)

    def _kind(self) -> Kind:
        if {"open", "high", "low", "close", "volume"} <= set(self._columns):
            kind: Kind = "bars"
        elif {"price", "size"} <= set(self._columns) and "stat_type" not in self._columns:
            kind = "trades"
        else:
            raise UserError(
                f"{self.path} holds no trades or bars; its columns begin with {', '.join(self._columns[:4])}"
            )
        if not {"ts_event", "ts_recv"} & set(self._columns):
            raise UserError(f"{self.path} has no column `ts_event` or `ts_recv`")
        return kind

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
        for lines in whole_lines(self._stream, max(start, self._begin), self._block_bytes):
            good, block, problem = self._decode(lines)
            if good:
                yield block
            if problem is not None:
                raise damaged(self.path, lines.first + good, problem)

    def _decode(self, lines: Lines) -> tuple[int, Block, str | None]:
        """Return how many lines are whole, their block, and what is wrong with the line behind them."""
        data = lines.data
        raw = np.frombuffer(data, np.uint8)
        ends = np.flatnonzero(raw == 10)
        starts = np.concatenate([[0], ends[:-1] + 1])
        commas = np.flatnonzero(raw == 44)
        per_line = np.searchsorted(commas, ends) - np.searchsorted(commas, starts)
        wrong = per_line != len(self._columns) - 1
        good = int(wrong.argmax()) if wrong.any() else len(ends)
        problem = None
        if good < len(ends):
            problem = f"{int(per_line[good]) + 1} fields where there are {len(self._columns)} columns"
        text = Text(data)
        edges = commas[: good * (len(self._columns) - 1)].reshape(good, len(self._columns) - 1)
        starts, ends = starts[:good], ends[:good]
        ends = ends - ((raw[np.maximum(ends - 1, 0)] == 13) & (ends > starts))
        begin = {n: starts if i == 0 else edges[:, i - 1] + 1 for i, n in enumerate(self._columns)}
        end = {n: ends if i == len(self._columns) - 1 else edges[:, i] for i, n in enumerate(self._columns)}
        values: dict[str, Array] = {}
        for name, parse in self._parsers().items():
            if name in begin and good:
                value, fine = parse(text, begin[name][:good], end[name][:good])
                values[name] = value
                if not fine.all():
                    bad = int((~fine).argmax())
                    found = data[int(begin[name][bad]) : int(end[name][bad])][:40].decode("utf-8", "replace")
                    good, problem = bad, f"`{name}` cannot be {found!r}"
        if lines.cut and good == len(per_line) and self._stream.damage is not None:
            good -= 1
        block = self._block({n: v[:good] for n, v in values.items()}, good, lines, problem)
        if "symbol" in begin and good:
            codes, names = _symbols(
                text, begin["symbol"][:good], end["symbol"][:good], block[1]["instrument_id"]
            )
            keep = block[2]
            return (
                good,
                Block(
                    block[1][keep], block[0][keep], self._end(lines, good), codes[keep], names, _others(keep)
                ),
                problem,
            )
        keep = block[2]
        return (
            good,
            Block(block[1][keep], block[0][keep], self._end(lines, good), None, (), _others(keep)),
            problem,
        )

    def _end(self, lines: Lines, good: int) -> int:
        cut = int(lines.cut)
        at = 0
        if good == lines.data.count(b"\n"):
            return lines.end
        for _ in range(good):
            at = lines.data.index(b"\n", at) + 1
        return lines.end + cut - len(lines.data) + at

    def _parsers(self) -> dict[str, _Parser]:
        price = _optional(decimal if self._pretty_price else signed, UNDEF_PRICE)
        parsers: dict[str, _Parser] = {
            "ts_recv": _optional(timestamp if self._pretty else unsigned, UNDEF_TIME),
            "ts_event": _optional(timestamp if self._pretty else unsigned, UNDEF_TIME),
        }
        if self.header.kind == "bars":
            parsers |= dict.fromkeys(_BAR_PRICES, price)
            names = ["rtype", "publisher_id", "instrument_id", "volume"]
        else:
            parsers |= {"price": price, "action": _letter, "side": _letter, "ts_in_delta": _delta}
            names = ["rtype", "publisher_id", "instrument_id", "size", "flags", "depth", "sequence"]
        return parsers | {name: _up_to(_LARGEST[name]) for name in names}

    def _block(
        self, values: dict[str, Array], count: int, lines: Lines, problem: str | None
    ) -> tuple[Array, Array, Array]:
        """Return times, records, and which of them are wanted."""
        records = np.zeros(count, OHLCV if self.header.kind == "bars" else TRADE)
        records["length"] = records.dtype.itemsize // 4
        if self.header.kind == "trades":
            records["side"] = b"N"
        for name, value in values.items():
            if name in (records.dtype.names or ()):
                records[name] = value
        if "ts_event" not in values and "ts_recv" in values:
            records["ts_event"] = values["ts_recv"]
        times = records["ts_event"].copy()
        wanted = np.ones(count, bool)
        if "ts_recv" in values:
            received = values["ts_recv"]
            times = np.where((received == 0) | (received == UNDEF_TIME), times, received)
        if "action" in values:
            wanted = records["action"] == b"T"
        elif self.header.kind == "trades":
            records["action"] = b"T"
        return times, records, wanted


def _others(keep: Array) -> dict[str, int]:
    number = int((~keep).sum())
    return {"not_a_trade": number} if number else {}


def _optional(parse: Any, undefined: int) -> _Parser:  # noqa: ANN401 - parsers differ in their last parameter
    def read(text: Text, start: Int64s, end: Int64s) -> tuple[Array, Array]:
        empty = start == end
        if not empty.any():
            value, good = parse(text, start, end)
            return value, good
        there = np.flatnonzero(~empty)
        value = np.full(len(start), undefined, np.uint64 if undefined > UNDEF_PRICE else np.int64)
        good = np.ones(len(start), bool)
        if len(there):
            value[there], good[there] = parse(text, start[there], end[there])
        return value, good

    return read


def _up_to(largest: int) -> _Parser:
    return lambda text, start, end: unsigned(text, start, end, largest)


def _delta(text: Text, start: Int64s, end: Int64s) -> tuple[Array, Array]:
    return signed(text, start, end, 2**31 - 1)


def _letter(text: Text, start: Int64s, end: Int64s) -> tuple[Array, Array]:
    letters = text.bytes[start]
    return np.ascontiguousarray(letters).view("S1"), end - start == 1


def _symbols(text: Text, start: Int64s, end: Int64s, ids: Array) -> tuple[Array, tuple[str, ...]]:
    """Return each record's symbol as a code, and the symbols in the order they come first."""
    length = end - start
    width = int(length.max(initial=1)) or 1
    if width <= 8:
        words = text.word(start) & np.where(
            length > 0, np.uint64(2**64 - 1) >> ((8 - np.minimum(length, 8)) * 8).astype(np.uint64), 0
        )
        _, first, codes = np.unique(words, return_index=True, return_inverse=True)
    else:
        table = np.full((len(start), width), 32, np.uint8)
        for at in range(width):
            inside = at < length
            table[inside, at] = text.bytes[start[inside] + at]
        _, first, codes = np.unique(table.view(f"V{width}").ravel(), return_index=True, return_inverse=True)
    names = [text.slice(int(start[i]), int(end[i])).decode("utf-8", "replace") for i in first]
    if "" not in names:
        return codes, tuple(names)
    found: dict[str, int] = {}
    spelled = [names[c] or str(i) for c, i in zip(codes.tolist(), ids.tolist(), strict=True)]
    return np.array([found.setdefault(name, len(found)) for name in spelled], np.intp), tuple(found)
