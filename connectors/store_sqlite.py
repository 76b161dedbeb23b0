"""The read side of the results in the embedded store."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Unpack

import orjson

from connectors.sqlite_queries import (
    ANOMALY,
    HEADS,
    LANES,
    ORDER_BY,
    REVIEWS,
    REVIEWS_BEHIND,
    SEVERITIES,
    behind,
    where_of,
)
from connectors.sqlite_schema import TABLES, explain, open_for_reading
from connectors.store import Store
from connectors.store_judges import judge_of
from connectors.store_memory import Memory
from connectors.store_payments import amounts_of
from connectors.store_questions import (
    ORDERS,
    SEVERITY_BINS,
    Document,
    Place,
    SeverityOf,
    Wanted,
    WantedReviews,
    check_group,
    check_range,
    check_step,
    of_incidents,
    place_of,
    review_place_of,
    without_empty_payments,
)
from connectors.store_sqlite_tape import SqliteTape
from tapewatch.documents import PROFILE_FIELDS, PublishedJudge
from tapewatch.errors import UserError

#: Names of columns, and rows.
_Answer = tuple[list[str], list[tuple[Any, ...]]]
_MOST_REMEMBERED = 1_000
_PROFILE = ", ".join(name for name in PROFILE_FIELDS if name != "state")
_PROFILE_OBJECTS = ("locations", "merchant_categories", "payment_methods", "hours")


def _is_small(answer: _Answer) -> bool:
    return len(answer[1]) <= _MOST_REMEMBERED


class SqliteStore(SqliteTape, Store):
    """The embedded store, which a flow may be writing.

    Parameters
    ----------
    path
        The database file (``sinks.sqlite.path``).
    remember
        Keep answers until something is written: for who asks the same again and again.

    Raises
    ------
    UserError
        If there is no file yet, or it is not a store of this version; from any method, if it is damaged.

    Examples
    --------
    >>> SqliteStore(Path("none-here.db"))
    Traceback (most recent call last):
      ...
    tapewatch.errors.UserError: there are no results at `sinks.sqlite.path` ...none-here.db; run the flow ...
    """

    def __init__(self, path: Path, *, remember: bool = False) -> None:
        self.path = path
        self.place = str(path)
        self._connection = open_for_reading(path)
        self._lock = threading.Lock()
        self._memory = Memory[_Answer]() if remember else None

    def _rows(self, query: str, *values: object, **named: object) -> list[Document]:
        def ask() -> _Answer:
            cursor = self._connection.execute(query, named or values)
            return [column[0] for column in cursor.description], cursor.fetchall()

        try:
            with self._lock:
                if self._memory is None:
                    names, rows = ask()
                else:
                    # Changes whenever another connection has written.
                    version = self._connection.execute("PRAGMA data_version").fetchone()[0]
                    question = (query, values, *sorted(named.items()))
                    names, rows = self._memory.at(version).answer(question, ask, _is_small)
        except sqlite3.Error as error:
            raise UserError(explain(error, self.path)) from error
        return [dict(zip(names, row, strict=True)) for row in rows]

    def anomalies(
        self, *, limit: int = 100, after: str | None = None, order: str = "newest", **wanted: Unpack[Wanted]
    ) -> list[Document]:
        """Return anomalies in an order; see `Store`."""
        if order not in ORDERS:
            raise UserError(f"`order` must be one of {', '.join(ORDERS)}, was {order!r}")
        place = None if after is None else place_of(after)
        if order != "worst":
            return self._anomalies(wanted, order, "true", place, limit)
        # Those without a severity come last, and in a query of their own, so that both can use the index.
        found: list[Document] = []
        if place is None or place.severity is not None:
            found = self._anomalies(wanted, order, "severity NOT NULL", place, limit)
            place = None
        if len(found) < limit and wanted.get("min_severity") is None:
            found += self._anomalies(wanted, order, "severity IS NULL", place, limit - len(found))
        return found

    def _anomalies(
        self, wanted: Wanted, order: str, condition: str, place: Place | None, limit: int
    ) -> list[Document]:
        where, values = where_of(wanted)
        if place is not None:
            further, more = behind(place, order)
            condition, values = f"{condition} AND {further}", [*values, *more]
        rows = self._rows(
            f"SELECT {ANOMALY} FROM anomalies WHERE {where} AND {condition} "  # noqa: S608
            f"ORDER BY {ORDER_BY[order]} LIMIT ?",
            *values,
            limit,
        )
        for row in rows:
            row["contributions"] = orjson.loads(row["contributions"])
        return without_empty_payments(rows)

    def amounts(self, group: str, limit: int = 30, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return what the transactions with anomalies come to; see `Store`."""
        check_group(group)
        where, values = where_of(wanted)
        rows = self._rows(
            f"SELECT max({group}) AS word, max(amount) AS amount FROM anomalies "  # noqa: S608
            f"WHERE transaction_id NOT NULL AND {where} GROUP BY transaction_id, user_id",
            *values,
        )
        return amounts_of(((row["word"], row["amount"]) for row in rows), limit)

    def heads(self, names: Sequence[str], order: str = "worst", **wanted: Unpack[Wanted]) -> list[Document]:
        """Return the first anomaly of each of these incidents; see `Store`."""
        where, values = where_of(of_incidents(wanted, names))
        rows = self._rows(HEADS.format(where=where, order=ORDER_BY[order]), *values)
        for row in rows:
            row["detectors"] = orjson.loads(row["detectors"])
        return rows

    def lanes(
        self, start: int, end: int, step_ns: int, *, min_severity: float = 0.0, limit: int = 30
    ) -> list[Document]:
        """Return the worst anomaly of each key and step; see `Store`."""
        check_step(start, end, step_ns)
        return self._rows(LANES, start=start, end=end, step=step_ns, least=min_severity, limit=limit)

    def histogram(self, step_ns: int, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return how many anomalies each detector has in each step; see `Store`."""
        check_range(step_ns, wanted)
        where, values = where_of(wanted)
        return self._rows(
            "SELECT ts_event / ? * ? AS ts_start, detector, count(*) AS anomalies, "  # noqa: S608
            f"max(severity) AS max_severity FROM anomalies WHERE {where} "
            "GROUP BY 1, detector ORDER BY 1, detector",
            step_ns,
            step_ns,
            *values,
        )

    def top_keys(self, limit: int = 10, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return the keys with the worst anomalies; see `Store`."""
        where, values = where_of(wanted)
        return self._rows(
            "SELECT key, count(*) AS anomalies, max(severity) AS max_severity FROM anomalies "  # noqa: S608
            f"WHERE severity IS NOT NULL AND {where} GROUP BY key ORDER BY max_severity DESC, key LIMIT ?",
            *values,
            limit,
        )

    def by_detector(self) -> list[Document]:
        """Return how many anomalies each detector has; see `Store`."""
        return self._rows(
            "SELECT detector, count(*) AS anomalies, max(severity) AS max_severity, max(ts_event) AS ts_last "
            "FROM anomalies GROUP BY detector ORDER BY anomalies DESC, detector"
        )

    def severities(self, of: SeverityOf, step_ns: int, start: int, end: int) -> list[Document]:
        """Return how the severities of each detector are spread over time; see `Store`."""
        check_step(start, end, step_ns)
        return self._rows(SEVERITIES[of], step=step_ns, bins=SEVERITY_BINS, start=start, end=end)

    def profiles(
        self,
        user_id: str | None = None,
        *,
        prefix: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[Document]:
        """Return what is usual for users; see `Store`."""
        asked = {
            "user_id = ?": user_id,
            "user_id > ?": after,
            "user_id >= ?": prefix,
            # Behind all that begins so; a condition that the primary key answers.
            "user_id < ?": f"{prefix}{chr(0x10FFFF)}" if prefix else None,
        }
        found = {condition: value for condition, value in asked.items() if value is not None}
        rows = self._rows(
            f"SELECT {_PROFILE} FROM profiles WHERE {' AND '.join(found) or 'true'} "  # noqa: S608
            "ORDER BY user_id LIMIT ?",
            *found.values(),
            limit,
        )
        for row in rows:
            for name in _PROFILE_OBJECTS:
                row[name] = None if row[name] is None else orjson.loads(row[name])
        return rows

    def profile_states(self, user_ids: Sequence[str]) -> dict[str, str]:
        """Return the exact state of users' profiles; see `Store`."""
        rows = self._rows(
            "SELECT user_id, state FROM profiles WHERE state NOT NULL AND user_id IN "
            "(SELECT value FROM json_each(?))",
            orjson.dumps(list(user_ids)).decode(),
        )
        return {row["user_id"]: row["state"] for row in rows}

    def judges(self) -> list[Document]:
        """Return what the transaction flow has published; see `Store`."""
        return self._rows(
            "SELECT source, partition, ts_last, transactions FROM judges ORDER BY ts_last DESC, 1, 2"
        )

    def judge(self, source: str, partition: str) -> PublishedJudge | None:
        """Return what was published of a partition; see `Store`."""
        rows = self._rows(
            "SELECT partition, version, ts_last, transactions, state FROM judges "
            "WHERE source = ? AND partition = ?",
            source,
            partition,
        )
        return judge_of(rows[0]) if rows else None

    def reviews(
        self, *, limit: int = 100, after: str | None = None, **wanted: Unpack[WantedReviews]
    ) -> list[Document]:
        """Return what people said of anomalies and transactions; see `Store`."""
        place = None if after is None else review_place_of(after)
        return self._rows(
            REVIEWS.format(further=REVIEWS_BEHIND if place else "true"),
            anomaly=wanted.get("anomaly_id"), transaction=wanted.get("transaction_id"),
            start=wanted.get("start"), end=wanted.get("end"), reviewer=wanted.get("reviewer"),
            label=wanted.get("label"), of_anomalies=wanted.get("of_anomalies", False), limit=limit,
            **({f"after_{name}": value for name, value in asdict(place).items()} if place else {}),
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        query = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in TABLES)  # noqa: S608
        return self._rows(f"SELECT {query}")[0]

    def counters(self) -> list[Document]:
        """Return what the flows counted: flow, source, partition, name, value."""
        return self._rows("SELECT flow, source, partition, name, value FROM counters ORDER BY 1, 2, 3, 4")

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last event time (ns) of bars and anomalies, None without any."""
        ends = [(row["ts_first"], row["ts_last"]) for row in self.series()]
        # Two questions, each of which an index answers.
        found = self._rows(
            "SELECT (SELECT min(ts_start) FROM anomalies) AS first, "
            "(SELECT max(ts_event) FROM anomalies) AS last"
        )[0]
        if found["first"] is not None:
            ends.append((found["first"], found["last"]))
        if not ends:
            return None
        return min(first for first, _ in ends), max(last for _, last in ends)

    def look_again(self) -> None:
        """Do nothing: each question finds out for itself whether something was written."""

    def close(self) -> None:
        """Close the file, once no other thread is reading from it."""
        with self._lock:
            self._connection.close()
