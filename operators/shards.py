"""Splitting a tape by instrument into shards, each a contiguous run of the batch sorted once.

The sort is stable and by instrument, so each instrument's records keep their order and lie side by side:
everything behind it works on segments of arrays.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from operators.ordered import Ordered
from operators.routing import state_names
from tapewatch.records import DAY, Array, Gap, Home, Int64s, Kind, Tape
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
    state
        Key of the shard's state in the recovery store.
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
    records: Ordered
    times: Int64s
    counters: dict[str, int] = field(default_factory=dict)
    gaps: tuple[tuple[Gap, Int64s], ...] = ()
    unfit: dict[str, Int64s] = field(default_factory=dict)
    state: str = ""


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
        self._named: tuple[tuple[str, ...], _Ranking] | None = None
        self._states: dict[tuple[str, Home], list[str]] = {}

    def split(self, tape: Tape) -> list[ShardBatch]:
        """Return one batch per shard, also for shards without records: the clock goes to all."""
        states = self._states.get((tape.partition, tape.home))
        if states is None:
            states = state_names(tape.partition, self._shards, tape.home)
            self._states[tape.partition, tape.home] = states
        ranking, order, starts, times, columns = self._sorted(tape)
        records = Ordered(tape.records, order, columns)
        present = np.flatnonzero(starts[1:] != starts[:-1])
        within = np.searchsorted(present, ranking.shards)
        batches = []
        for shard in range(self._shards):
            members = present[within[shard] : within[shard + 1]]
            at, end = int(starts[ranking.shards[shard]]), int(starts[ranking.shards[shard + 1]])
            keys = [ranking.keys[rank] for rank in members.tolist()]
            bounds = np.append(starts[members], end) - at
            gaps, unfit = self._missing(tape, shard, keys, order[at:end], bounds)
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
                    keys,
                    bounds,
                    records[at:end],
                    times[at:end],
                    tape.counters if shard == 0 else {},
                    gaps,
                    unfit,
                    states[shard],
                )
            )
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
            if shard_of(key, self._shards) == shard:
                b, e = bounds[keys.index(key)] if key in keys else (0, 0)
                unfit[key] = (b + np.searchsorted(order[b:e], at)).astype(np.int64)
        return gaps, unfit

    def _sorted(self, tape: Tape) -> tuple[_Ranking, Array, Int64s, Int64s, Mapping[str, Array]]:
        """Return the known keys, the order by their ranks, where each begins in it, times and fields."""
        known = tape.survey
        if known is not None and known.earliest // DAY == known.latest // DAY:
            table = self._table(tape, known.earliest // DAY)
            ranks, ranking = table.ranks(known.ids), table.ranking
            lengths = np.zeros(len(ranking.keys), np.int64)
            lengths[ranks] = np.diff(known.starts)
            if int(lengths.sum()) == len(known.order):
                starts = np.concatenate([[0], np.cumsum(lengths)])
                by_rank = _rearranged(known.starts, np.argsort(ranks))
                columns = {name: by_rank(column) for name, column in known.columns.items()}
                return ranking, by_rank(known.order), starts, by_rank(known.times), columns
            # Ids that share a key are not side by side.
        ranks, ranking = self._locate(tape)
        order, starts = _sorted(ranks, len(ranking.keys))
        return ranking, order, starts, tape.times.take(order), {}

    def _table(self, tape: Tape, day: int) -> _Table:
        table = self._tables.get(tape.partition)
        if table is None or not table.serves(tape.symbols, day):
            table = self._tables[tape.partition] = _Table(tape.symbols, day, self._shards)
        return table

    def _locate(self, tape: Tape) -> tuple[Array, _Ranking]:
        """Return each record's rank among the known keys, and what these are."""
        if not len(tape.records):
            return np.zeros(0, np.intp), _Ranking([], self._shards)
        if tape.codes is not None:
            if self._named is None or self._named[0] != tape.names:
                self._named = tape.names, _Ranking(tape.names, self._shards)
            ranking = self._named[1]
            return ranking.of_code.take(tape.codes), ranking
        ids = np.ascontiguousarray(tape.records["instrument_id"])
        first, last = int(tape.times.min()) // DAY, int(tape.times.max()) // DAY
        if first == last:
            table = self._table(tape, first)
            return table.ranks(ids), table.ranking
        pairs, inverse = np.unique((tape.times // DAY << 32) | ids.astype(np.int64), return_inverse=True)
        keys: dict[str, int] = {}
        codes = [
            keys.setdefault(tape.symbols.key(int(p) & 0xFFFFFFFF, int(p) >> 32), len(keys)) for p in pairs
        ]
        ranking = _Ranking(list(keys), self._shards)
        return ranking.of_code[np.array(codes, np.intp)[inverse]], ranking


class _Ranking:
    """Keys in the order of (shard, key).

    Attributes
    ----------
    keys
        Each key once, in that order.
    of_code
        Rank of each of the keys as they were given, intp.
    shards
        Keys of shard ``i`` are ``keys[shards[i]:shards[i + 1]]``.
    """

    def __init__(self, keys: Sequence[str], shards: int) -> None:
        order = sorted((shard_of(key, shards), key, code) for code, key in enumerate(keys))
        self.keys = [key for _, key, _ in order]
        self.of_code = np.zeros(max(len(order), 1), np.intp)
        self.of_code[[code for _, _, code in order]] = np.arange(len(order))
        self.shards = np.searchsorted([shard for shard, _, _ in order], np.arange(shards + 1))


class _Table:
    """Ranks of instrument ids on one day, by table where ids are small, else by search."""

    def __init__(self, symbols: Symbols, day: int, shards: int) -> None:
        self._symbols, self._version, self._day, self._shards = symbols, symbols.version, day, shards
        #: Ids that have been met, sorted, and the code of the key of each.
        self._ids = np.zeros(0, np.uint32)
        self._codes = np.zeros(0, np.intp)
        self._code_by_key: dict[str, int] = {}
        #: Rank by id, -1 if it has not been met; only where ids are small.
        self._table = np.full(1 << 12, -1, np.intp)
        self.ranking = _Ranking([], shards)

    def serves(self, symbols: Symbols, day: int) -> bool:
        return self._symbols is symbols and self._version == symbols.version and self._day == day

    def ranks(self, ids: Array) -> Array:
        largest = int(ids.max())
        if largest < _LARGEST_TABLE:
            ranks = self._table.take(ids, mode="clip")
            if ranks.min() < 0 or largest >= len(self._table):
                self._meet(ids)
                ranks = self._table.take(ids)
            return ranks
        place = np.minimum(np.searchsorted(self._ids, ids), max(len(self._ids) - 1, 0))
        if not len(self._ids) or (self._ids[place] != ids).any():
            self._meet(ids)
            place = np.searchsorted(self._ids, ids)
        return self.ranking.of_code[self._codes[place]]

    def _meet(self, ids: Array) -> None:
        """Take in ids that have not been met."""
        self._ids = np.union1d(self._ids, ids)
        keys = [self._symbols.key(instrument_id, self._day) for instrument_id in self._ids.tolist()]
        by_key = self._code_by_key
        self._codes = np.array([by_key.setdefault(key, len(by_key)) for key in keys], np.intp)
        self.ranking = _Ranking(list(by_key), self._shards)
        small = self._ids < _LARGEST_TABLE
        largest = int(self._ids[small][-1]) if small.any() else 0
        if largest >= len(self._table):
            self._table = np.full(1 << largest.bit_length(), -1, np.intp)
        self._table[self._ids[small]] = self.ranking.of_code[self._codes[small]]


def _rearranged(starts: Int64s, order: Array) -> Callable[[Array], Array]:
    """Return what puts the stretches between ``starts`` of an array into another order.

    >>> _rearranged(np.array([0, 1, 3]), np.array([1, 0]))(np.array([7, 8, 9])).tolist()
    [8, 9, 7]
    """
    bounds = list(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True))
    parts = [slice(*bounds[i]) for i in order.tolist()]
    return lambda array: np.concatenate([array[part] for part in parts])


def _sorted(ranks: Array, count: int) -> tuple[Array, Int64s]:
    """Return the stable order of records by rank, intp, and where each of ``count`` ranks begins, int64.

    With its place in its lower bits every number is different, and any sort is a stable one: NumPy sorts
    these several times faster than it finds a stable order.
    """
    bits = len(ranks).bit_length()
    if bits + count.bit_length() > 32:
        counts = np.bincount(ranks, minlength=count)
        return np.argsort(ranks, kind="stable"), np.concatenate([[0], np.cumsum(counts)])
    placed = ranks.astype(np.uint32)
    placed <<= np.uint32(bits)
    placed |= np.arange(len(ranks), dtype=np.uint32)
    placed.sort()
    starts = np.searchsorted(placed, np.arange(count + 1, dtype=np.uint32) << np.uint32(bits))
    placed &= np.uint32((1 << bits) - 1)
    return placed.astype(np.intp), starts.astype(np.int64)
