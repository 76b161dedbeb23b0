"""What is in a topic already: so that whoever was interrupted knows where to go on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

import confluent_kafka as ck

from connectors.kafka_client import PATIENCE, Errors, configuration, metadata, open_client
from tapewatch.errors import UserError
from tapewatch.settings import KafkaSettings

_AT_ONCE = 1_000
_WAIT_SECONDS = 0.1


def ends(settings: KafkaSettings, topic: str) -> dict[int, int]:
    """Return the offset behind the last message of each partition.

    Raises
    ------
    UserError
        If the brokers cannot be asked.
    """
    errors = Errors(settings)
    consumer = _consumer(settings, errors)
    try:
        return {number: high for number, (_, high) in _bounds(consumer, errors, topic).items()}
    finally:
        consumer.close()


def published(
    settings: KafkaSettings, topic: str, since: Mapping[int, int], replay: str
) -> tuple[Counter[str], dict[int, int]]:
    """Return how many records of a replay there are behind some offsets, and where that count ends.

    They are counted by dataset and key (see `counted_as`).

    Messages of one producer stay in their order within a partition, and a key within its partition; so these
    are the first records of the key that come behind what was confirmed at ``since``.

    Parameters
    ----------
    settings, topic, since
        As of `Since`.
    replay
        What the messages' header ``replay`` must be.

    Raises
    ------
    UserError
        If the brokers cannot be asked, or stop answering.
    """
    counts: Counter[str] = Counter()
    reader = Since(settings, topic, since)
    for message in reader:
        if ("replay", replay.encode()) in (message.headers() or ()):
            dataset = dict(message.headers()).get("dataset", b"").decode()
            counts[counted_as(dataset, message.key().decode())] += _records(message)
    return counts, reader.ends


class Since:
    """The messages of a topic behind some offsets, up to where it ends now, partition by partition in order.

    Parameters
    ----------
    settings
        How to reach the brokers.
    topic
        Where the messages are.
    since
        Offset to begin at by partition; partitions that are not in it are read from their beginning.

    Attributes
    ----------
    ends
        The offset behind the last message of each partition; known once iteration has begun.
    """

    def __init__(self, settings: KafkaSettings, topic: str, since: Mapping[int, int]) -> None:
        self._settings, self._topic, self._since = settings, topic, since
        self.ends: dict[int, int] = {}

    def __iter__(self) -> Iterator[ck.Message]:
        errors = Errors(self._settings)
        consumer = _consumer(self._settings, errors)
        try:
            yield from self._messages(consumer, errors)
        finally:
            consumer.close()

    def _messages(self, consumer: ck.Consumer, errors: Errors) -> Iterator[ck.Message]:
        topic, left = self._topic, {}
        for number, (low, high) in _bounds(consumer, errors, topic).items():
            self.ends[number] = high
            begin = max(low, self._since.get(number, 0))
            if begin < high:
                left[number] = begin
        consumer.assign([ck.TopicPartition(topic, number, begin) for number, begin in left.items()])
        heard = time.monotonic()
        while left:
            # It waits until there are as many as are asked for.
            expected = sum(self.ends[number] - offset for number, offset in left.items())
            messages = consumer.consume(min(expected, _AT_ONCE), _WAIT_SECONDS)
            if messages:
                heard = time.monotonic()
            elif time.monotonic() - heard > PATIENCE:
                raise errors.unreachable()
            for message in messages:
                if message.error() is not None:
                    found = errors.cleaned(message.error().str())
                    raise UserError(f"the topic {topic} cannot be read: {found}")
                number = message.partition()
                if message.offset() < self.ends[number]:
                    yield message
                if message.offset() + 1 >= self.ends[number]:
                    left.pop(number, None)
                else:
                    left[number] = message.offset() + 1


def counted_as(dataset: str, key: str) -> str:
    """Return the name under which records of a key are counted.

    >>> counted_as("EQUS.MINI", "SPY")
    'EQUS.MINI|SPY'
    """
    return f"{dataset}|{key}"


def _records(message: ck.Message) -> int:
    value: bytes = message.value()
    # A DBN record begins with its length in units of four bytes.
    return len(value) // (4 * value[0]) if ("encoding", b"dbn") in message.headers() else 1


def _consumer(settings: KafkaSettings, errors: Errors) -> ck.Consumer:
    own = {"auto.offset.reset": "earliest", "enable.auto.commit": False, "enable.partition.eof": False}
    return open_client(
        ck.Consumer, {**configuration(settings, group_id=f"{settings.group}-replay"), **own}, errors
    )


def _bounds(consumer: ck.Consumer, errors: Errors, topic: str) -> dict[int, tuple[int, int]]:
    """Return the first offset of each partition and that behind its last."""
    bounds = {}
    end = time.monotonic() + PATIENCE
    waiting = list(metadata(consumer, errors, topic).topics[topic].partitions)
    while waiting:
        try:
            bounds[waiting[-1]] = consumer.get_watermark_offsets(ck.TopicPartition(topic, waiting[-1]), 1.0)
            waiting.pop()
        except ck.KafkaException as error:
            # A partition that has just been made or moved has no leader for a moment.
            if time.monotonic() > end:
                found = errors.cleaned(error.args[0].str())
                raise UserError(f"the topic {topic} cannot be read: {found}") from None
            time.sleep(0.1)
    return bounds
