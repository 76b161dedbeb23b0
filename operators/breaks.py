"""Breaks: where a source knows an instrument's records to be incomplete, and which bars that touches.

A source tells of a gap once, for all its instruments; each meets it at its own next record, which may come
batches later. Bars with such a gap within them, or just before, are not compared with what came before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tapewatch.records import DAY, Array, Int64s

if TYPE_CHECKING:
    from operators.bars import BarBatch

_NEVER = -(2**62)
_NONE = 2**62
#: A break shorter than this part of a window does not make the window incomplete.
_NOTICEABLE = 60


@dataclass(frozen=True, slots=True)
class Breaks:
    """What is missing before some records of a batch; every array has shape ``(g,)``.

    Attributes
    ----------
    at
        Indices of the records, each once, ascending.
    since
        When the break began, int64 ns.
    lost
        Records lost, to be told of this instrument; 0 if another tells of them.
    told
        Whether a gap is to be told of this instrument, even if nobody knows how many records it cost.
    unfit
        Records of the instrument that did not pass validation, just before this one.
    """

    at: Int64s
    since: Int64s
    lost: Int64s
    told: Array
    unfit: Int64s


@dataclass(slots=True)
class _Missing:
    """What an instrument has missed since its last record."""

    since: int = _NONE
    told: int = _NONE
    lost: int = 0
    unfit: int = 0

    def add(self, other: _Missing) -> None:
        self.since, self.told = min(self.since, other.since), min(self.told, other.told)
        self.lost, self.unfit = self.lost + other.lost, self.unfit + other.unfit


class BreakLog:
    """The breaks of one shard's instruments.

    Parameters
    ----------
    memory_ns
        How long a break is remembered behind its instrument's clock: twice the widest window, and the
        lateness.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, memory_ns: int = 2 * DAY, resume: dict[str, Any] | None = None) -> None:
        self._memory = memory_ns
        self._clocks: Int64s = np.zeros(0, np.int64)
        #: By key: an instrument without records yet can have had unfit ones.
        self._missing: dict[str, _Missing] = {}
        #: Row, begin and end of past breaks.
        self._past: Int64s = np.zeros((0, 3), np.int64)
        if resume is not None:
            self._clocks, self._past = resume["clocks"].copy(), resume["past"].copy()
            self._missing = {key: _Missing(*values) for key, values in resume["missing"].items()}

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        missing = {key: (m.since, m.told, m.lost, m.unfit) for key, m in self._missing.items()}
        return {"clocks": self._clocks.copy(), "past": self._past.copy(), "missing": missing}

    def on_batch(self, batch: BarBatch) -> Breaks | None:
        """Take a batch in; return what is missing before its records, None if nothing is."""
        source = batch.batch
        if len(self._past):
            # Windows that are still to close end after their instrument's clock.
            near = self._past[:, 2] >= self._clocks[self._past[:, 0]] - self._memory
            if not near.all():
                self._past = self._past[near]
        if len(self._clocks) < len(batch.names):
            more = np.full(len(batch.names) - len(self._clocks), _NEVER, np.int64)
            self._clocks = np.concatenate([self._clocks, more])
        found: dict[int, _Missing] = {}
        if source.gaps or source.unfit or self._missing:
            found = self._found(batch)
        breaks = self._breaks(batch, found) if found else None
        if len(batch.rows):
            self._clocks[batch.rows] = batch.reached[source.starts[1:] - 1]
        return breaks

    def _found(self, batch: BarBatch) -> dict[int, _Missing]:
        """Return what is missing by record; what has no record behind it yet is kept."""
        source = batch.batch
        spans = {key: (int(source.starts[i]), int(source.starts[i + 1])) for i, key in enumerate(source.keys)}
        found: dict[int, _Missing] = {}

        def add(key: str, at: int, missing: _Missing) -> None:
            place = found.setdefault(at, _Missing()) if at >= 0 else self._missing.setdefault(key, _Missing())
            place.add(missing)

        for key in [key for key in self._missing if key in spans]:
            add(key, spans[key][0], self._missing.pop(key))
        for gap, behind in source.gaps:
            places = dict(zip(source.keys, behind.tolist(), strict=True))
            for key in [gap.key] * (gap.key in batch.names) if gap.alone else batch.names:
                told = (gap.since, gap.lost) if gap.told and key == gap.key else (_NONE, 0)
                at = places.get(key, -1)
                add(key, at if key in spans and at < spans[key][1] else -1, _Missing(gap.since, *told))
        for key, behind in source.unfit.items():
            for at, count in zip(*np.unique(behind, return_counts=True), strict=True):
                here = key in spans and at < spans[key][1]
                add(key, int(at) if here else -1, _Missing(unfit=int(count)))
        return found

    def _breaks(self, batch: BarBatch, found: dict[int, _Missing]) -> Breaks:
        starts, reached = batch.batch.starts, batch.reached
        at = np.array(sorted(found), np.int64)
        missing = [found[i] for i in at.tolist()]
        segment = np.searchsorted(starts, at, "right") - 1
        row = batch.rows[segment]
        before = np.where(at > starts[segment], reached[at - 1], self._clocks[row])
        since = np.array([m.since for m in missing], np.int64)
        told = np.array([m.told for m in missing], np.int64)
        gap = since < _NONE
        begin = np.minimum(np.maximum(before, since), reached[at])[gap]
        self._past = np.concatenate([self._past, np.stack([row[gap], begin, reached[at][gap]], axis=1)])
        began = np.where(told < _NONE, told, np.where(before > _NEVER, before, reached[at]))
        return Breaks(
            at,
            np.minimum(began, reached[at]),
            np.array([m.lost for m in missing], np.int64),
            told < _NONE,
            np.array([m.unfit for m in missing], np.int64),
        )

    def touched(self, bars: Array, width_ns: int) -> Array | None:
        """Return which bars have a break within them or just before; None if none has.

        Bars are sorted by (row, start). A break counts if it lasted at least a sixtieth of the window.
        """
        past = self._past[(self._past[:, 2] - self._past[:, 1]) * _NOTICEABLE >= width_ns]
        if not len(past) or not len(bars):
            return None
        row, start = bars["row"], bars["ts_start"]
        touched = np.zeros(len(bars), bool)
        for r, begin, end in past.tolist():
            low, high = np.searchsorted(row, (r, r + 1))
            inside = (start[low:high] <= end) & (start[low:high] + width_ns > begin)
            touched[low:high] |= inside
        return touched if touched.any() else None
