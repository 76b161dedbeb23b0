"""Opening and closing prints: how large they were on the days before.

Where continuous trading begins and ends, an auction or an official price makes prints that tower over all
others of the day, at the same time every day. No calendar says when: a boundary of five-minute slots of the
UTC day is an edge of the session if one side of it had many times the trades of the other on a day before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.detector import grown
from tapewatch.records import DAY, MINUTE, Array, Int64s

_SLOT = 5 * MINUTE
_SLOTS = DAY // _SLOT
#: How many times the trades one side of an edge has of the other, which counts as having at least so many.
_EDGE, _LEAST = 4, 5
#: What is left of a print of the days before on a day without one, in sixteenths.
_KEPT = 13
_NO_DAY = -1


class Crosses:
    """The largest prints of each instrument of a shard at the edges of its sessions.

    Parameters
    ----------
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, resume: dict[str, Any] | None = None) -> None:
        self._day = np.zeros(0, np.int64)
        #: Of today's slots: trades, and the largest of them. Of the days before: the largest at an edge.
        self._trades = np.zeros((0, _SLOTS), np.uint32)
        self._largest = np.zeros((0, _SLOTS), np.uint32)
        self._usual = np.zeros((0, _SLOTS), np.uint32)
        if resume is not None:
            self._day, self._trades, self._largest, self._usual = (
                resume[name].copy() for name in ("day", "trades", "largest", "usual")
            )

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "day": self._day.copy(), "trades": self._trades.copy(), "largest": self._largest.copy(),
            "usual": self._usual.copy(),
        }  # fmt: skip

    def usual(
        self, rows: Array, starts: Int64s, times: Int64s, sizes: Array, *, learn: bool
    ) -> tuple[Int64s, Int64s]:
        """Return the largest print of the days before where each stretch of trades is, 0 where none is usual.

        Parameters
        ----------
        rows, starts
            Trades of ``rows[i]`` are ``starts[i]:starts[i + 1]``; none has no trades.
        times
            Each instrument's clock, int64 ns, never falling within a row, shape ``(n,)``.
        sizes
            uint32, shape ``(n,)``.
        learn
            Whether to remember the trades.

        Returns
        -------
        usual
            Sizes, int64, shape ``(stretches,)``.
        begin
            First trade of each stretch.

        Examples
        --------
        >>> times = np.array([0, 1, 2, 3, 4, 5]) * MINUTE
        >>> sizes, crosses = np.array([9, 1, 1, 1, 1, 1], np.uint32), Crosses()
        >>> day = np.tile(times, 20)[np.argsort(np.tile(times, 20), kind="stable")] + 810 * MINUTE
        >>> one = np.array([0, 120])
        >>> crosses.usual(one[:1], one, day, np.repeat(sizes, 20), learn=True)[0].tolist()
        [0, 0]
        >>> crosses.usual(one[:1], one, day + DAY, np.repeat(sizes, 20), learn=True)[0].tolist()
        [9, 9]
        """
        if not learn:
            return Crosses(self.snapshot()).usual(rows, starts, times, sizes, learn=True)
        slot = times // _SLOT
        begin = np.union1d(np.flatnonzero(slot[1:] != slot[:-1]) + 1, starts[:-1])
        row = rows[np.searchsorted(starts, begin, "right") - 1]
        day, slot = slot[begin] // _SLOTS, slot[begin] % _SLOTS
        trades = np.diff(np.append(begin, len(times)))
        largest = np.maximum.reduceat(sizes, begin) if len(begin) else sizes
        self._grow(int(rows.max(initial=-1)) + 1)
        usual = np.zeros(len(begin), np.int64)
        for today in np.unique(day):
            mine = day == today
            self._turn(np.unique(row[mine]), int(today))
            at = row[mine], slot[mine]
            usual[mine] = self._usual[at]
            # A row has no slot twice: its clock does not fall.
            self._trades[at] += trades[mine].astype(np.uint32)
            self._largest[at] = np.maximum(self._largest[at], largest[mine])
        return usual, begin

    def _grow(self, rows: int) -> None:
        self._day = grown(self._day, rows, _NO_DAY)
        self._trades, self._largest = grown(self._trades, rows), grown(self._largest, rows)
        self._usual = grown(self._usual, rows)

    def _turn(self, rows: Array, today: int) -> None:
        """Begin a UTC day for rows that come to one, and learn from the one before."""
        rows = rows[self._day[rows] < today]
        old = rows[self._day[rows] != _NO_DAY]
        if len(old):
            at_edge = _edges(self._trades[old].astype(np.int64))
            largest = np.where(at_edge, self._largest[old], 0).astype(np.int64)
            # An edge is the boundary of two slots: a print a moment early is the same print.
            largest[at_edge] = _beside(largest)[at_edge]
            faded = self._usual[old].astype(np.int64) * _KEPT // 16
            self._usual[old] = np.maximum(largest, faded).astype(np.uint32)
            self._trades[old] = self._largest[old] = 0
        self._day[rows] = today


def _edges(trades: Int64s) -> Array:
    """Return the slots on either side of the edges of sessions, bool, shape ``(k, slots)``.

    >>> trades = np.zeros((1, 8), np.int64)
    >>> trades[0, 2:6] = 5, 300, 200, 10
    >>> _edges(trades).astype(int).tolist()
    [[0, 0, 1, 1, 1, 1, 0, 0]]
    """
    before, after = np.maximum(trades[:, :-1], _LEAST), np.maximum(trades[:, 1:], _LEAST)
    edge = (after > _EDGE * before) | (before > _EDGE * after)
    found = np.zeros(trades.shape, bool)
    found[:, :-1] |= edge
    found[:, 1:] |= edge
    return found


def _beside(largest: Int64s) -> Int64s:
    """Return the largest of each slot and the two beside it."""
    padded = np.pad(largest, ((0, 0), (1, 1)))
    beside: Int64s = np.maximum(np.maximum(padded[:, :-2], padded[:, 2:]), largest)
    return beside
