"""A Kafka topic of transactions in JSON as a Bytewax source; what cannot be read goes to dead letters.

The topic must be keyed by user: a user's transactions then are in one partition, in their order.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from connectors.kafka_partition import KafkaPartition, TopicSource
from connectors.kafka_received import Received
from connectors.kafka_state import DatasetState, PartitionState
from connectors.transaction_files import parse_messages
from connectors.transaction_reviews import ReviewFeed, ReviewSources
from tapewatch.pseudonyms import pseudonyms_of
from tapewatch.records import DAY
from tapewatch.settings import Settings, TransactionSettings
from tapewatch.transactions import Transactions

_UNREADABLE = "it cannot be read; what it holds is kept from this topic"


class TransactionPartition(KafkaPartition[Transactions]):
    """Reads one partition as fast as the results follow."""

    def __init__(
        self, settings: TransactionSettings, number: int, slots: int, state: PartitionState,
        reviews: ReviewFeed,
    ) -> None:  # fmt: skip
        super().__init__(settings.kafka, number, settings.source.batch_records, slots, state)
        self._columns, self._reviews = settings.columns, reviews
        self._pseudonyms = pseudonyms_of(settings)

    def _tapes(self, received: Received) -> list[Transactions]:
        parsed = parse_messages(received.values, self._columns)
        rejected = list(parsed.faults)
        # One message from the future must not end everybody's day.
        future = parsed.times > time.time_ns() + DAY
        if future.any():
            rejected += [(int(place), "impossible_time") for place in parsed.places[future].tolist()]
            parsed = parsed.part(np.flatnonzero(~future))
        empty = set(range(len(received))) - set(parsed.places.tolist()) - {place for place, _ in rejected}
        rejected += [(place, "it is empty") for place in sorted(empty)]
        known = self._state.datasets.setdefault("", DatasetState())
        for place, error in sorted(rejected):
            letter = received.letter(place)
            if self._pseudonyms is not None:
                # Where it is in the topic is told; what it holds stays there.
                letter, error = letter._replace(key=None, value=None, headers=None), _UNREADABLE
            self._dead.send(letter, error)
        if rejected:
            known.count({"dead_letters": len(rejected)})
        self._per_message = 1.0
        self._state.offset = received.offsets[-1] + 1
        if not len(parsed.ids):
            return []
        known.count({"records": len(parsed.ids)})
        before, known.clock = known.clock, max(known.clock, int(parsed.times.max()))
        due = self._reviews.take(before, known.clock)
        account = self._account("")
        users = parsed.users if self._pseudonyms is None else self._pseudonyms.all_of(parsed.users)
        batch = Transactions(
            f"{self._settings.topic}/{self._number}", account.seq, parsed.ids, users, parsed.times,
            parsed.amounts, parsed.words, parsed.numbers, due, dict(known.counters), account.credit.path,
            before,
        )  # fmt: skip
        account.seq += 1
        return [batch]

    def snapshot(self) -> dict[str, Any]:
        """Return the position in the topic, and which reviews have come."""
        return {**super().snapshot(), "reviews": self._reviews.snapshot()}

    def _overtaken(self) -> list[Transactions]:
        return []


class TransactionTopic(TopicSource[Transactions]):
    """All partitions of ``transactions.kafka.topic``.

    Parameters
    ----------
    settings
        All of them; the section ``transactions`` says what is read.
    slots
        How many consumers acknowledge each batch.

    Raises
    ------
    UserError
        If no broker answers or lets us in, or there is no such topic.
    """

    def __init__(self, settings: Settings, slots: int) -> None:
        self._transactions, self._slots = settings.transactions, slots
        pseudonyms_of(self._transactions)
        self._reviews = ReviewSources(settings)
        super().__init__(self._transactions.kafka)

    def _partition(
        self, number: int, state: PartitionState, resume: dict[str, Any] | None
    ) -> TransactionPartition:
        feed = self._reviews.feed(None if resume is None else resume.get("reviews"))
        return TransactionPartition(self._transactions, number, self._slots, state, feed)
