"""DBN files (versions 1, 2 and 3) as blocks of NumPy records, read without touching single records.

The layouts are those of Databento's DBN specification: a record begins with its length in units of four
bytes, its ``rtype``, publisher and instrument ids and ``ts_event``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import databento_dbn
import numpy as np

from connectors.byte_stream import ByteStream
from tapewatch.errors import DamagedError, UserError
from tapewatch.records import (
    DAY,
    OHLCV,
    OHLCV_WIDTHS,
    TRADE,
    UNDEF_TIME,
    Array,
    Block,
    Header,
    Kind,
    book,
)
from tapewatch.symbology import Interval, Symbols, day_number

#: Largest metadata we read: every OPRA symbol twice is about 200 MB.
_LARGEST_METADATA = 1 << 29
_VERSIONS = (1, 2, 3)
#: Schemas that hold trades, and the ``rtype`` of their records.
_TRADE_SCHEMAS = {"trades": 0, "tbbo": 1, "mbp-1": 1, "mbp-10": 10, "cmbp-1": 177, "tcbbo": 194, "mbo": 160}
_BAR_SCHEMAS = {"ohlcv-1s": 32, "ohlcv-1m": 33, "ohlcv-1h": 34, "ohlcv-1d": 35}
#: Bytes of a record by ``rtype``; with ``ts_out`` eight more.
_SIZES = {0: 48, 1: 80, 10: 368, 177: 80, 194: 80, 160: 56, 32: 56, 33: 56, 34: 56, 35: 56}
_SYMBOL_MAPPING = 22
#: A record's length is a byte that counts units of four bytes.
_LARGEST_RECORD = 255 * 4
#: The first block of a file is so many times smaller than the others.
_FIRST = 16
#: Best bid and ask behind a trade, in the schemas that have them.
_QUOTES = np.dtype({"names": ["bid", "ask"], "formats": ["<i8", "<i8"], "offsets": [48, 56], "itemsize": 64})
_MBO = np.dtype(
    {
        "names": ["price", "size", "flags", "action", "side", "ts_recv", "ts_in_delta", "sequence"],
        "formats": ["<i8", "<u4", "u1", "S1", "S1", "<u8", "<i4", "<u4"],
        "offsets": [24, 32, 36, 38, 39, 40, 48, 52],
        "itemsize": 56,
    }
)


class DbnRecords:
    """Reader of one DBN file.

    Parameters
    ----------
    path
        A ``.dbn`` or ``.dbn.zst`` file.
    block_records
        Records per block: never as many as twice this (or twice what 1,020 bytes hold).

    Raises
    ------
    UserError
        If it is no DBN of a version we read, or its schema holds neither trades nor bars.
    """

    def __init__(self, path: Path, block_records: int = 131_072) -> None:
        self.path = path
        self._block_records = block_records
        self._stream = ByteStream(path)
        metadata, self._rest, self._begin = self._read_metadata()
        self.mixed = metadata.schema is None
        self._extra = 8 if metadata.ts_out else 0
        schema = "" if metadata.schema is None else str(metadata.schema)
        kind: Kind = "bars" if schema in _BAR_SCHEMAS else "trades"
        if schema and schema not in _TRADE_SCHEMAS and kind == "trades":
            allowed = ", ".join([*_TRADE_SCHEMAS, *_BAR_SCHEMAS])
            raise UserError(f"{path} holds `{schema}`, which has no trades or bars; give one of {allowed}")
        self._rtype = (_TRADE_SCHEMAS | _BAR_SCHEMAS)[schema] if schema else _best(self._types_within(path))
        if self._rtype in OHLCV_WIDTHS:
            kind = "bars"
        width = OHLCV_WIDTHS[self._rtype] if kind == "bars" else 0
        self.header = Header(kind, metadata.dataset, schema or "mixed", Symbols(_intervals(metadata)), width)

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

    def _read_metadata(self) -> tuple[Any, bytes, int]:
        data = self._stream.read(8)
        if not data:
            self._stream.raise_damage()
            raise UserError(f"{self.path} is empty; a DBN file begins with its metadata")
        if data[:3] == b"DBN" and len(data) < 8:
            self._stream.raise_damage()
            raise UserError(f"{self.path} is damaged: it ends within its metadata")
        if data[:3] != b"DBN":
            raise UserError(f"{self.path} is no DBN file: it begins with {data[:4]!r}, not with b'DBN'")
        if data[3] not in _VERSIONS:
            raise UserError(f"{self.path} is DBN version {data[3]}; this program reads versions 1, 2 and 3")
        length = 8 + int.from_bytes(data[4:8], "little")
        if length > _LARGEST_METADATA:
            raise UserError(f"{self.path} is damaged: its metadata claims {length:,} bytes")
        while len(data) < length:
            more = self._stream.read(length - len(data))
            if not more:
                raise UserError(f"{self.path} is damaged: it ends within its metadata")
            data += more
        try:
            metadata = databento_dbn.Metadata.decode(data[:length])
        except (databento_dbn.DBNError, ValueError) as error:
            raise UserError(f"{self.path} is damaged: its metadata cannot be read ({error})") from error
        return metadata, data[length:], length

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the file's blocks from decompressed byte ``start`` on (0, or the ``end`` of a block).

        Raises
        ------
        DamagedError
            After the last whole record, if what follows is damaged.
        """
        offset = self._begin
        held = self._rest
        if start > offset and not self.mixed:
            held = (
                held[start - offset :]
                if start - offset <= len(held)
                else self._stream.skip(start - offset - len(held))
            )
            offset = start
        whole = max(self._block_records * (_SIZES[self._rtype] + self._extra), _LARGEST_RECORD)
        # The first block is a small one, for nothing can be done before it is there.
        want = max(whole // _FIRST, _LARGEST_RECORD)
        while True:
            held = self._stream.read(want, held)
            if not held:
                break
            last = len(held) < want
            # The bytes come in pieces that may hold many small blocks.
            part = held if len(held) < 2 * want else held[:want]
            used, block, damage = self._decode(part, offset, last)
            offset += used
            held = held[used:]
            want = whole
            if block is not None and offset > start:
                yield block
            if damage is not None:
                self._stream.raise_damage()
                raise DamagedError(
                    f"{self.path} is damaged: {damage} at byte {offset:,}; "
                    '`source.on_error = "skip"` keeps what is whole'
                )
            if last:
                break
        self._stream.raise_damage()

    def _decode(self, data: bytes, offset: int, last: bool) -> tuple[int, Block | None, str | None]:
        """Return how many bytes were used, their block, and what is wrong behind them."""
        at, end = 0, len(data)
        parts: list[Array] = []
        passed: dict[str, int] = {}
        damage: str | None = None
        while at < end:
            length, rtype = data[at], data[at + 1] if at + 1 < end else 0
            stride = length * 4
            known = _SIZES.get(rtype)
            if stride < 16 or (known is not None and stride not in (known, known + self._extra)):
                damage = f"a record of type {rtype} with {stride} bytes"
                break
            count = _run(data, at, stride)
            if count == 0:
                if last:
                    damage = f"half a record ({end - at} of {stride} bytes)"
                break
            if rtype == self._rtype:
                if self.header.kind == "bars":
                    parts.append(_view(data, at, stride, count, OHLCV))
                else:
                    part, others = _trades(data, at, stride, count, rtype)
                    parts.append(part)
                    if others:
                        passed["not_a_trade"] = passed.get("not_a_trade", 0) + others
            else:
                if rtype == _SYMBOL_MAPPING:
                    self._map(data, at, stride, count)
                passed["other_schema"] = passed.get("other_schema", 0) + count
            at += count * stride
        if not at:
            return 0, None, damage
        empty = np.empty(0, OHLCV if self.header.kind == "bars" else TRADE)
        records = parts[0] if len(parts) == 1 else np.concatenate(parts or [empty])
        return at, Block(records, _times(records), offset + at, passed_over=passed), damage

    def _types_within(self, path: Path) -> set[int]:
        """Return the record types in a file whose metadata names no schema (a live capture)."""
        types: set[int] = set()
        with ByteStream(path) as stream:
            held = stream.skip(self._begin)
            while held := stream.read(1 << 20, held):
                at, last = 0, len(held) < 1 << 20
                while at < len(held) and (stride := held[at] * 4) >= 16 and (count := _run(held, at, stride)):
                    types.add(held[at + 1])
                    at += count * stride
                if last or at == 0:
                    break
                held = held[at:]
        return types

    def _map(self, data: bytes, at: int, stride: int, count: int) -> None:
        """Follow the symbol mappings of a live capture: they hold from the day they arrive on."""
        for place in range(at, at + count * stride, stride):
            record = data[place : place + stride]
            instrument_id = int.from_bytes(record[4:8], "little")
            day = int.from_bytes(record[8:16], "little") // DAY
            width = 22 if stride == 80 else 71
            second = 16 + width if stride == 80 else 16 + 1 + width + 1
            symbol = record[second : second + width].split(b"\0")[0].decode("utf-8", "replace")
            if symbol:
                self.header.symbols.add(Interval(symbol, instrument_id, day, 1 << 31))


def _best(types: set[int]) -> int:
    """Return the one record type to read where several may tell of the same trades."""
    for rtype in (*_TRADE_SCHEMAS.values(), *_BAR_SCHEMAS.values()):
        if rtype in types:
            return rtype
    return _TRADE_SCHEMAS["trades"]


def _run(data: bytes, at: int, stride: int) -> int:
    """Return how many whole records with the first one's length and type follow each other."""
    most = (len(data) - at) // stride
    first = data[at] | data[at + 1] << 8 if at + 1 < len(data) else -1
    sure, window = 0, 64
    while sure < most:
        count = min(window, most - sure)
        heads = np.ndarray((count,), "<u2", data, at + sure * stride, (stride,))
        differ = heads != first
        if differ.any():
            return sure + int(differ.argmax())
        sure += count
        window *= 64
    return most


def _view(data: bytes, at: int, stride: int, count: int, dtype: np.dtype[Any]) -> Array:
    return np.ndarray((count,), dtype, data, at, (stride,))


def _trades(data: bytes, at: int, stride: int, count: int, rtype: int) -> tuple[Array, int]:
    """Return the trades among equal records in the layout of ``TRADE``, and how many are no trades."""
    if rtype != 160:
        records = _view(data, at, stride, count, TRADE)
        trade = records["action"] == b"T"
        kept = records if trade.all() else records[trade]
        if rtype and len(kept):
            quotes = _view(data, at, stride, count, _QUOTES)[trade]
            kept = kept.copy()
            kept["depth"] = book(quotes["bid"], quotes["ask"])
            if rtype in (177, 194):
                kept["sequence"] = 0
        return kept, count - len(kept)
    orders = _view(data, at, stride, count, _MBO)
    chosen = np.flatnonzero(orders["action"] == b"T")
    kept = np.zeros(len(chosen), TRADE)
    heads = _view(data, at, stride, count, TRADE)[chosen]
    for name in ("rtype", "publisher_id", "instrument_id", "ts_event"):
        kept[name] = heads[name]
    kept["length"] = TRADE.itemsize // 4
    fields = orders[chosen]
    for name in _MBO.names or ():
        kept[name] = fields[name]
    return kept, count - len(kept)


def _times(records: Array) -> Array:
    """Return event times: ``ts_recv`` where there is one that is set, else ``ts_event``."""
    if records.dtype == OHLCV:
        return records["ts_event"]
    times: Array = np.ascontiguousarray(records["ts_recv"])
    if not len(times) or (times.min() > 0 and times.max() < UNDEF_TIME):
        return times
    return np.where((times == 0) | (times == UNDEF_TIME), records["ts_event"], times)


def _intervals(metadata: Any) -> list[Interval]:  # noqa: ANN401 - the library has no types
    """Return what the metadata says of symbols; ids that are no numbers have no meaning here."""
    if not isinstance(metadata.mappings, dict):
        return []
    return [
        Interval(symbol, int(span["symbol"]), day_number(span["start_date"]), day_number(span["end_date"]))
        for symbol, spans in metadata.mappings.items()
        for span in spans
        if str(span["symbol"]).isdigit() and int(span["symbol"]) < 2**32
    ]
