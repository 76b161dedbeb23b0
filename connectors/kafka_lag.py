"""How far the flow is behind a topic, as a metric beside Bytewax's own."""

from __future__ import annotations

import time

import confluent_kafka as ck
from prometheus_client import Gauge

_EVERY_SECONDS = 1.0
#: Registered with the library's own registry, which Bytewax serves too.
MESSAGES = Gauge(
    "tapewatch_kafka_lag_messages",
    "Messages of a partition that have not been read yet.",
    ["topic", "partition"],
)


class Lag:
    """The lag of one partition.

    Parameters
    ----------
    consumer
        What reads the partition; the end of it is what the latest answer of the broker said.
    topic, number
        The partition.
    """

    def __init__(self, consumer: ck.Consumer, topic: str, number: int) -> None:
        self._consumer, self._partition = consumer, ck.TopicPartition(topic, number)
        self._gauge = MESSAGES.labels(topic, str(number))
        self._next = 0.0

    def update(self, offset: int) -> None:
        """Tell that ``offset`` is the next message to be read; at most once a second."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _EVERY_SECONDS
        low, high = self._consumer.get_watermark_offsets(self._partition, cached=True)
        if high >= 0:
            self._gauge.set(max(high - max(offset, low, 0), 0))
