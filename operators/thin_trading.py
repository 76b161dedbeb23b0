"""Thin trading: windows of an instrument with hardly a trade, beside those of its session.

Before the open and after the close few trades make a window: one of them at an old price, or a block that is
reported late, moves all that is measured of it. There it takes more to be an anomaly than in the session.
When a session is, no calendar says: a window is thin where its trades are fewer than a sixteenth of the
usual (geometric mean) of the busiest thirty of the instrument's windows, of the last nine hundred or so.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.detector import Segments
from operators.recent import BlockSums
from tapewatch.records import Array, Int64s

#: Windows to a block, and blocks that are remembered: a day with its early and late hours.
_BLOCK, _BLOCKS = 30, 30
#: Steps to an octave in which trades are counted; a thin window is this many octaves below the busiest block.
_STEPS, _OCTAVES = 16, 4
#: Least severity of what is told of a thin window: what an instrument shows once in a hundred days.
LEAST_SEVERITY = 75.0


class ThinTrading:
    """How busy each instrument of a shard was, over its last windows of one width.

    Parameters
    ----------
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, resume: dict[str, Any] | None = None) -> None:
        self._levels = BlockSums(_BLOCK, _BLOCKS, resume)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return self._levels.snapshot()

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


def _level(trades: Array) -> Int64s:
    """Return sixteenths of octaves, a logarithm that is the same integer on every machine.

    >>> _level(np.array([0, 1, 2, 3, 64])).tolist()
    [0, 0, 16, 24, 96]
    """
    bits = np.maximum(trades, 1).astype(np.float32).view(np.int32).astype(np.int64)
    level: Int64s = (bits >> 19) - (127 << 4)
    return level
