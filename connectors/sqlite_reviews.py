"""What people said of anomalies and transactions, in the embedded store."""

from __future__ import annotations

import contextlib
import sqlite3
from dataclasses import asdict, dataclass
from pathlib import Path

from connectors.sqlite_schema import committing, explain, open_for_writing
from tapewatch.errors import UserError

# A review is named by what it is of, by whom and when: told again it is one, told otherwise a correction.
_DELETE = (
    "DELETE FROM reviews WHERE anomaly_id IS :anomaly_id AND transaction_id IS :transaction_id "
    "AND reviewer IS :reviewer AND reviewed_at = :reviewed_at"
)
_INSERT = (
    "INSERT INTO reviews (anomaly_id, transaction_id, label, reviewer, notes, reviewed_at) "
    "VALUES (:anomaly_id, :transaction_id, :label, :reviewer, :notes, :reviewed_at)"
)


@dataclass(frozen=True, slots=True)
class Review:
    """One person's word on one anomaly, or on a transaction: ``label`` 1 confirmed, 0 false alarm.

    ``reviewed_at`` is in ns. Either ``anomaly_id`` or ``transaction_id`` is given.
    """

    anomaly_id: str | None
    label: int
    reviewer: str | None
    notes: str | None
    reviewed_at: int
    transaction_id: str | None = None


def add_review(path: Path, review: Review) -> bool:
    """Write a review; return whether there is an anomaly of that id, without which nothing is written.

    Of transactions only those that are anomalies are in the store, so one that is reviewed need not be.

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
                if (
                    review.anomaly_id is not None
                    and not connection.execute(
                        "SELECT 1 FROM anomalies WHERE id = ?", (review.anomaly_id,)
                    ).fetchone()
                ):
                    return False
                connection.execute(_DELETE, asdict(review))
                connection.execute(_INSERT, asdict(review))
    except sqlite3.Error as error:
        raise UserError(explain(error, path)) from error
    return True
