"""Following the scores in the embedded store: what has come, or changed, since one looked last."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass, field
from typing import Any

from connectors.sqlite_queries import SERIES_OF_SCORES
from tapewatch.documents import SCORE_FIELDS

_Row = tuple[Any, ...]

_FIELDS = ", ".join(SCORE_FIELDS)
_OF_SERIES = "FROM scores WHERE key = ? AND detector = ? AND flow = ? AND instrument_id = ?"
_SERIES = f"{SERIES_OF_SCORES} SELECT key, name, flow, number FROM series WHERE number IS NOT NULL"  # noqa: S608
_FROM = f"SELECT {_FIELDS} {_OF_SERIES} AND ts_start >= ? ORDER BY ts_start, ts_end LIMIT ?"
_NEWEST = f"SELECT {_FIELDS} {_OF_SERIES} ORDER BY ts_start DESC, ts_end DESC LIMIT ?"
_WINDOWS_BEFORE = (
    f"SELECT {_FIELDS} FROM (SELECT {_FIELDS} {_OF_SERIES} AND ts_start >= ? AND ts_start < ? "  # noqa: S608
    "ORDER BY ts_start DESC, ts_end DESC LIMIT ?) WHERE ts_end > ts_start + 1 ORDER BY ts_start, ts_end"
)
_START, _END = SCORE_FIELDS.index("ts_start"), SCORE_FIELDS.index("ts_end")
_EARLIEST = -(2**63)
#: So many rows are gone back for windows that are behind, in a series that had none and in one that has some.
_BACK, _FAR_BACK = 2_000, 100_000


@dataclass(slots=True)
class _Told:
    """What of a series has been told: how far, and what is there; the same of windows alone."""

    last: int = _EARLIEST
    known: set[_Row] = field(default_factory=set)
    window: int = _EARLIEST
    windows: set[_Row] = field(default_factory=set)

    def take(self, rows: list[_Row]) -> None:
        """Note rows as told that are in their order."""
        if rows:
            self.last = rows[-1][_START]
            self.known = {row for row in rows if row[_START] == self.last}
            self.take_windows(rows)

    def take_windows(self, rows: list[_Row]) -> None:
        """Note those of the rows as told that are of windows."""
        windows = [row for row in rows if row[_END] > row[_START] + 1]
        if windows:
            self.window = windows[-1][_START]
            self.windows = {row for row in windows if row[_START] == self.window}


class ScoreWatch:
    """Tells the scores that come into a store from now on.

    A score is told when it is newer than the newest of its series, and again when the last one changes. Of a
    detector that judges both windows and trades, a window's score comes after those of trades within it: so
    windows are followed for themselves.

    Parameters
    ----------
    connection
        Reads the store.
    most
        About how many one look returns at most, 2 or more.

    Examples
    --------
    >>> from connectors.sqlite_schema import empty_store
    >>> ScoreWatch(empty_store(), 100).changes()
    ([], False)
    """

    def __init__(self, connection: sqlite3.Connection, most: int) -> None:
        self._connection, self._most = connection, most
        self._told: dict[_Row, _Told] = {}
        for series in connection.execute(_SERIES).fetchall():
            told = self._told[series] = _Told()
            told.take(connection.execute(_NEWEST, (*series, _BACK)).fetchall()[::-1])

    def changes(self) -> tuple[list[_Row], bool]:
        """Return the rows that are new or have changed, and whether more are left for the next look."""
        found: list[_Row] = []
        more = False
        there = self._connection.execute(_SERIES).fetchall()
        for series in self._told.keys() - set(there):
            del self._told[series]
        for series in there:
            if len(found) >= self._most:
                return found, True
            told = self._told.setdefault(series, _Told())
            rows = self._from(series, told.last)
            if not rows:
                # The results were wiped and are being written again.
                told = self._told[series] = _Told()
                rows = self._from(series, told.last)
            behind = self._windows_behind(series, told)
            found += [row for row in (*behind, *rows) if row not in told.known and row not in told.windows]
            told.take_windows(behind)
            told.take(rows)
            more |= len(rows) == self._most
        return found, more

    def _from(self, series: _Row, start: int) -> list[_Row]:
        return self._connection.execute(_FROM, (*series, start, self._most)).fetchall()

    def _windows_behind(self, series: _Row, told: _Told) -> list[_Row]:
        if told.window == told.last:
            return []
        back = _FAR_BACK if told.windows else _BACK
        return self._connection.execute(_WINDOWS_BEFORE, (*series, told.window, told.last, back)).fetchall()
