"""Simulated payments to a Kafka topic, at full speed or as they would happen: a Quix Streams source."""

from __future__ import annotations

import time
from dataclasses import dataclass

from connectors.kafka_client import ensure_topic
from connectors.transaction_simulator import TransactionSimulation, simulate_transactions
from flows.publishing import Publisher, die_with_parent, run
from tapewatch.errors import UserError
from tapewatch.settings import KafkaSettings

_GROUP = "tapewatch-simulate"
_NAP_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """What to simulate, where to, and how fast (None: at once)."""

    simulation: TransactionSimulation
    kafka: KafkaSettings
    topic: str
    speed: float | None


class PaymentSource(Publisher):
    """Publishes simulated payments, keyed by user, so that each user's stay in their order.

    It runs in a process of its own, which Quix Streams starts.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(name=job.topic, shutdown_timeout=60)
        self._job = job

    def run(self) -> None:
        """Publish all of them, or until stopped."""
        die_with_parent()
        made, speed = simulate_transactions(self._job.simulation), self._job.speed
        begin, sent = time.monotonic(), 0
        first = int(made.times[0]) if len(made) else 0
        for ts, (user, value) in zip(made.times.tolist(), made.lines(), strict=True):
            while speed is not None and self.wanted and (
                (ts - first) / 1e9 / speed > time.monotonic() - begin
            ):  # fmt: skip
                time.sleep(_NAP_SECONDS)
            if not self.wanted:
                break
            self.produce(key=user, value=value)
            sent += 1
        self.flush()
        print(f"{self._job.topic}: {sent:,} of {len(made):,} transactions")


def publish(job: Job, partitions: int = -1) -> None:
    """Publish simulated payments; the topic is made if it is missing.

    Raises
    ------
    UserError
        If the brokers cannot be reached, the simulation cannot be made, or the topic has another number of
        partitions.
    RuntimeError
        If the brokers stop taking messages.
    """
    there = ensure_topic(job.kafka, job.topic, partitions)
    if partitions not in (-1, there):
        raise UserError(f"`--partitions` is {partitions}, but the topic {job.topic} has {there} already")
    run(PaymentSource(job), job.kafka, job.topic, _GROUP, "the simulation")
