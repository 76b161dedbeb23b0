"""The read side of the results: what commands, dashboard and API ask, while the flow goes on writing.

The embedded store is behind it. Documents come as dicts with the contract's names; times are int64 ns, prices
decimals.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson

from connectors.sqlite_schema import TABLES, explain, open_for_reading
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS
from tapewatch.errors import UserError

Document = dict[str, Any]

_ANOMALY = ", ".join(ANOMALY_FIELDS)
_BAR = ", ".join(BAR_FIELDS)
# Steps from one key to the next, from one width of it to the next, and so on, each time by the primary key,
# so that no bar is read that is not asked for. (A comparison of rows would use its first column only.)
_SERIES = """
WITH RECURSIVE
keys (key) AS (
  SELECT min(key) FROM bars
  UNION ALL
  SELECT (SELECT min(key) FROM bars b WHERE b.key > k.key) FROM keys k WHERE k.key IS NOT NULL
), widths (key, width) AS (
  SELECT key, (SELECT min(width) FROM bars b WHERE b.key = k.key) FROM keys k WHERE k.key IS NOT NULL
  UNION ALL
  SELECT key, (SELECT min(width) FROM bars b WHERE b.key = w.key AND b.width > w.width)
  FROM widths w WHERE w.width IS NOT NULL
), datasets (key, width, dataset) AS (
  SELECT key, width, (SELECT min(dataset) FROM bars b WHERE b.key = w.key AND b.width = w.width)
  FROM widths w WHERE w.width IS NOT NULL
  UNION ALL
  SELECT key, width, (SELECT min(dataset) FROM bars b WHERE b.key = d.key AND b.width = d.width
    AND b.dataset > d.dataset)
  FROM datasets d WHERE d.dataset IS NOT NULL
), series (key, width, dataset, instrument_id) AS (
  SELECT key, width, dataset, (SELECT min(instrument_id) FROM bars b WHERE b.key = d.key
    AND b.width = d.width AND b.dataset = d.dataset)
  FROM datasets d WHERE d.dataset IS NOT NULL
  UNION ALL
  SELECT key, width, dataset, (SELECT min(instrument_id) FROM bars b WHERE b.key = s.key
    AND b.width = s.width AND b.dataset = s.dataset AND b.instrument_id > s.instrument_id)
  FROM series s WHERE s.instrument_id IS NOT NULL
)
SELECT s.key, s.width, s.dataset, s.instrument_id,
  (SELECT ts_start FROM bars b WHERE b.key = s.key AND b.width = s.width AND b.dataset = s.dataset
     AND b.instrument_id = s.instrument_id ORDER BY ts_start LIMIT 1) AS ts_first,
  (SELECT ts_end FROM bars b WHERE b.key = s.key AND b.width = s.width AND b.dataset = s.dataset
     AND b.instrument_id = s.instrument_id ORDER BY ts_start DESC LIMIT 1) AS ts_last
FROM series s WHERE s.instrument_id IS NOT NULL ORDER BY 1, 2, 3, 4
"""


class Store:
    """The results, read-only; one `Store` may be used from several threads.

    Parameters
    ----------
    path
        The database file (``sinks.sqlite.path``).

    Raises
    ------
    UserError
        If there is no file yet, or it is not a store of this version; from any method, if it is damaged.

    Examples
    --------
    >>> Store(Path("none-here.db"))
    Traceback (most recent call last):
      ...
    tapewatch.errors.UserError: there are no results at `sinks.sqlite.path` ...none-here.db; run the flow ...
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = open_for_reading(path)
        self._lock = threading.Lock()

    def _rows(self, query: str, *values: object) -> list[Document]:
        try:
            with self._lock:
                cursor = self._connection.execute(query, values)
                rows = cursor.fetchall()
        except sqlite3.Error as error:
            raise UserError(explain(error, self.path)) from error
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def anomalies(
        self,
        *,
        key: str | None = None,
        detector: str | None = None,
        min_severity: float | None = None,
        start: int | None = None,
        end: int | None = None,
        limit: int = 100,
        offset: int = 0,
        order: str = "newest",
    ) -> list[Document]:
        """Return anomalies whose ``ts_event`` is in ``[start, end)`` ns.

        ``order`` says which come first: ``newest``, ``oldest`` or ``worst``.
        """
        orders = {
            "newest": "ts_event DESC, id",
            "oldest": "ts_event, id",
            "worst": "severity DESC, ts_event, id",
        }
        if order not in orders:
            raise UserError(f"`order` must be one of {', '.join(orders)}, was {order!r}")
        conditions = {
            "key = ?": key,
            "detector = ?": detector,
            "severity >= ?": min_severity,
            "ts_event >= ?": start,
            "ts_event < ?": end,
        }
        given = {text: value for text, value in conditions.items() if value is not None}
        where = " AND ".join(given) or "true"
        rows = self._rows(
            f"SELECT {_ANOMALY} FROM anomalies WHERE {where} ORDER BY {orders[order]} LIMIT ? OFFSET ?",  # noqa: S608
            *given.values(),
            limit,
            offset,
        )
        for row in rows:
            row["contributions"] = orjson.loads(row["contributions"])
        return rows

    def worst(self, limit: int = 10) -> list[Document]:
        """Return the anomalies of highest severity, the worst first, equal ones in order of time."""
        return self.anomalies(limit=limit, order="worst")

    def lanes(
        self, start: int, end: int, step_ns: int, *, min_severity: float = 0.0, limit: int = 30
    ) -> list[Document]:
        """Return the worst anomaly of each key and step of ``step_ns`` in ``[start, end)`` ns.

        Rows hold ``key``, ``ts_start`` of the step (a multiple of ``step_ns``), ``severity``, ``detector``
        and ``reason`` of the worst, and ``anomalies``, how many there are. Only the ``limit`` keys with the
        worst anomalies are told of, in that order, each in order of time.
        """
        # SQLite takes the bare columns beside a lone max() from the row that holds the maximum.
        return self._rows(
            """
            WITH seen AS (SELECT * FROM anomalies WHERE ts_event >= ? AND ts_event < ? AND severity >= ?),
            worst AS (SELECT key, max(severity) AS severity FROM seen GROUP BY key
                      ORDER BY severity DESC, key LIMIT ?)
            SELECT s.key, s.ts_event / ? * ? AS ts_start, max(s.severity) AS severity, s.detector, s.reason,
                   count(*) AS anomalies
            FROM seen s JOIN worst w ON w.key = s.key
            GROUP BY s.key, s.ts_event / ? ORDER BY w.severity DESC, s.key, 2
            """,
            start, end, min_severity, limit, step_ns, step_ns, step_ns,
        )  # fmt: skip

    def bars(
        self, key: str, width: str, start: int | None = None, end: int | None = None, limit: int = 1000
    ) -> list[Document]:
        """Return the last ``limit`` bars that start in ``[start, end)`` ns, in order of time."""
        rows = self._rows(
            f"SELECT {_BAR} FROM bars WHERE key = ? AND width = ? AND ts_start >= ? AND ts_start < ? "  # noqa: S608
            "ORDER BY ts_start DESC, dataset DESC, instrument_id DESC LIMIT ?",
            key,
            width,
            -(2**63) if start is None else start,
            2**63 - 1 if end is None else end,
            limit,
        )
        for row in rows:
            row["final"] = bool(row["final"])
        return rows[::-1]

    def series(self) -> list[Document]:
        """Return each series of bars: key, width, dataset, instrument_id, ``ts_first``, ``ts_last`` (ns)."""
        return self._rows(_SERIES)

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each table."""
        query = ", ".join(f"(SELECT count(*) FROM {table}) AS {table}" for table in TABLES)  # noqa: S608
        return self._rows(f"SELECT {query}")[0]

    def counters(self) -> list[Document]:
        """Return what the flows counted: flow, source, partition, name, value."""
        return self._rows("SELECT flow, source, partition, name, value FROM counters ORDER BY 1, 2, 3, 4")

    def totals(self) -> dict[str, int]:
        """Return the counters summed over flows and partitions, by name."""
        rows = self._rows("SELECT name, sum(value) AS value FROM counters GROUP BY name ORDER BY name")
        return {row["name"]: row["value"] for row in rows}

    def by_detector(self) -> list[Document]:
        """Return ``detector``, ``anomalies`` (their number), ``max_severity``, ``ts_last``; most first."""
        return self._rows(
            "SELECT detector, count(*) AS anomalies, max(severity) AS max_severity, max(ts_event) AS ts_last "
            "FROM anomalies GROUP BY detector ORDER BY anomalies DESC, detector"
        )

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last event time (ns) of bars and anomalies, None without any."""
        ends = [(row["ts_first"], row["ts_last"]) for row in self.series()]
        found = self._rows("SELECT min(ts_start) AS first, max(ts_event) AS last FROM anomalies")[0]
        if found["first"] is not None:
            ends.append((found["first"], found["last"]))
        if not ends:
            return None
        return min(first for first, _ in ends), max(last for _, last in ends)

    def rates(self) -> Document:
        """Return ``records``, ``ts_first``, ``ts_last`` (ns or None) and how many a stretch of tape has.

        ``records_per_second`` and ``anomalies_per_day`` are None where nothing is stored.
        """
        records = self.totals().get("records", 0)
        span = self.span()
        anomalies = self._rows("SELECT count(*) AS number FROM anomalies")[0]["number"]
        seconds = (span[1] - span[0]) / 1e9 if span else 0.0
        return {
            "records": records,
            "ts_first": span[0] if span else None,
            "ts_last": span[1] if span else None,
            "records_per_second": records / seconds if seconds else None,
            "anomalies_per_day": anomalies / seconds * 86_400 if seconds else None,
        }

    def close(self) -> None:
        """Close the file, once no other thread is reading from it."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
