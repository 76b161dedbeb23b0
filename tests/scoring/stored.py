"""A store in which the transaction flow has left what it knows after some payments, and the flow going on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import orjson

from connectors.sqlite import SqliteWriter
from operators.measured import Measured
from operators.transaction_detectors import transaction_detectors
from operators.transaction_feedback import FeedbackSettings
from operators.transaction_history import History
from operators.transaction_judge import Part, TransactionJudge
from operators.transaction_scoring import TransactionJudgeSettings
from tapewatch.documents import Results
from tapewatch.records import DAY
from tapewatch.settings import Settings
from tapewatch.transactions import Review
from tests.connectors.made_payments import payments, simulated

IDLE = 180 * DAY


def settings(path: Path) -> Settings:
    """Return settings whose store is this file."""
    return Settings(sinks={"sqlite": {"path": str(path)}})


def rows(first: int = 0, last: int | None = None) -> list[dict[str, Any]]:
    """Return simulated payments as messages."""
    return [orjson.loads(line) for _, line in list(simulated().lines())[first:last]]


def reviews() -> tuple[Review, ...]:
    """Return reviews of the simulated payments, those that were made strange being frauds, two days later."""
    return tuple(
        Review(name, int(bool(kind)), int(ts) + 2 * DAY + 12_345)
        for name, kind, ts in zip(payments().ids, simulated().kinds, payments().times, strict=True)
        if kind or int(ts) % 7 == 0
    )


class Flow:
    """The transaction flow in this process: judges payments row by row, and publishes when asked.

    Parameters
    ----------
    reviewed
        Whether reviews teach it.
    personal
        Whether profiles are asked.
    partition
        What its source partition is called.
    """

    def __init__(
        self, *, reviewed: bool = False, personal: bool = True, partition: str = "p", **changes: Any
    ) -> None:
        feedback = FeedbackSettings(2_000, 3 * DAY, 0.1) if reviewed else None
        self.wanted = TransactionJudgeSettings(
            transaction_detectors(changes), 20.0, personal, True, "", feedback, idle_ns=IDLE
        )
        self.history, self.judge = History(IDLE), TransactionJudge(self.wanted)
        self.reviews = list(reviews()) if reviewed else []
        self.at, self.clock, self.partition = 0, 0, partition

    def until(self, place: int) -> list[Results]:
        """Judge the payments from where it is up to this one, in one batch."""
        until = max(self.clock, int(payments().times[self.at : place].max()))
        due = tuple(review for review in self.reviews if self.clock < review.reviewed_at <= until)
        batch = payments().part(
            np.arange(self.at, place),
            seq=self.at, clock=self.clock, partition=self.partition, reviews=due,
        )  # fmt: skip
        measured = self.history.measure(batch)
        found = self.judge.on_batch(batch)
        if self.wanted.personal:
            told = tuple(Measured(*row) for row in measured.tolist())
            found += self.judge.on_part(Part(self.at, tuple(range(len(batch))), told, None))
        self.at, self.clock = place, until
        return found

    def publish(self, path: Path) -> None:
        """Write what is known now into a store."""
        with SqliteWriter(path) as writer:
            writer.write(self.known())

    def known(self) -> list[Results]:
        """Return what is known now as results."""
        profiles = [
            profile.document(user, self.partition) for user, profile in sorted(self.history.profiles.items())
        ]
        return [Results("", 0, "", "transactions", profiles=profiles), self.judge.last()]
