"""Reviews from a Kafka topic: what is on it at the start at once, and what comes later as it comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import confluent_kafka as ck
import orjson

from connectors.kafka_client import Errors, configuration, ensure_topic, open_client
from connectors.kafka_dead_letters import DeadLetters, ensure_dead_letter_topic
from connectors.kafka_published import Since
from connectors.kafka_received import Letter
from connectors.transaction_reviews import Arrived, Arriving, review_of
from tapewatch.log import log
from tapewatch.records import DAY
from tapewatch.settings import KafkaSettings

_AT_ONCE = 1_000
_IMPOSSIBLE = "impossible_time"


class TopicReviews(Arriving):
    """The reviews of a topic, messages of JSON; those that are none go to its dead letters.

    What is there when it is first asked is read to its end, so that nothing is judged without it.

    Parameters
    ----------
    settings
        The section ``transactions.kafka``: its brokers and options.
    topic
        The topic, which is created if it is not there.

    Raises
    ------
    UserError
        If no broker answers or lets us in.
    """

    def __init__(self, settings: KafkaSettings, topic: str) -> None:
        super().__init__()
        self._settings = settings.model_copy(update={"topic": topic, "dead_letter_topic": ""})
        ensure_topic(self._settings, topic)
        ensure_dead_letter_topic(self._settings)
        self._lock = threading.Lock()
        self._consumer: ck.Consumer | None = None
        self._dead: dict[int, DeadLetters] = {}

    def look(self) -> None:
        """Take in what has come since, without waiting for more."""
        with self._lock:
            if self._consumer is None:
                self._consumer = self._begin()
            while messages := self._consumer.consume(_AT_ONCE, 0.0):
                self._take([message for message in messages if not self._is_trouble(message)])

    def _begin(self) -> ck.Consumer:
        since = Since(self._settings, self._settings.topic, {})
        some: list[ck.Message] = []
        for message in since:
            some.append(message)
            if len(some) == _AT_ONCE:
                self._take(some, letters=False)
                some = []
        self._take(some, letters=False)
        errors = Errors(self._settings)
        errors.told = True
        own = {
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
        }
        properties = {**configuration(self._settings, group_id=self._settings.group), **own}
        consumer = open_client(ck.Consumer, properties, errors)
        topic = self._settings.topic
        consumer.assign([ck.TopicPartition(topic, number, end) for number, end in since.ends.items()])
        return consumer

    def _is_trouble(self, message: ck.Message) -> bool:
        error = message.error()
        if error is not None:
            log.warning("the reviews in %s: %s; trying on", self._settings.topic, error.str())
        return error is not None

    def _take(self, messages: Sequence[ck.Message], *, letters: bool = True) -> None:
        latest = time.time_ns() + DAY
        found = []
        for message in messages:
            value = message.value()
            try:
                document = orjson.loads(value or b"")
            except orjson.JSONDecodeError:
                document = None
            review = review_of(document) if isinstance(document, dict) else None
            if review is not None and review.reviewed_at <= latest:
                found.append(Arrived((message.partition(), message.offset()), review))
            elif letters:
                # What was there before is read again at each start, and would be told again.
                self._put_aside(message, _IMPOSSIBLE if review is not None else "it is no review")
        self._take_in(found)

    def _put_aside(self, message: ck.Message, reason: str) -> None:
        dead = self._dead.setdefault(message.partition(), DeadLetters(self._settings, message.partition()))
        letter = Letter(message.key(), message.value(), message.headers() or [], message.offset())
        dead.send(letter, reason)
        dead.flush()
