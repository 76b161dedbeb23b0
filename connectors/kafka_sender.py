"""Messages on their way to a topic, each sent until it has arrived, in their order."""

from __future__ import annotations

import time
from typing import TypeAlias

import confluent_kafka as ck

from connectors.kafka_client import Errors, configuration, open_client
from tapewatch.log import log
from tapewatch.settings import KafkaSettings

_LARGEST = 16 << 20
_PAUSE_SECONDS = 1.0
_TOO_LARGE = (ck.KafkaError.MSG_SIZE_TOO_LARGE, ck.KafkaError.RECORD_LIST_TOO_LARGE)

Headers: TypeAlias = list[tuple[str, bytes | None]]


class Sender:
    """Sends messages to one topic: idempotent, confirmed by all replicas, tried again until they arrive.

    Parameters
    ----------
    settings
        The section ``kafka``.
    topic
        Where to.
    most_bytes
        What is kept of a message that the brokers find too large; its header ``truncated`` tells its length.
    """

    def __init__(self, settings: KafkaSettings, topic: str, most_bytes: int = 512 << 10) -> None:
        self._topic, self._most_bytes = topic, most_bytes
        #: By partition: the offset behind the last message that has arrived.
        self.ends: dict[int, int] = {}
        self._errors = Errors(settings)
        self._errors.told = True
        self._returned: list[tuple[bytes | None, bytes | None, Headers, ck.KafkaError]] = []
        properties = {
            "linger.ms": 5,
            "message.max.bytes": _LARGEST,
            **configuration(settings, enable_idempotence=True, message_timeout_ms=0),
        }
        self._producer = open_client(ck.Producer, properties, self._errors)

    def send(self, key: bytes | None, value: bytes | None, headers: Headers) -> None:
        """Hand over a message; waits only while very many are on their way."""

        def delivered(error: ck.KafkaError | None, message: ck.Message | None) -> None:
            if error is not None:
                self._returned.append((key, value, headers, error))
            elif message is not None:
                self._errors.answered()
                self.ends[message.partition()] = message.offset() + 1

        while True:
            try:
                self._producer.produce(self._topic, value, key, headers=headers, on_delivery=delivered)
                break
            except BufferError:
                self._producer.poll(0.1)
            except ck.KafkaException as error:
                # Larger than the client lets through.
                delivered(error.args[0], None)
                return
        self._producer.poll(0)

    def poll(self) -> None:
        """Take note of what has arrived."""
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until all that was sent has arrived."""
        while True:
            left = self._producer.flush(_PAUSE_SECONDS)
            again, self._returned = self._returned, []
            if not left and not again:
                return
            for key, value, headers, error in again:
                if error.code() in _TOO_LARGE and len(value or b"") > self._most_bytes:
                    headers = [*headers, ("truncated", b"%d" % len(value or b""))]
                    value = (value or b"")[: self._most_bytes]
                else:
                    log.error(
                        "a message to %s did not get through, trying again: %s",
                        self._topic,
                        self._errors.cleaned(error.str()),
                    )
                    time.sleep(_PAUSE_SECONDS)
                self.send(key, value, headers)
