"""Messages that cannot be read go to a topic of their own, with the reason and where they came from."""

from __future__ import annotations

import time
from collections.abc import Sequence

import confluent_kafka as ck

from connectors.kafka_client import Errors, configuration, ensure_topic, open_client
from tapewatch.log import log
from tapewatch.settings import KafkaSettings

_LARGEST = 16 << 20
#: What is kept of a message that the topic does not take whole.
_KEPT = 512 << 10
_PAUSE_SECONDS = 1.0
_LONGEST_REASON = 500

Headers = Sequence[tuple[str, bytes | None]] | None


def ensure_dead_letter_topic(settings: KafkaSettings) -> None:
    """Create the topic unless it is there; it takes messages of any size that others do.

    Raises
    ------
    UserError
        If it is not there and cannot be created.
    """
    ensure_topic(settings, settings.dead_letters, config={"max.message.bytes": str(_LARGEST)})


class DeadLetters:
    """Sends messages to the dead letters, each until it has arrived.

    Parameters
    ----------
    settings
        The section ``kafka``.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._errors = Errors(settings)
        self._errors.told = True
        self._producer: ck.Producer | None = None
        self._returned: list[tuple[bytes | None, bytes, list[tuple[str, bytes | None]], bool]] = []

    def send(self, message: ck.Message, error: str, value: bytes | None = None, schema: str = "") -> None:
        """Send a message, or with ``value`` and ``schema`` those of its records that are meant.

        Its headers are kept; ``error``, ``source_topic``, ``source_partition``, ``source_offset`` are added.
        """
        added: list[tuple[str, bytes | None]] = [
            ("error", error[:_LONGEST_REASON].encode()),
            ("source_topic", message.topic().encode()),
            ("source_partition", b"%d" % message.partition()),
            ("source_offset", b"%d" % message.offset()),
            *([("schema", schema.encode())] if schema else []),
        ]
        names = {name for name, _ in added}
        headers = [(name, said) for name, said in message.headers() or () if name not in names] + added
        self._produce(message.key(), (message.value() or b"") if value is None else value, headers)

    def _produce(
        self, key: bytes | None, value: bytes, headers: list[tuple[str, bytes | None]], cut: bool = False
    ) -> None:
        def delivered(error: ck.KafkaError | None, _: ck.Message) -> None:
            if error is None:
                self._errors.answered()
                return
            too_large = error.code() in (
                ck.KafkaError.MSG_SIZE_TOO_LARGE,
                ck.KafkaError.RECORD_LIST_TOO_LARGE,
            )
            if not too_large:
                found = self._errors.cleaned(error.str())
                log.error("a dead letter did not get through, trying again: %s", found)
            self._returned.append((key, value, headers, too_large and not cut))

        if self._producer is None:
            properties = {
                "linger.ms": 5,
                "message.timeout.ms": 0,
                "message.max.bytes": _LARGEST,
                **configuration(self._settings, enable_idempotence=True),
            }
            self._producer = open_client(ck.Producer, properties, self._errors)
        topic = self._settings.dead_letters
        while True:
            try:
                self._producer.produce(topic, value, key, headers=headers, on_delivery=delivered)
            except BufferError:
                self._producer.poll(0.1)
            except ck.KafkaException as error:
                # Refused before it was sent: larger than the client lets through.
                delivered(error.args[0], None)
                return
            else:
                self._producer.poll(0)
                return

    def flush(self) -> None:
        """Wait until all that was sent has arrived, however long that takes."""
        if self._producer is None:
            return
        while True:
            left = self._producer.flush(_PAUSE_SECONDS)
            again, self._returned = self._returned, []
            for key, value, headers, cut in again:
                if cut:
                    headers = [*headers, ("truncated", b"%d" % len(value))]
                    value = value[:_KEPT]
                self._produce(key, value, headers, cut=cut)
            if not left and not again:
                return
            if again and not any(cut for *_, cut in again):
                time.sleep(_PAUSE_SECONDS)
