"""Splitting a tape by instrument into shards, each a contiguous run of the batch sorted once.

The sort is stable and by instrument, so each instrument's records keep their order and lie side by side:
everything behind it works on segments of arrays.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np

from tapewatch.records import DAY, Array, Gap, Int64s, Kind, Tape
from tapewatch.symbology import Symbols

#: Ids below this are looked up in a table, others by search.
_LARGEST_TABLE = 1 << 22


@dataclass(frozen=True, slots=True)
class ShardBatch:
    """The part of a tape that belongs to one shard; empty if only its clock moved.

    Attributes
    ----------
    keys
        Instruments with records in this batch.
    starts
        Records of ``keys[i]`` are ``records[starts[i]:starts[i + 1]]``, in the order of the tape; int64,
        shape ``(len(keys) + 1,)``.
    times
        Event time of each record, int64 ns.
    clock
        The source partition's clock, ns.
    gaps
        What the source knows to be missing, and of each of ``keys`` the index in ``records`` of its first
        record behind the gap (where its records end, if there is none yet), int64, shape ``(len(keys),)``.
    unfit
        By key, which may have no records here: of each of its records that did not pass validation, the index
        of its first record behind it, likewise.
    """

    partition: str
    shard: int
    seq: int
    kind: Kind
    dataset: str
    width_ns: int
    clock: int
    credit: str
    keys: list[str]
    starts: Int64s
    records: Array
    times: Int64s
    counters: dict[str, int] = field(default_factory=dict)
    gaps: tuple[tuple[Gap, Int64s], ...] = ()
    unfit: dict[str, Int64s] = field(default_factory=dict)


def shard_of(key: str, shards: int) -> int:
    """Return the shard of an instrument: the same on every machine and in every run.

    >>> shard_of("SPY", 4)
    3
    """
    return zlib.crc32(key.encode()) % shards


class Splitter:
    """Splits the batches of one or more source partitions.

    It keeps look-up tables only; nothing that comes out depends on what went in before.
    """

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._tables: dict[str, _Table] = {}
        self._shard_by_key: dict[str, int] = {}

    def split(self, tape: Tape) -> list[ShardBatch]:
        """Return one batch per shard, also for shards without records: the clock goes to all."""
        codes, keys = self._locate(tape)
        counts = np.bincount(codes, minlength=len(keys)) if len(keys) else np.zeros(0, np.int64)
        present = [int(i) for i in np.flatnonzero(counts)]
        by_shard: list[list[int]] = [[] for _ in range(self._shards)]
        for code in sorted(present, key=lambda i: keys[i]):
            by_shard[self._shard(keys[code])].append(code)
        ordered = [code for codes_ in by_shard for code in codes_]
        rank = np.zeros(max(len(keys), 1), np.uint16 if len(keys) < 1 << 16 else np.int64)
        rank[ordered] = np.arange(len(ordered))
        order = np.argsort(rank[codes], kind="stable")
        records = _take(tape.records, order)
        times = tape.times[order]
        batches = []
        at = 0
        for shard, members in enumerate(by_shard):
            starts = np.zeros(len(members) + 1, np.int64)
            np.cumsum(counts[members], out=starts[1:]) if members else None
            end = at + int(starts[-1])
            counters = tape.counters if shard == 0 else {}
            names = [keys[code] for code in members]
            gaps, unfit = self._missing(tape, shard, names, order[at:end], starts)
            batches.append(
                ShardBatch(
                    tape.partition,
                    shard,
                    tape.seq,
                    tape.kind,
                    tape.dataset,
                    tape.width_ns,
                    tape.clock,
                    tape.credit,
                    names,
                    starts,
                    records[at:end],
                    times[at:end],
                    counters,
                    gaps,
                    unfit,
                )
            )
            at = end
        return batches

    def _missing(
        self, tape: Tape, shard: int, keys: list[str], order: Array, starts: Int64s
    ) -> tuple[tuple[tuple[Gap, Int64s], ...], dict[str, Int64s]]:
        """Return the places of what is missing or unfit among a shard's records.

        ``order`` is each record's place on the tape; that of one instrument ascends.
        """
        bounds = list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))
        gaps = tuple(
            (gap, np.array([b + np.searchsorted(order[b:e], gap.at) for b, e in bounds], np.int64))
            for gap in tape.gaps
        )
        unfit = {}
        for key, at in tape.unfit.items():
            if self._shard(key) == shard:
                b, e = bounds[keys.index(key)] if key in keys else (0, 0)
                unfit[key] = (b + np.searchsorted(order[b:e], at)).astype(np.int64)
        return gaps, unfit

    def _shard(self, key: str) -> int:
        shard = self._shard_by_key.get(key)
        if shard is None:
            shard = self._shard_by_key[key] = shard_of(key, self._shards)
        return shard

    def _locate(self, tape: Tape) -> tuple[Array, list[str]]:
        """Return each record's code, the codes' keys (each key once)."""
        if not len(tape.records):
            return np.zeros(0, np.intp), []
        if tape.codes is not None:
            return tape.codes, list(tape.names)
        ids = tape.records["instrument_id"]
        first, last = int(tape.times.min()) // DAY, int(tape.times.max()) // DAY
        if first == last:
            table = self._tables.get(tape.partition)
            if table is None or not table.serves(tape.symbols, first):
                table = self._tables[tape.partition] = _Table(tape.symbols, first)
            return table.codes(ids), table.keys
        pairs, inverse = np.unique((tape.times // DAY << 32) | ids.astype(np.int64), return_inverse=True)
        keys: dict[str, int] = {}
        codes = [
            keys.setdefault(tape.symbols.key(int(p) & 0xFFFFFFFF, int(p) >> 32), len(keys)) for p in pairs
        ]
        return np.array(codes, np.intp)[inverse], list(keys)


class _Table:
    """Codes of instrument ids on one day, by table where ids are small, else by search."""

    def __init__(self, symbols: Symbols, day: int) -> None:
        self._symbols, self._version, self._day = symbols, symbols.version, day
        self._table = np.full(1 << 12, -1, np.int32)
        self._ids = np.zeros(0, np.uint32)
        self._codes = np.zeros(0, np.int32)
        self._by_key: dict[str, int] = {}
        self.keys: list[str] = []

    def serves(self, symbols: Symbols, day: int) -> bool:
        return self._symbols is symbols and self._version == symbols.version and self._day == day

    def codes(self, ids: Array) -> Array:
        if int(ids.max()) < _LARGEST_TABLE:
            return self._by_table(ids)
        if len(self._ids):
            place = np.minimum(np.searchsorted(self._ids, ids), len(self._ids) - 1)
            if (self._ids[place] == ids).all():
                return self._codes[place]
        known = np.union1d(self._ids, np.unique(ids))
        self._codes = np.array([self._code(int(i)) for i in known], np.int32)
        self._ids = known
        return self._codes[np.searchsorted(known, ids)]

    def _by_table(self, ids: Array) -> Array:
        if int(ids.max()) >= len(self._table):
            grown = np.full(1 << int(ids.max()).bit_length(), -1, np.int32)
            grown[: len(self._table)] = self._table
            self._table = grown
        codes = self._table[ids]
        if (codes < 0).any():
            for instrument_id in np.unique(ids[codes < 0]):
                self._table[instrument_id] = self._code(int(instrument_id))
            codes = self._table[ids]
        return codes

    def _code(self, instrument_id: int) -> int:
        key = self._symbols.key(instrument_id, self._day)
        code = self._by_key.get(key)
        if code is None:
            code = self._by_key[key] = len(self.keys)
            self.keys.append(key)
        return code


def _take(records: Array, order: Array) -> Array:
    """Return ``records[order]``; moving whole records as bytes is twice as fast as as fields."""
    if records.flags.c_contiguous:
        return np.take(records.view(np.dtype((np.void, records.itemsize))), order).view(records.dtype)
    return records[order]
