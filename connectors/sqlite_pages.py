"""Anomalies of the embedded store page by page, each page as quick as the first however deep it is."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson

from connectors.sqlite_schema import explain, open_for_reading
from tapewatch.documents import ANOMALY_FIELDS
from tapewatch.errors import UserError

Document = dict[str, Any]
Order = Literal["newest", "oldest", "worst"]

_SELECT = f"SELECT {', '.join(ANOMALY_FIELDS)} FROM anomalies WHERE "  # noqa: S608 - names of our own
_ORDERS: dict[Order, str] = {
    "newest": "ts_event DESC, id",
    "oldest": "ts_event, id",
    "worst": "severity DESC, ts_event, id",
}
# The first term of each lets an index lead to the place, the second leaves out what was shown before it.
_BEHIND: dict[Order, str] = {
    "newest": "ts_event <= :at_time AND (ts_event < :at_time OR id > :at_id)",
    "oldest": "ts_event >= :at_time AND (ts_event > :at_time OR id > :at_id)",
    "worst": "severity <= :at_severity AND (severity < :at_severity OR (ts_event, id) > (:at_time, :at_id))",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: ``ts_event`` (ns), ``id`` and, where the order is by it, severity of its last."""

    ts_event: int
    id: str
    severity: float | None = None

    @classmethod
    def of(cls, anomaly: Document) -> Place:
        """Return the place of an anomaly."""
        return cls(anomaly["ts_event"], anomaly["id"], anomaly["severity"])


@dataclass(frozen=True, slots=True)
class AnomalyFilter:
    """Which anomalies: ``ts_event`` in ``[start, end)`` ns, and so on; None is any."""

    key: str | None = None
    detector: str | None = None
    min_severity: float | None = None
    start: int | None = None
    end: int | None = None

    def conditions(self) -> dict[str, tuple[str, Any]]:
        """Return, by name, the condition and value of each that is given."""
        every = {
            "key": ("key = :key", self.key),
            "detector": ("detector = :detector", self.detector),
            "min_severity": ("severity >= :min_severity", self.min_severity),
            "start": ("ts_event >= :start", self.start),
            "end": ("ts_event < :end", self.end),
        }
        return {name: given for name, given in every.items() if given[1] is not None}


def anomaly_page(
    path: Path, wanted: AnomalyFilter, order: Order = "newest", after: Place | None = None, limit: int = 100
) -> list[Document]:
    """Return the next ``limit`` anomalies in this order, times as ns.

    Parameters
    ----------
    path
        The database file.
    wanted
        Which anomalies.
    order
        Newest first, oldest first, or by severity, the worst first; equal ones in a fixed order.
    after
        Where the page before this one ended, None for the first.
    limit
        Most rows to return.

    Raises
    ------
    UserError
        If there is no store, or it cannot be read.
    """
    given = wanted.conditions()
    texts = [text for text, _ in given.values()]
    values = {name: value for name, (_, value) in given.items()}
    if after is not None:
        values |= {"at_time": after.ts_event, "at_id": after.id, "at_severity": after.severity}
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            if order != "worst":
                behind = [] if after is None else [_BEHIND[order]]
                return _rows(connection, [*texts, *behind], order, limit, values)
            return _worst(connection, texts, limit, values, after)
    except sqlite3.Error as error:
        raise UserError(explain(error, path)) from error


def _worst(
    connection: sqlite3.Connection,
    texts: list[str],
    limit: int,
    values: Mapping[str, Any],
    after: Place | None,
) -> list[Document]:
    # Anomalies without a severity come last, and in a query of their own, so that both can use the index.
    found: list[Document] = []
    if after is None or after.severity is not None:
        behind = "severity IS NOT NULL" if after is None else _BEHIND["worst"]
        found = _rows(connection, [*texts, behind], "worst", limit, values)
        after = None
    if len(found) < limit:
        behind = "severity IS NULL" + ("" if after is None else " AND (ts_event, id) > (:at_time, :at_id)")
        found += _rows(connection, [*texts, behind], "worst", limit - len(found), values)
    return found


def _rows(
    connection: sqlite3.Connection, texts: list[str], order: Order, limit: int, values: Mapping[str, Any]
) -> list[Document]:
    where = " AND ".join(texts) or "true"
    query = f"{_SELECT}{where} ORDER BY {_ORDERS[order]} LIMIT :limit"
    rows = connection.execute(query, {**values, "limit": limit}).fetchall()
    documents = [dict(zip(ANOMALY_FIELDS, row, strict=True)) for row in rows]
    for document in documents:
        document["contributions"] = orjson.loads(document["contributions"])
    return documents
