"""Thin trading: windows and records of an instrument where hardly a trade is, beside those of its session.

Before the open and after the close few trades make a window: one of them at an old price, or a block that is
reported late, moves all that is measured of it. There it takes more to be an anomaly than in the session.
When a session is, no calendar says: a window is thin where its trades are fewer than a sixteenth of the
usual (geometric mean) of the busiest thirty of the instrument's windows, of the last nine hundred or so. A
record is in thin trading where its neighbours came sixteen times slower than half of the last eight thousand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.detector import Segments, grown
from operators.recent import BlockSums
from tapewatch.records import DAY, MINUTE, Array, Floats, Int64s

#: Windows to a block, and blocks that are remembered: a day with its early and late hours.
_BLOCK, _BLOCKS = 30, 30
#: Steps to an octave in which trades are counted; a thin window is this many octaves below the busiest block.
_STEPS, _OCTAVES = 16, 4
#: Least severity of what is told of a thin window: what an instrument shows once in a hundred days.
LEAST_SEVERITY = 75.0
#: The same on an instrument's first day: its thin hours were not seen before, little is known.
LEAST_AT_FIRST = 87.5
#: Records to a block, and blocks that are remembered; from so many on there is a usual rhythm.
RECORDS, _RHYTHMS, _FEWEST_RHYTHMS = 128, 64, 4
#: How many times slower than usual the records of thin trading come; no pause counts for more than the other.
_SLOWER, _LONGEST_BEAT = 16, 10 * MINUTE
_NO_DAY = -1


class ThinTrading:
    """How busy each instrument of a shard was, over its last windows of one width.

    Parameters
    ----------
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, resume: dict[str, Any] | None = None) -> None:
        self._levels = BlockSums(_BLOCK, _BLOCKS, None if resume is None else resume["levels"])
        #: UTC day of each instrument's first window.
        self._first = np.zeros(0, np.int64) if resume is None else resume["first"].copy()

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {"levels": self._levels.snapshot(), "first": self._first.copy()}

    def least(self, segments: Segments, *, learn: bool = True) -> Floats:
        """Return the least severity of what is told of each window, 0 where it is not thin, shape ``(n,)``.

        Parameters
        ----------
        segments
            Bars of dtype `tapewatch.documents.BAR`, sorted by (row, start).
        learn
            Whether to remember the windows.
        """
        thin = self.thin(segments, learn=learn)
        if not len(thin):
            return np.zeros(0)
        rows, day = segments.rows, segments.times // DAY
        first = grown(self._first, int(rows.max()) + 1, _NO_DAY)
        first[rows] = np.where(first[rows] == _NO_DAY, day[segments.starts[:-1]], first[rows])
        if learn:
            self._first = first
        return np.where(thin, np.where(day > first[segments.row_of], LEAST_SEVERITY, LEAST_AT_FIRST), 0.0)

    def thin(self, segments: Segments, *, learn: bool = True) -> Array:
        """Return which windows are thin, bool, shape ``(n,)``, each judged by whole blocks before it.

        Parameters
        ----------
        segments
            Bars of dtype `tapewatch.documents.BAR`, sorted by (row, start).
        learn
            Whether to remember the windows.

        Examples
        --------
        >>> from operators.detector import segments_of_bars
        >>> from tapewatch.documents import BAR
        >>> bars = np.zeros(35, BAR)
        >>> bars["trades"] = [200] * 31 + [100, 10, 13, 12]
        >>> ThinTrading().thin(segments_of_bars(bars, ["SPY"]))[-5:].tolist()
        [False, False, True, False, True]
        """
        if not len(segments.items):
            return np.zeros(0, bool)
        level = _level(segments.items["trades"])
        blocks, _, begin = self._levels.before(segments.rows, segments.starts, level, learn=learn)
        length = np.diff(np.append(begin, len(level)))
        busiest = np.repeat(blocks.max(axis=1), length)
        return level * _BLOCK < busiest - _OCTAVES * _STEPS * _BLOCK


class Rhythm:
    """How fast the records of each instrument of a shard came, over its last eight thousand or so.

    Parameters
    ----------
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, resume: dict[str, Any] | None = None) -> None:
        self._blocks = BlockSums(RECORDS, _RHYTHMS, resume)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return self._blocks.snapshot()

    def before(
        self, rows: Array, starts: Int64s, gaps: Int64s, *, learn: bool
    ) -> tuple[Int64s, Int64s, Int64s]:
        """Return the usual rhythm before each stretch of records, and when a stretch begins.

        Parameters
        ----------
        rows, starts
            Gaps of ``rows[i]`` are ``starts[i]:starts[i + 1]``.
        gaps
            Time from the record before to each, int64 ns, shape ``(n,)``.
        learn
            Whether to remember them.

        Returns
        -------
        beats
            Time of the last whole blocks of 128 records, the latest last, 0 where there was none, int64 ns,
            shape ``(stretches, blocks)``.
        limit
            Gaps longer than this on average are thin trading, ten minutes where little is known, int64 ns,
            shape ``(stretches,)``.
        begin
            First record of each stretch.

        Examples
        --------
        >>> gaps = np.full(600, 1_000_000)
        >>> _, limit, begin = Rhythm().before(np.array([0]), np.array([0, 600]), gaps, learn=True)
        >>> begin.tolist(), (limit / MINUTE).round(5).tolist()
        ([0, 128, 256, 384, 512], [10.0, 10.0, 10.0, 10.0, 0.00027])
        """
        beats, known, begin = self._blocks.before(rows, starts, np.minimum(gaps, _LONGEST_BEAT), learn=learn)
        ordered = np.sort(beats, axis=1)
        # Of those that are known, which sort last, the lower of the two in the middle.
        middle = np.minimum(_RHYTHMS - known + (known - 1) // 2, _RHYTHMS - 1)
        usual = np.take_along_axis(ordered, middle[:, None], axis=1)[:, 0]
        limit = np.where(known >= _FEWEST_RHYTHMS, _SLOWER * usual // RECORDS, _LONGEST_BEAT)
        return beats, limit, begin


def told_from(thin: Array) -> Floats:
    """Return the severity from which on each of some records is told; ``thin`` are those in thin trading."""
    return np.where(thin, LEAST_SEVERITY, 0.0)


def _level(trades: Array) -> Int64s:
    """Return sixteenths of octaves, a logarithm that is the same integer on every machine.

    >>> _level(np.array([0, 1, 2, 3, 64])).tolist()
    [0, 0, 16, 24, 96]
    """
    bits = np.maximum(trades, 1).astype(np.float32).view(np.int32).astype(np.int64)
    level: Int64s = (bits >> 19) - (127 << 4)
    return level
