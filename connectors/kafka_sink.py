"""Anomalies to a Kafka topic, as JSON.

A message has the instrument's symbol as its key, so that an anomaly's messages keep their order, and its id
in the header ``id``. Of each id the message with the highest ``revision`` stands, the last of equal ones. A
message without a value takes back what was told of an id: an unfinished window that turned out to be no
anomaly. What is written again after a crash is what was written before.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import orjson
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.kafka_client import ensure_topic
from connectors.kafka_sender import Sender
from tapewatch.documents import ANOMALY_FIELDS, Results, anomaly_row, to_json
from tapewatch.settings import KafkaSettings


class KafkaSinkPartition(StatefulSinkPartition[Results, None]):
    """Hands anomalies to the brokers as they come; an epoch ends when all of them have arrived."""

    def __init__(self, sender: Sender, acknowledge: Callable[[Results], None] | None) -> None:
        self._sender, self._acknowledge = sender, acknowledge

    def write_batch(self, values: list[Results]) -> None:
        """Send the anomalies of each batch, what is taken back first, and acknowledge it."""
        for results in values:
            for name, key in results.taken_back.items():
                self._sender.send(key.encode(), None, [("id", name.encode())])
            for anomaly in results.anomalies:
                told = replace(anomaly, detected_at=anomaly.detected_at or time.time_ns())
                document = to_json(ANOMALY_FIELDS, anomaly_row(told))
                value = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
                self._sender.send(anomaly.key.encode(), value, [("id", anomaly.id.encode())])
            if self._acknowledge is not None:
                self._acknowledge(results)
        self._sender.poll()

    def snapshot(self) -> None:
        """Wait until all has arrived: only then may the epoch be over."""
        self._sender.flush()

    def close(self) -> None:
        """Wait until all has arrived."""
        self._sender.flush()


class KafkaSink(FixedPartitionedSink[Results, None]):
    """Takes ``(key, Results)`` and sends the anomalies to a topic, from all workers.

    Parameters
    ----------
    settings
        The section ``kafka``.
    topic
        The topic, which is created if it is not there.
    writers
        How many parts the sink has, to be spread over the workers.
    acknowledge
        Called with each `Results` once its anomalies are on their way; they are sent until they arrive.

    Raises
    ------
    UserError
        If no broker answers or lets us in, or the topic cannot be created.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topic: str,
        writers: int,
        acknowledge: Callable[[Results], None] | None = None,
    ) -> None:
        self._settings, self._topic, self._writers = settings, topic, writers
        self._acknowledge = acknowledge
        ensure_topic(settings, topic)

    def list_parts(self) -> list[str]:
        """Return the names of the parts."""
        return [f"kafka/{number}" for number in range(self._writers)]

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> KafkaSinkPartition:
        """Open a producer where the part is to run."""
        return KafkaSinkPartition(Sender(self._settings, self._topic), self._acknowledge)
