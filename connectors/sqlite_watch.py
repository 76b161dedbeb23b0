"""Following the embedded store: what has come into it, or changed, since one looked last."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from connectors.file_identity import file_identity
from connectors.sqlite_schema import open_for_reading
from connectors.sqlite_score_watch import ScoreWatch
from connectors.store_sqlite import SqliteStore
from tapewatch.documents import (
    ANOMALY_FIELDS,
    BAR_FIELDS,
    PAYMENT_FIELDS,
    SCORE_FIELDS,
    to_json,
    told_anomaly,
)
from tapewatch.errors import UserError

Document = dict[str, Any]
_Row = tuple[Any, ...]

#: So many of the newest anomalies are watched for growing and for being taken back.
WATCHED_ANOMALIES = 1_000

_FIELDS = (*ANOMALY_FIELDS, *PAYMENT_FIELDS)
_NEWEST_ANOMALIES = (
    f"SELECT rowid, {', '.join(_FIELDS)} FROM anomalies ORDER BY rowid DESC LIMIT {WATCHED_ANOMALIES}"  # noqa: S608
)
_ANOMALIES_FROM = f"SELECT rowid, {', '.join(_FIELDS)} FROM anomalies WHERE rowid >= ? ORDER BY rowid LIMIT ?"  # noqa: S608
_SERIES = ("key", "width", "dataset", "instrument_id")
_BARS_FROM = (
    f"SELECT {', '.join(BAR_FIELDS)} FROM bars WHERE key = ? AND width = ? AND dataset = ? "  # noqa: S608
    "AND instrument_id = ? AND ts_start >= ? ORDER BY ts_start LIMIT ?"
)
_LAST_BARS = (
    f"SELECT {', '.join(BAR_FIELDS)} FROM bars WHERE key = ? AND width = ? AND dataset = ? "  # noqa: S608
    "AND instrument_id = ? ORDER BY ts_start DESC LIMIT ?"
)
_ID = 1 + ANOMALY_FIELDS.index("id")
_START, _END, _FINAL = (BAR_FIELDS.index(name) for name in ("ts_start", "ts_end", "final"))
_EARLIEST = -(2**63)


class SqliteWatch:
    """Tells what comes into the store from now on.

    A bar is told when it is newer than the newest of its series, and again as long as it is not final (of the
    newest ``most / 2``); a score likewise, if scores are kept; an anomaly when it is new, grows, or is
    taken back (of the newest thousand). If the file is replaced by another, that one is watched from then on;
    a store that is not there yet or cannot be read is waited for.

    Parameters
    ----------
    path
        The database file.
    most
        About how many documents one look returns at most, 2 or more; those left come with the next ones.

    Examples
    --------
    >>> with SqliteWatch(Path("none-here.db")) as watch:
    ...     watch.changes()
    []
    """

    seconds_between_looks = 0.25

    def __init__(self, path: Path, most: int = 1_000) -> None:
        self._path, self._most = path, most
        self._opened: _Opened | None = None
        # Closing a connection in the middle of another thread's query takes the process with it.
        self._lock = threading.Lock()
        self._closed = False
        self._open()

    @property
    def more(self) -> bool:
        """Whether the last look left something for the next one."""
        return self._opened is not None and self._opened.more

    def changes(self) -> list[Document]:
        """Return what is new since the last call, as JSON documents with their kind as ``document``.

        Kinds are ``bar``, ``score``, ``anomaly`` and ``deleted``, with the ``id`` of an anomaly taken back.
        """
        with self._lock:
            if self._closed:
                return []
            if self._opened is None or self._opened.file != file_identity(self._path):
                self._open()
                return []
            try:
                return self._opened.changes()
            except (sqlite3.Error, UserError):
                self._let_go()
                return []

    def _open(self) -> None:
        self._let_go()
        with contextlib.suppress(sqlite3.Error, UserError):
            self._opened = _Opened(self._path, self._most)

    def _let_go(self) -> None:
        if self._opened is not None:
            self._opened.close()
            self._opened = None

    def close(self) -> None:
        """Close the file, once no other thread is looking at it; there are no changes after that."""
        with self._lock:
            self._closed = True
            self._let_go()

    def __enter__(self) -> SqliteWatch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Opened:
    """One open file, and what of it has been told."""

    def __init__(self, path: Path, most: int) -> None:
        self._most = most
        self.file = file_identity(path)
        self.more = False
        self._store = SqliteStore(path)
        try:
            self._connection = open_for_reading(path)
        except UserError:
            self._store.close()
            raise
        self._version = -1
        try:
            # The newest anomalies by id, and the number of the first row that is watched.
            self._anomalies: dict[str, _Row] = {}
            self._first = 0
            self._watch(self._connection.execute(_NEWEST_ANOMALIES).fetchall()[::-1])
            # Of each series the bars that are not final and those behind them, or else the last one.
            self._bars: dict[_Row, list[_Row]] = {}
            for series in self._series():
                self._bars[series] = self._still_open(self._last_bars(series))
            self._scores = ScoreWatch(self._connection, most)
        except (sqlite3.Error, UserError):
            self.close()
            raise

    def _series(self) -> dict[_Row, int]:
        """Return the end of the last bar of each series."""
        rows = self._store.series()
        return {tuple(row[name] for name in _SERIES): row["ts_last"] for row in rows}

    def _last_bars(self, series: _Row) -> list[_Row]:
        """Return the last final bar of a series and what is behind it, reading no more than that."""
        rows: list[_Row] = []
        for row in self._connection.execute(_LAST_BARS, (*series, self._most)):
            rows.append(row)
            if row[_FINAL]:
                break
        return rows[::-1]

    def changes(self) -> list[Document]:
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version == self._version and not self.more:
            return []
        self._version, self.more = version, False
        told = [{"document": "bar", **to_json(BAR_FIELDS, row)} for row in self._new_bars()]
        scores, more = self._scores.changes()
        self.more |= more
        told += [{"document": "score", **to_json(SCORE_FIELDS, row)} for row in scores]
        return told + self._new_anomalies()

    def _still_open(self, rows: list[_Row]) -> list[_Row]:
        """Return those of a series' last bars that may change; few enough that a look gets beyond them."""
        first = next((place for place, row in enumerate(rows) if not row[_FINAL]), len(rows) - 1)
        return rows[max(first, len(rows) - self._most // 2, 0) :]

    def _new_bars(self) -> list[_Row]:
        found: list[_Row] = []
        ends = self._series()
        for series in self._bars.keys() - ends.keys():
            del self._bars[series]
        for series, end in ends.items():
            known = self._bars.get(series, [])
            if known and end < known[-1][_END]:
                # The results were wiped and are being written again.
                known = []
            if known and end == known[-1][_END] and known[0][_FINAL]:
                continue
            if len(found) >= self._most:
                self.more = True
                break
            start = known[0][_START] if known else _EARLIEST
            rows = self._connection.execute(_BARS_FROM, (*series, start, self._most)).fetchall()
            told = set(known)
            found.extend(row for row in rows if row not in told)
            self._bars[series] = self._still_open(rows)
            self.more |= len(rows) == self._most
        return found

    def _new_anomalies(self) -> list[Document]:
        known, limit = self._anomalies, WATCHED_ANOMALIES + self._most
        # Row numbers grow, so what is new comes behind what is watched, or in the place of its last ones.
        rows = self._connection.execute(_ANOMALIES_FROM, (self._first, limit)).fetchall()
        if not rows and self._first:
            # The results were wiped, and row numbers begin anew.
            self._first = 0
            rows = self._connection.execute(_ANOMALIES_FROM, (0, limit)).fetchall()
        self.more |= len(rows) == limit
        there = {row[_ID] for row in rows}
        found: list[Document] = [{"document": "deleted", "id": name} for name in known if name not in there]
        found += [
            {"document": "anomaly", **told_anomaly(row[1:])} for row in rows if known.get(row[_ID]) != row[1:]
        ]
        self._watch(rows[-WATCHED_ANOMALIES:])
        return found

    def _watch(self, rows: list[_Row]) -> None:
        self._anomalies = {row[_ID]: row[1:] for row in rows}
        if len(rows) == WATCHED_ANOMALIES:
            self._first = rows[0][0]

    def close(self) -> None:
        self._connection.close()
        self._store.close()
