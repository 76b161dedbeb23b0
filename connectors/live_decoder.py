"""The bytes of a live session: runs of records of one schema, and what the gateway says between them.

A session is a DBN stream without end: metadata, then records, among them symbol mappings, heartbeats,
notices and errors. No single market record is touched; the layouts are those of Databento's DBN
specification.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import databento_dbn
import numpy as np

from connectors.dbn_records import (
    _BAR_SCHEMAS,
    _LARGEST_METADATA,
    _SIZES,
    _TRADE_SCHEMAS,
    _VERSIONS,
    _run,
    _times,
    _trades,
    _view,
)
from tapewatch.errors import DamagedError
from tapewatch.records import DAY, OHLCV, Array, Int64s
from tapewatch.settings import LiveSchema

_ERROR, _SYMBOL_MAPPING, _SYSTEM = 21, 22, 23
_LEAST_RECORD = 16
#: Records of gateways that speak DBN 1 are shorter: narrower symbols and texts, no codes.
_MAPPING_BYTES, _TEXT_BYTES = 176, 320
_CODE_AT = {_ERROR: 318, _SYSTEM: 319}
_NO_CODE = 255
_HEARTBEAT = 0


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive records of the session's schema, as they came.

    Attributes
    ----------
    keys
        Publisher and instrument of each record in one number, uint64, shape ``(n,)``.
    times
        Event time of each (``ts_recv`` where the schema has one that is set), uint64 ns, shape ``(n,)``.
    events
        ``ts_event`` of each, uint64 ns, shape ``(n,)``.
    """

    data: bytes
    stride: int
    rtype: int
    keys: Array
    times: Array
    events: Array

    def only(self, mask: Array) -> Run:
        """Return the run of some of its records."""
        raw = np.ndarray((len(self.keys),), f"V{self.stride}", self.data)[mask].tobytes()
        return Run(raw, self.stride, self.rtype, self.keys[mask], self.times[mask], self.events[mask])

    def records(self) -> tuple[Array, Array, int]:
        """Return the trades or bars (``TRADE``, ``OHLCV``), their times, and how many are neither."""
        count = len(self.keys)
        if self.rtype in _BAR_SCHEMAS.values():
            return _view(self.data, 0, self.stride, count, OHLCV), self.times, 0
        records, others = _trades(self.data, 0, self.stride, count, self.rtype)
        return records, _times(records), others


@dataclass(frozen=True, slots=True)
class Mapping:
    """The symbol that an id has from a day on, counted since 1970-01-01."""

    instrument_id: int
    symbol: str
    day: int


@dataclass(frozen=True, slots=True)
class Notice:
    """What the gateway says in words; ``code`` is one of DBN's system or error codes, 255 if it has none."""

    text: str
    code: int
    error: bool


@dataclass(frozen=True, slots=True)
class Opened:
    """A session has begun, and tells from a time on, ns; what follows may repeat what came before."""

    begun: int


@dataclass(frozen=True, slots=True)
class Loss:
    """The gateway has left out records here."""


#: What a session's bytes hold, and what a series of sessions brings.
DecodedItem: TypeAlias = Run | Mapping | Notice
Item: TypeAlias = Run | Mapping | Opened | Loss


class LiveDecoder:
    """Reads the stream of one session, in whatever pieces it comes.

    Parameters
    ----------
    schema
        What was subscribed to; records of other types are passed over.

    Attributes
    ----------
    begun
        Time from which the session tells, ns, once its metadata have come; 0 before.
    damage
        Why nothing more can be read: this is no DBN, or a record cannot be what it says it is.
    """

    def __init__(self, schema: LiveSchema) -> None:
        self._rtype = (_TRADE_SCHEMAS | _BAR_SCHEMAS)[schema]
        self._held = b""
        self._headed = False
        self.begun = 0
        self.damage: DamagedError | None = None

    def feed(self, data: bytes) -> list[DecodedItem]:
        """Return what the next bytes complete, before any damage."""
        items: list[DecodedItem] = []
        if self.damage is None:
            try:
                self._read(self._held + data if self._held else data, items)
            except DamagedError as error:
                self.damage = error
        return items

    def _read(self, data: bytes, items: list[DecodedItem]) -> None:
        at = 0
        if not self._headed:
            at = self._metadata(data)
            if not at:
                self._held = data
                return
            self._headed = True
        while at < len(data):
            stride = data[at] * 4
            rtype = data[at + 1] if at + 1 < len(data) else -1
            if stride < _LEAST_RECORD or (rtype >= 0 and stride != _SIZES.get(rtype, stride)):
                raise DamagedError(f"the gateway sent a record of type {rtype} with {stride} bytes")
            count = _run(data, at, stride)
            if not count:
                break
            items += self._items(data, at, stride, count, rtype)
            at += count * stride
        self._held = data[at:]

    def _metadata(self, data: bytes) -> int:
        """Return the length of the metadata once they are whole, else 0."""
        if data[:3] != b"DBN"[: len(data)] or (len(data) > 3 and data[3] not in _VERSIONS):
            raise DamagedError(f"the gateway's answer is no DBN of version 1, 2 or 3: {data[:4]!r}")
        if len(data) < 8:
            return 0
        length = 8 + int.from_bytes(data[4:8], "little")
        if length > _LARGEST_METADATA:
            raise DamagedError(f"the gateway's metadata claim {length:,} bytes")
        if len(data) < length:
            return 0
        try:
            self.begun = databento_dbn.Metadata.decode(data[:length]).start
        except (databento_dbn.DBNError, ValueError) as error:
            raise DamagedError(f"the gateway's metadata cannot be read ({error})") from error
        return length

    def _items(self, data: bytes, at: int, stride: int, count: int, rtype: int) -> list[DecodedItem]:
        if rtype == self._rtype:
            return [_market(data[at : at + count * stride], stride, count, rtype)]
        if rtype not in (_ERROR, _SYMBOL_MAPPING, _SYSTEM):
            return []
        records = (data[place : place + stride] for place in range(at, at + count * stride, stride))
        if rtype == _SYMBOL_MAPPING:
            return [_mapping(record) for record in records]
        notices = (_notice(record, rtype) for record in records)
        return [notice for notice in notices if not _is_heartbeat(notice)]


def _market(data: bytes, stride: int, count: int, rtype: int) -> Run:
    def column(dtype: str, offset: int) -> Int64s:
        return np.ascontiguousarray(np.ndarray((count,), dtype, data, offset, (stride,)))

    keys = column("<u2", 2).astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= column("<u4", 4).astype(np.uint64)
    events = column("<u8", 8)
    if rtype in _BAR_SCHEMAS.values():
        return Run(data, stride, rtype, keys, events, events)
    received = column("<u8", 40 if rtype == _TRADE_SCHEMAS["mbo"] else 32)
    unset = (received == 0) | (received == 2**64 - 1)
    times = np.where(unset, events, received) if unset.any() else received
    return Run(data, stride, rtype, keys, times, events)


def _mapping(record: bytes) -> Mapping:
    # What follows the head: both symbols, before each of them its type where there is room for it.
    width, at = (71, 89) if len(record) >= _MAPPING_BYTES else (22, 38)
    symbol = _text(record[at : at + width])
    return Mapping(
        int.from_bytes(record[4:8], "little"), symbol, int.from_bytes(record[8:16], "little") // DAY
    )


def _notice(record: bytes, rtype: int) -> Notice:
    long = len(record) >= _TEXT_BYTES
    end = _CODE_AT[rtype] if long else len(record)
    code = record[_CODE_AT[rtype]] if long else _NO_CODE
    text = "".join(letter if letter.isprintable() else " " for letter in _text(record[16:end]))
    return Notice(text, code, rtype == _ERROR)


def _is_heartbeat(notice: Notice) -> bool:
    return not notice.error and (notice.code == _HEARTBEAT or notice.text == "Heartbeat")


def _text(data: bytes) -> str:
    return data.split(b"\0")[0].decode("utf-8", "replace")
