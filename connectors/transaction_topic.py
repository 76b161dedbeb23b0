"""A Kafka topic of transactions in JSON as a Bytewax source; what cannot be read goes to dead letters.

The topic must be keyed by user: a user's transactions then are in one partition, in their order.
"""

from __future__ import annotations

import time
from bisect import bisect_right

import numpy as np

from connectors.kafka_partition import KafkaPartition, TopicSource
from connectors.kafka_received import Received
from connectors.kafka_state import DatasetState, PartitionState
from connectors.transaction_files import parse_messages
from connectors.transaction_source import read_reviews_of
from tapewatch.records import DAY
from tapewatch.settings import TransactionSettings
from tapewatch.transactions import Review, Transactions


class TransactionPartition(KafkaPartition[Transactions]):
    """Reads one partition as fast as the results follow."""

    def __init__(
        self, settings: TransactionSettings, number: int, slots: int, state: PartitionState,
        reviews: list[Review],
    ) -> None:  # fmt: skip
        super().__init__(settings.kafka, number, settings.source.batch_records, slots, state)
        self._columns, self._reviews = settings.columns, reviews

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
            self._dead.send(received.letter(place), error)
        if rejected:
            known.count({"dead_letters": len(rejected)})
        self._per_message = 1.0
        self._state.offset = received.offsets[-1] + 1
        if not len(parsed.ids):
            return []
        known.count({"records": len(parsed.ids)})
        before, known.clock = known.clock, max(known.clock, int(parsed.times.max()))
        due = tuple(self._reviews[self._due(before) : self._due(known.clock)])
        account = self._account("")
        batch = Transactions(
            f"{self._settings.topic}/{self._number}", account.seq, parsed.ids, parsed.users, parsed.times,
            parsed.amounts, parsed.words, parsed.numbers, due, dict(known.counters), account.credit.path,
            before,
        )  # fmt: skip
        account.seq += 1
        return [batch]

    def _due(self, clock: int) -> int:
        """Return how many reviews act by then; they are in the order of their times."""
        return bisect_right(self._reviews, clock, key=lambda review: review.reviewed_at)

    def _overtaken(self) -> list[Transactions]:
        return []


class TransactionTopic(TopicSource[Transactions]):
    """All partitions of ``transactions.kafka.topic``.

    Parameters
    ----------
    settings
        The section ``transactions``.
    slots
        How many consumers acknowledge each batch.

    Raises
    ------
    UserError
        If no broker answers or lets us in, or there is no such topic.
    """

    def __init__(self, settings: TransactionSettings, slots: int) -> None:
        self._transactions, self._reviews = settings, read_reviews_of(settings)
        self._slots = slots
        super().__init__(settings.kafka)

    def _partition(self, number: int, state: PartitionState) -> TransactionPartition:
        return TransactionPartition(self._transactions, number, self._slots, state, self._reviews)
