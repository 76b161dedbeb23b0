"""Windowed bars: exact open, high, low, close, volume and more per instrument, by array programs.

Windows are half-open ``[start, end)``, aligned to the epoch, in integer ns. Everything summed is an integer,
so no cut of the input into batches can change a bar. Coarser bars roll up from finer ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from operators import late as late_
from operators import shown as shown_
from operators.aggregate import aggregate, combine
from operators.late import Late, LateLog
from operators.ordered import Ordered
from operators.shards import ShardBatch, shard_of
from operators.shown import Shown
from tapewatch.documents import BAR
from tapewatch.records import Array, Int64s
from tapewatch.settings import WIDTHS

STATE_VERSION = 4
_NEVER = -(2**62)


@dataclass(frozen=True, slots=True)
class Windows:
    """Bars of one width, sorted by (row, start); ``final`` says which windows are over."""

    bars: Array
    final: Array


@dataclass(frozen=True, slots=True)
class BarBatch:
    """A shard's records beside the bars that they completed.

    Attributes
    ----------
    batch
        The records; None at the end of the input.
    rows
        The shard's row of each of ``batch.keys``, shape ``(k,)``.
    names
        Key of every row of the shard so far.
    reached
        Each record's instrument's clock after it (latest event time so far), int64 ns, shape ``(n,)``.
    closed
        By width: windows that their instrument's own clock closed. They are complete and are learned from.
    open
        By width: windows shown early, because the partition's clock passed them or the input ended. Their
        instrument may still complete them, so nothing is learned from them. Where one window of an instrument
        is shown or closed, all that have been shown and are still open are shown again.
    late
        Records that came after their window was closed; they are in no bar.
    counters
        Totals so far by part of the instruments, and by name.
    """

    batch: ShardBatch
    rows: Array
    names: list[str]
    reached: Int64s
    closed: dict[str, Array] = field(default_factory=dict)
    open: dict[str, Windows] = field(default_factory=dict)
    late: Late | None = None
    counters: dict[int, dict[str, int]] = field(default_factory=dict)


class WindowedBars:
    """The bars of one shard.

    Parameters
    ----------
    widths
        Names of the widths wanted, e.g. ``("1s", "1m")``.
    lateness_ns
        How long a window waits for late records of its instrument.
    resume
        A `snapshot` to go on from.
    parts
        Into how many parts instruments are counted: as many in every run, however many shards it has, so that
        what one run counted stands where another one counts it anew.

    Examples
    --------
    >>> WindowedBars(("1m", "1s"), 0).widths
    ('1s', '1m')
    """

    def __init__(
        self,
        widths: tuple[str, ...],
        lateness_ns: int,
        resume: dict[str, Any] | None = None,
        parts: int = 1,
    ) -> None:
        self.widths = tuple(width for width in WIDTHS if width in widths)
        self._widths_ns = [WIDTHS[width] for width in self.widths]
        self._lateness, self._parts = lateness_ns, parts
        self._names: list[str] = []
        self._rows: dict[str, int] = {}
        self._clocks: Int64s = np.zeros(0, np.int64)
        self._open: list[Array] = [np.empty(0, BAR) for _ in self.widths]
        self._shown = [Shown() for _ in self.widths]
        self._late = LateLog()
        self._clock = 0
        #: Level of the finest width the tape can tell: bars that come in make no finer ones.
        self._finest = 0
        self._counters: dict[int, dict[str, int]] = {}
        self._last: ShardBatch | None = None
        if resume is not None:
            self._resume(resume)

    def _resume(self, saved: dict[str, Any]) -> None:
        self._names, self._clocks, self._clock = list(saved["names"]), saved["clocks"].copy(), saved["clock"]
        self._rows = {name: row for row, name in enumerate(self._names)}
        self._counters, self._last = _copied(saved["counters"]), saved["last"]
        if self._last is not None:
            self._finest = sum(width < self._last.width_ns for width in self._widths_ns)
        self._open = [
            saved["open"][width].copy() if width in saved["open"] else np.empty(0, BAR)
            for width in self.widths
        ]
        self._shown = [shown_.resumed(saved, width) for width in self.widths]
        self._late = late_.resumed(saved)

    def snapshot(self) -> dict[str, Any]:
        """Return what is needed to go on; nothing in it changes later."""
        return {
            "version": STATE_VERSION,
            "names": tuple(self._names),
            "clocks": self._clocks.copy(),
            "clock": self._clock,
            "open": {width: bars.copy() for width, bars in zip(self.widths, self._open, strict=True)},
            "shown": {width: shown.snapshot() for width, shown in zip(self.widths, self._shown, strict=True)},
            "late": self._late.snapshot(),
            "counters": _copied(self._counters),
            "last": self._last,
        }

    def on_batch(self, batch: ShardBatch) -> BarBatch:
        """Add a batch; return it with the windows it closed and those that idle instruments left behind."""
        rows = self._locate(batch.keys)
        if self._last is None or batch.keys:
            self._last = _without_records(batch)
        self._clock = max(self._clock, batch.clock)
        times = batch.times
        records: Ordered | Array = batch.records
        row_of = np.repeat(rows, np.diff(batch.starts))
        reached, late = times, None
        fresh = np.empty(0, BAR)
        self._finest = sum(width < batch.width_ns for width in self._widths_ns)
        if len(times):
            reached, before, ordered = self._clocks_along(rows, batch.starts, times)
            base = self._widths_ns[self._finest] if self._finest < len(self.widths) else 1
            start = times // base
            start *= base
            if not ordered:
                is_late = start + (base + self._lateness) <= before
                if is_late.any():
                    late = self._late.take(row_of[is_late], records[is_late], before[is_late])
                    self._count_late(late.rows)
                    keep = ~is_late
                    records, row_of, start = records[keep], row_of[keep], start[keep]
                order = np.lexsort((start, row_of))
                records, row_of, start = records[order], row_of[order], start[order]
            if len(start) and self._finest < len(self.widths):
                fresh = aggregate(records, row_of, start)
            self._count_unmapped(batch)
        closed = self._close(fresh)
        shown = self._overtaken(closed)
        return BarBatch(batch, rows, self._names, reached, closed, shown, late, _copied(self._counters))

    def on_eof(self) -> BarBatch | None:
        """Return every open window, marked as unfinished unless the partition's clock has passed it."""
        if self._last is None:
            return None
        shown = {}
        for level, bars in enumerate(self._virtual()):
            over = self._ends(level, bars) <= self._clock
            self._shown[level].all(bars, over)
            shown[self.widths[level]] = Windows(bars, over)
        nothing = np.zeros(0, np.int64)
        return BarBatch(self._last, nothing, self._names, nothing, {}, shown, None, _copied(self._counters))

    def _locate(self, keys: list[str]) -> Array:
        rows = np.array([self._rows.setdefault(key, len(self._rows)) for key in keys], np.int32)
        missing = len(self._rows) - len(self._names)
        if missing:
            self._names.extend(list(self._rows)[-missing:])
            self._clocks = np.concatenate([self._clocks, np.full(missing, _NEVER, np.int64)])
        return rows

    def _clocks_along(self, rows: Array, starts: Int64s, times: Int64s) -> tuple[Int64s, Int64s, bool]:
        """Return the instrument's clock after and before each record, and whether it only moved forwards."""
        first = starts[:-1]
        forwards = times[1:] >= times[:-1]
        forwards[first[1:] - 1] = True
        if forwards.all() and (times[first] >= self._clocks[rows]).all():
            self._clocks[rows] = times[starts[1:] - 1]
            return times, times, True
        reached, before = np.empty_like(times), np.empty_like(times)
        for row, begin, end in zip(rows, first, starts[1:], strict=True):
            along = np.maximum(np.maximum.accumulate(times[begin:end]), self._clocks[row])
            reached[begin:end] = along
            before[begin] = self._clocks[row]
            before[begin + 1 : end] = along[:-1]
            self._clocks[row] = along[-1]
        return reached, before, False

    def _ends(self, level: int, bars: Array) -> Int64s:
        """Return when each window can be closed."""
        return bars["ts_start"] + (self._widths_ns[level] + self._lateness)

    def _close(self, fresh: Array) -> dict[str, Array]:
        closed: dict[str, Array] = {}
        for level, width in enumerate(self.widths):
            if level < self._finest:
                continue
            if len(fresh):
                bars = combine(np.concatenate([self._open[level], fresh]))
                done = self._ends(level, bars) <= self._clocks[bars["row"]]
                closed[width], self._open[level] = bars[done], bars[~done]
            elif level > self._finest and len(bars := self._open[level]):
                # A coarser window can end without a finer one that ends with it.
                done = self._ends(level, bars) <= self._clocks[bars["row"]]
                if done.any():
                    closed[width], self._open[level] = bars[done], bars[~done]
            above = closed.get(width)
            fresh = (
                self._rolled(above, level + 1)
                if above is not None and level + 1 < len(self.widths)
                else _NONE
            )
        return closed

    def _rolled(self, bars: Array, level: int) -> Array:
        """Return bars with the starts of the windows of a coarser level."""
        rolled = bars.copy()
        rolled["ts_start"] -= rolled["ts_start"] % self._widths_ns[level]
        return rolled

    def _virtual(self) -> list[Array]:
        """Return the open windows of every width as if nothing more came: each with its finer parts."""
        views: list[Array] = []
        for level, bars in enumerate(self._open):
            whole = (
                bars
                if level <= self._finest
                else combine(np.concatenate([bars, self._rolled(views[-1], level)]))
            )
            views.append(whole)
        return views

    def _overtaken(self, closed: dict[str, Array]) -> dict[str, Windows]:
        """Return open windows that the partition's clock has passed and that were not shown as they are."""
        first = self._finest
        if first >= len(self.widths) or not len(self._open[first]):
            return {}
        passed = int(self._ends(first, self._open[first]).min()) <= self._clock
        if not passed and not (closed and any(len(shown) for shown in self._shown)):
            return {}
        shown = {}
        for level, bars in enumerate(self._virtual()):
            width = self.widths[level]
            over = self._ends(level, bars) <= self._clock
            show = self._shown[level].choose(bars, over, closed.get(width, _NONE)["row"])
            if show.any():
                shown[width] = Windows(bars[show], over[show])
        return shown

    def _count(self, name: str, key: str, number: int) -> None:
        counters = self._counters.setdefault(shard_of(key, self._parts), {})
        counters[name] = counters.get(name, 0) + number

    def _count_late(self, rows: Array) -> None:
        for row, number in zip(
            *(found.tolist() for found in np.unique(rows, return_counts=True)), strict=True
        ):
            self._count("late_records", self._names[row], number)

    def _count_unmapped(self, batch: ShardBatch) -> None:
        for i, key in enumerate(batch.keys):
            if key.isdigit():
                self._count("unmapped_records", key, int(batch.starts[i + 1] - batch.starts[i]))


_NONE = np.empty(0, BAR)


def _copied(counters: dict[int, dict[str, int]]) -> dict[int, dict[str, int]]:
    return {part: dict(counted) for part, counted in counters.items()}


def _without_records(batch: ShardBatch) -> ShardBatch:
    """Return what a shard must remember of its source to speak of it at the end of the input."""
    return ShardBatch(
        batch.partition, batch.shard, 0, batch.kind, batch.dataset, batch.width_ns, batch.clock, "",
        [], np.zeros(1, np.int64), Ordered(np.empty(0, batch.records.dtype), np.zeros(0, np.intp)),
        np.zeros(0, np.int64), {},
    )  # fmt: skip
