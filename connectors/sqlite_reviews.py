"""What people said of anomalies, in the embedded store."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

from connectors.sqlite_schema import committing, explain, open_for_reading, open_for_writing
from tapewatch.errors import UserError

_NAMES = "anomaly_id, label, reviewer, notes, reviewed_at"
# The same review told twice is one.
_INSERT = (
    f"INSERT INTO reviews ({_NAMES}) SELECT :anomaly_id, :label, :reviewer, :notes, :reviewed_at "  # noqa: S608
    "WHERE NOT EXISTS (SELECT 1 FROM reviews WHERE anomaly_id = :anomaly_id AND label = :label "
    "AND reviewer IS :reviewer AND notes IS :notes AND reviewed_at = :reviewed_at)"
)


@dataclass(frozen=True, slots=True)
class Review:
    """One person's word on one anomaly: ``label`` 1 confirmed, 0 false alarm; ``reviewed_at`` in ns."""

    anomaly_id: str
    label: int
    reviewer: str | None
    notes: str | None
    reviewed_at: int


class Placed(NamedTuple):
    """A review and its place in the list, ``(reviewed_at, row number)``."""

    review: Review
    place: tuple[int, int]


def add_review(path: Path, review: Review) -> bool:
    """Write a review; return whether there is an anomaly of that id, without which nothing is written.

    Raises
    ------
    UserError
        If the store cannot be written, or another program holds it for more than 30 s.
    """
    connection = open_for_writing(path)
    try:
        with contextlib.closing(connection):
            connection.execute("BEGIN IMMEDIATE")
            with committing(connection):
                if not connection.execute(
                    "SELECT 1 FROM anomalies WHERE id = ?", (review.anomaly_id,)
                ).fetchone():
                    return False
                connection.execute(_INSERT, asdict(review))
    except sqlite3.Error as error:
        raise UserError(explain(error, path)) from error
    return True


def review_page(
    path: Path, *, anomaly_id: str | None = None, after: tuple[int, int] | None = None, limit: int = 100
) -> list[Placed]:
    """Return the next ``limit`` reviews of anomalies, newest first, each with its place.

    Parameters
    ----------
    path
        The database file.
    anomaly_id
        Only those of this anomaly.
    after
        The place of the last one of the page before this one, None for the first.
    limit
        Most rows to return.

    Raises
    ------
    UserError
        If there is no store, or it cannot be read.
    """
    given: dict[str, Any] = {"anomaly_id": anomaly_id, "limit": limit}
    texts = ["anomaly_id IS NOT NULL" if anomaly_id is None else "anomaly_id = :anomaly_id"]
    if after is not None:
        texts.append("(reviewed_at, rowid) < (:at_time, :at_row)")
        given |= {"at_time": after[0], "at_row": after[1]}
    query = (
        f"SELECT {_NAMES}, rowid FROM reviews WHERE {' AND '.join(texts)} "  # noqa: S608
        "ORDER BY reviewed_at DESC, rowid DESC LIMIT :limit"
    )
    try:
        with contextlib.closing(open_for_reading(path)) as connection:
            rows = connection.execute(query, given).fetchall()
    except sqlite3.Error as error:
        raise UserError(explain(error, path)) from error
    return [Placed(Review(*row[:-1]), (row[-2], row[-1])) for row in rows]
