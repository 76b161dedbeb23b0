"""Windows that are shown before their instrument has closed them, so that none is shown twice as it is."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapewatch.records import SECOND, Array, Int64s

#: Seconds since 1970 take fewer bits than this.
_ROW = 34


class Shown:
    """The open windows of one width that have been shown, and as what.

    Windows of one instrument depend on each other: a detector sees the earlier one in the later one's past,
    and alarms that follow each other are one episode. So whenever one of an instrument's windows is shown or
    closed, all that have been shown and are still open are shown with it.
    """

    def __init__(self, resume: tuple[Int64s, Int64s] | None = None) -> None:
        #: Sorted: row and start of each window; beside it, its number of records and whether it was over.
        self._windows, self._stamps = resume or (np.zeros(0, np.int64), np.zeros(0, np.int64))

    def __len__(self) -> int:
        return len(self._windows)

    def snapshot(self) -> tuple[Int64s, Int64s]:
        """Return the state to resume from; nothing in it changes later."""
        return self._windows, self._stamps

    def choose(self, bars: Array, over: Array, closed_rows: Array) -> Array:
        """Return which of the open windows are to be shown now, and note that they are.

        Parameters
        ----------
        bars
            All open windows, dtype `BAR`, sorted by (row, start).
        over
            Which of them the partition's clock has passed, bool.
        closed_rows
            Rows of the instruments that have just closed a window.
        """
        windows, stamps = _windows(bars), _stamps(bars, over)
        place = np.searchsorted(self._windows, windows)
        place[place == len(self._windows)] = 0
        was = self._windows[place] == windows if len(self) else np.zeros(len(bars), bool)
        before = self._stamps[place] if len(self) else stamps
        new = over & ~(was & (before == stamps))
        moved = np.isin(bars["row"], np.concatenate([bars["row"][new], closed_rows]))
        show: Array = moved & (over | was)
        kept = show | was
        self._windows, self._stamps = windows[kept], np.where(show, stamps, before)[kept]
        return show

    def all(self, bars: Array, over: Array) -> None:
        """Note that all open windows are shown."""
        self._windows, self._stamps = _windows(bars), _stamps(bars, over)


def _windows(bars: Array) -> Int64s:
    windows: Int64s = bars["row"].astype(np.int64) << _ROW | bars["ts_start"] // SECOND
    return windows


def _stamps(bars: Array, over: Array) -> Int64s:
    stamps: Int64s = bars["trades"] * 2 + over
    return stamps


def resumed(saved: dict[str, Any], width: str) -> Shown:
    """Return the windows of one width that a `WindowedBars.snapshot` tells of."""
    return Shown(saved["shown"].get(width))
