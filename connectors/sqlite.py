"""The writing side of the embedded results store: every batch one transaction, every write repeatable."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from connectors.plain_state import plain
from connectors.sqlite_early import Leftovers, Settled, left_in, mark
from connectors.sqlite_schema import committing, explain, open_for_writing
from tapewatch.documents import (
    ANOMALY_FIELDS,
    BAR_FIELDS,
    JUDGE_FIELDS,
    PAYMENT_FIELDS,
    PROFILE_FIELDS,
    SCORE_FIELDS,
    PublishedJudge,
    Results,
    anomaly_row,
    bar_rows,
    score_rows,
)
from tapewatch.errors import UserError
from tapewatch.late_rows import LATE_FIELDS, late_rows


def _upsert(table: str, fields: tuple[str, ...], key: tuple[str, ...], condition: str, **changes: str) -> str:
    changes = {name: changes.get(name, f"excluded.{name}") for name in fields if name not in key}
    return (
        f"INSERT INTO {table} ({', '.join(fields)}) VALUES ({', '.join('?' * len(fields))}) "  # noqa: S608
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {', '.join(f'{n} = {v}' for n, v in changes.items())} "
        f"WHERE {condition}"
    )


_DETECTED_AT = ANOMALY_FIELDS.index("detected_at")
# When an anomaly was first detected stays, however often it is told again.
_ANOMALIES = _upsert(
    "anomalies",
    ANOMALY_FIELDS,
    ("id",),
    "true",
    detected_at="min(anomalies.detected_at, excluded.detected_at)",
)
# A whole bar is never replaced by an unfinished one, nor an unfinished one by an earlier view of it.
_BARS = _upsert(
    "bars",
    BAR_FIELDS,
    ("key", "width", "dataset", "instrument_id", "ts_start"),
    "excluded.final > bars.final OR "
    "excluded.final = bars.final AND (bars.final OR excluded.volume >= bars.volume)",
)
# The other columns decide between equal scores, so that the order of writing does not.
_SCORES = _upsert(
    "scores",
    SCORE_FIELDS,
    ("key", "detector", "flow", "instrument_id", "ts_start", "ts_end"),
    " > ".join(
        f"(ifnull({row}.score, -9e999), ifnull({row}.severity, -9e999), ifnull({row}.threshold, -9e999))"
        for row in ("excluded", "scores")
    ),
)
_COUNTERS = _upsert(
    "counters",
    ("flow", "source", "partition", "name", "value"),
    ("flow", "source", "partition", "name"),
    "excluded.value > counters.value",
)


def _dated(row: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return an anomaly's row with the time of detection, which is now unless it is known."""
    return row if row[_DETECTED_AT] else (*row[:_DETECTED_AT], time.time_ns(), *row[_DETECTED_AT + 1 :])


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1


_PAYMENT = f"UPDATE anomalies SET {', '.join(f'{name} = ?' for name in PAYMENT_FIELDS)} WHERE id = ?"  # noqa: S608
# What is written again after a crash is older than what is there.
_PROFILES = _upsert("profiles", PROFILE_FIELDS, ("user_id",), "excluded.ts_last >= profiles.ts_last")
_JUDGES = _upsert(
    "judges",
    JUDGE_FIELDS,
    ("source", "partition"),
    "(excluded.ts_last, excluded.transactions) >= (judges.ts_last, judges.transactions)",
)
_LATE = _upsert("late", LATE_FIELDS, ("key", "dataset", "instrument_id", "ts_clock", "ordinal"), "true")


class SqliteWriter:
    """Writes results to the embedded store, which is created if it is not there.

    Parameters
    ----------
    path
        The database file; its directory must exist.
    source
        Name of the stream (``source.name``), kept beside its counters.

    Raises
    ------
    UserError
        If the file cannot be written, or is not a store of this version.

    Examples
    --------
    >>> import tempfile
    >>> from tapewatch.documents import Results
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     with SqliteWriter(Path(directory) / "results.db") as writer:
    ...         writer.write([Results("day", shard=0, dataset="", flow="market", counters={"records": 3})])
    0
    """

    def __init__(self, path: Path, source: str = "") -> None:
        self.path = path.absolute()
        self._source = source
        self._leftovers: Leftovers | None = None
        self._connection = open_for_writing(self.path)
        files = {place: _inode(place) for place in (self.path, Path(f"{self.path.resolve()}-wal"))}
        self._files = {place: inode for place, inode in files.items() if inode >= 0}

    def write(self, results: Sequence[Results]) -> int:
        """Write everything in one transaction, and return how many anomalies were not in the store before.

        Anomalies that were ``deleted`` go first, then each of the `Results` in their order. Writing the
        same again changes nothing. What an earlier run told early of a window that has now been judged, and
        is not told again, goes too. It waits up to 30 s for another writer to finish.

        Raises
        ------
        UserError
            If it cannot be written, in full or at all; then nothing of it is in the store.
        """
        # Rows are made one after the other as SQLite takes them: lists of them would cost as much again.
        bars = chain.from_iterable(bar_rows(table, r.dataset) for r in results for table in r.bars)
        scores = chain.from_iterable(score_rows(table, r.flow) for r in results for table in r.scores)
        late = chain.from_iterable(late_rows(r.late, r.dataset) for r in results if r.late is not None)
        counters = [
            (r.flow, self._source, r.partition, name, value)
            for r in results
            for name, value in r.counters.items()
        ]
        if not (
            counters
            or any(
                r.anomalies or r.deleted or r.judged or r.late or r.bars or r.scores or r.profiles or r.judges
                for r in results
            )
        ):
            return 0
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
            with committing(connection):
                connection.executemany(_BARS, bars)
                connection.executemany(_SCORES, scores)
                connection.executemany(_LATE, late)
                connection.executemany(_PROFILES, chain.from_iterable(r.profiles for r in results))
                connection.executemany(_JUDGES, self._judges(results))
                connection.executemany(_COUNTERS, counters)
                new = self._write_anomalies_of(results)
        except sqlite3.Error as error:
            # What it knew to be settled is not.
            self._leftovers = None
            self._check_in_place()
            raise UserError(explain(error, self.path)) from error
        # Afterwards: what was written into a file that is gone must not be taken for stored.
        self._check_in_place()
        return new

    def _judges(self, results: Sequence[Results]) -> list[tuple[Any, ...]]:
        # Of several only the newest is worth the work.
        newest: dict[str, PublishedJudge] = {}
        for judge in (judge for r in results for judge in r.judges):
            known = newest.get(judge.partition)
            if known is None or judge[2:4] >= known[2:4]:
                newest[judge.partition] = judge
        return [
            (self._source, *judge[:-1], orjson.dumps(plain(judge.state)).decode())
            for judge in newest.values()
        ]

    def _write_anomalies_of(self, several: Sequence[Results]) -> int:
        if self._leftovers is None:
            self._leftovers = left_in(self._connection, self._source)
        new = 0
        for results in several:
            for settled in self._leftovers.settle(results):
                self._take_back(settled)
            if results.anomalies or results.deleted:
                new += self._write_anomalies(results)
        return new

    def _take_back(self, settled: Settled) -> None:
        if settled.row is None:
            self._connection.execute("DELETE FROM anomalies WHERE id = ?", (settled.id,))
        else:
            self._connection.execute(_ANOMALIES, _dated(settled.row))
        self._connection.execute("DELETE FROM provisional WHERE id = ?", (settled.id,))

    def _write_anomalies(self, results: Results) -> int:
        connection = self._connection
        told = {anomaly.id for anomaly in results.anomalies}
        # What is told again in the same breath is changed, not deleted, and keeps its first `detected_at`.
        connection.executemany(
            "DELETE FROM anomalies WHERE id = ?", [(name,) for name in results.deleted if name not in told]
        )
        known: int = sum(
            connection.execute("SELECT count(*) FROM anomalies WHERE id = ?", (name,)).fetchone()[0]
            for name in told
        )
        connection.executemany(_ANOMALIES, [_dated(anomaly_row(anomaly)) for anomaly in results.anomalies])
        payments = [(*a.payment, a.id) for a in results.anomalies if a.payment is not None]
        if payments:
            connection.executemany(_PAYMENT, payments)
        mark(connection, self._source, results)
        return len(told) - known

    def _check_in_place(self) -> None:
        """Refuse a file, or its log, that has been deleted: SQLite writes to it, and nobody can read it."""
        for place, inode in self._files.items():
            if _inode(place) != inode:
                raise UserError(
                    f"{place} was removed or replaced while results were written to it; put the results "
                    "database back, or begin a new one with a new recovery store (`tapewatch reset --yes` "
                    "empties it safely)"
                )

    def close(self) -> None:
        """Close the file; what was written is safe before that."""
        self._connection.close()

    def __enter__(self) -> SqliteWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
