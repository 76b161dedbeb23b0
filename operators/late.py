"""Records that come after their window was closed: kept apart, each with a place of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tapewatch.records import Array, Int64s

_NEVER = -(2**62)


@dataclass(frozen=True, slots=True)
class Late:
    """Late records of one batch; every array has shape ``(n,)``.

    Attributes
    ----------
    rows
        Row of each one's instrument in the shard.
    records
        ``TRADE`` or ``OHLCV``.
    clocks
        The instrument's clock when each came, int64 ns.
    ordinals
        Place of each among its instrument's late records that came at that clock, int64. Late records do not
        move the clock, so the two name a record, whatever the batches.
    """

    rows: Array
    records: Array
    clocks: Int64s
    ordinals: Int64s


class LateLog:
    """Gives late records their places; knows of each row only the last clock at which one came."""

    def __init__(self, resume: tuple[Int64s, Int64s] | None = None) -> None:
        self._clocks, self._counts = (part.copy() for part in resume or (np.zeros(0, np.int64),) * 2)

    def snapshot(self) -> tuple[Int64s, Int64s]:
        """Return the state to resume from; nothing in it changes later."""
        return self._clocks.copy(), self._counts.copy()

    def take(self, rows: Array, records: Array, clocks: Int64s) -> Late:
        """Return late records, those of one row in the order of the tape, with their places.

        >>> log, none = LateLog(), np.zeros(3)
        >>> log.take(np.array([0, 0, 2]), none, np.array([7, 7, 7])).ordinals.tolist()
        [0, 1, 0]
        >>> log.take(np.array([0, 0, 2]), none, np.array([7, 8, 9])).ordinals.tolist()
        [2, 0, 0]
        """
        most = int(rows.max()) + 1
        if most > len(self._clocks):
            more = most - len(self._clocks)
            self._clocks = np.concatenate([self._clocks, np.full(more, _NEVER, np.int64)])
            self._counts = np.concatenate([self._counts, np.zeros(more, np.int64)])
        first = np.flatnonzero(
            np.concatenate([[True], (rows[1:] != rows[:-1]) | (clocks[1:] != clocks[:-1])])
        )
        length = np.diff(np.concatenate([first, [len(rows)]]))
        row, clock = rows[first], clocks[first]
        known = np.where(self._clocks[row] == clock, self._counts[row], 0)
        ordinals = np.arange(len(rows)) - np.repeat(first - known, length)
        last = np.flatnonzero(np.concatenate([row[1:] != row[:-1], [True]]))
        self._clocks[row[last]], self._counts[row[last]] = clock[last], (known + length)[last]
        return Late(rows, records, clocks, ordinals)


def resumed(saved: dict[str, Any]) -> LateLog:
    """Return the log that a `WindowedBars.snapshot` tells of."""
    return LateLog(saved["late"])
