"""Anomalies to a Kafka topic, as JSON.

A message has the instrument's symbol as its key, so that an anomaly's messages keep their order, and its id
in the header ``id``. Of each id the message with the highest ``revision`` stands, the last of equal ones. A
message without a value takes back what was told of an id: an unfinished window that turned out to be no
anomaly. What is written again after a crash is what was written before.

Users' profiles, which the transaction flow makes, go to a topic of their own, with the user as key: of each
the last message stands.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import orjson
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.kafka_client import ensure_topic
from connectors.kafka_early import EarlyMarks, header_of
from connectors.kafka_sender import Headers, Sender
from tapewatch import stopping
from tapewatch.documents import (
    ANOMALY_FIELDS,
    PROFILE_FIELDS,
    Payment,
    Results,
    anomaly_row,
    profile_document,
    to_json,
)
from tapewatch.errors import UserError
from tapewatch.settings import KafkaSettings

_DETECTED_AT, _USER = ANOMALY_FIELDS.index("detected_at"), PROFILE_FIELDS.index("user_id")


class KafkaSinkPartition(StatefulSinkPartition[Results, dict[str, Any]]):
    """Hands anomalies to the brokers as they come; an epoch ends when all of them have arrived."""

    def __init__(
        self,
        sender: Sender,
        marks: EarlyMarks,
        acknowledge: Callable[[Results], None] | None,
        profiles: Sender | None = None,
    ) -> None:
        self._sender, self._marks, self._acknowledge = sender, marks, acknowledge
        self._profiles = profiles

    def write_batch(self, values: list[Results]) -> None:
        """Send the anomalies of each batch, what is taken back first, and acknowledge it."""
        for results in values:
            self._write(results)
            if self._acknowledge is not None:
                self._acknowledge(results)
        self._sender.poll()
        if self._profiles is not None:
            self._profiles.poll()

    def _write(self, results: Results) -> None:
        # In order: what a killed run told, what this one told and takes back, what is told now.
        for key, settled in self._marks.settle(results):
            self._sender.send(key.encode(), None, [("id", settled.id.encode())])
            if settled.row is not None:
                self._tell(settled.id, key, settled.row, [])
        for name, key in results.taken_back.items():
            self._sender.send(key.encode(), None, [("id", name.encode())])
        early = {each.id: each for each in results.early}
        for anomaly in results.anomalies:
            headers: Headers = []
            if anomaly.id in early:
                headers.append(("early", header_of(results.flow, self._marks.source, early[anomaly.id])))
            self._tell(anomaly.id, anomaly.key, anomaly_row(anomaly), headers, anomaly.payment)
        if self._profiles is not None:
            for profile in results.profiles:
                value = orjson.dumps(profile_document(profile), option=orjson.OPT_SERIALIZE_NUMPY)
                self._profiles.send(str(profile[_USER]).encode(), value, [])

    def _tell(
        self, name: str, key: str, row: tuple[Any, ...], headers: Headers, payment: Payment | None = None
    ) -> None:
        moment = row[_DETECTED_AT] or time.time_ns()
        document = to_json(ANOMALY_FIELDS, (*row[:_DETECTED_AT], moment, *row[_DETECTED_AT + 1 :]))
        if payment is not None:
            document |= payment._asdict()
        value = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
        self._sender.send(key.encode(), value, [("id", name.encode()), *headers])

    def snapshot(self) -> dict[str, Any]:
        """Wait until all has arrived: only then may the epoch be over."""
        self._flush()
        self._marks.ends |= self._sender.ends
        return self._marks.snapshot()

    def close(self) -> None:
        """Wait until all has arrived."""
        self._flush()

    def _flush(self) -> None:
        self._sender.flush()
        if self._profiles is not None:
            self._profiles.flush()


class KafkaSink(FixedPartitionedSink[Results, dict[str, Any]]):
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
    source
        Name of the stream (``source.name``).
    profiles
        The topic of users' profiles, which is created if it is not there; empty for none.

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
        source: str = "",
        profiles: str = "",
    ) -> None:
        self._settings, self._topic, self._writers = settings, topic, writers
        self._acknowledge, self._source, self._profiles = acknowledge, source, profiles
        ensure_topic(settings, topic)
        if profiles:
            ensure_topic(settings, profiles, config={"cleanup.policy": "compact"})

    def list_parts(self) -> list[str]:
        """Return the names of the parts."""
        return [f"kafka/{number}" for number in range(self._writers)]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> KafkaSinkPartition:
        """Open a producer where the part is to run, knowing what is on the topic."""
        marks = EarlyMarks(self._source)
        marks.resume(resume_state)
        try:
            marks.follow(self._settings, self._topic)
        except UserError as error:
            stopping.abort(f"{error}; then start again")
        profiles = Sender(self._settings, self._profiles) if self._profiles else None
        return KafkaSinkPartition(Sender(self._settings, self._topic), marks, self._acknowledge, profiles)
