"""A partition of a Kafka topic as one of a Bytewax source, whatever its messages hold."""

from __future__ import annotations

import time
from abc import abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import confluent_kafka as ck
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.kafka_client import Errors, configuration, open_client, partitions
from connectors.kafka_dead_letters import DeadLetters, ensure_dead_letter_topic
from connectors.kafka_decoder import Decoder
from connectors.kafka_lag import Lag
from connectors.kafka_published import ends
from connectors.kafka_received import Received
from connectors.kafka_state import VERSION, PartitionState
from tapewatch import stopping
from tapewatch.credit import Credit
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.memory import collect_seldom
from tapewatch.settings import KafkaSettings

X = TypeVar("X")
#: Batches under way between a source partition and the slowest sink, which may be in another process, busy
#: with batches of its own.
_BATCHES_UNDER_WAY = 4
#: How long to wait for messages, and longer the longer none came.
_NAP, _LONGEST_NAP = timedelta(milliseconds=2), timedelta(milliseconds=20)
#: A partition that has been silent for so long has sent all of what its latest messages belong to.
_SILENCE_SECONDS = 1.0
#: Messages taken at once; many would leave the processor's caches before they are looked at.
_FIRST_MESSAGES, _MOST_MESSAGES = 16, 512
#: Bytes of messages taken at once, per record that a batch may have.
_BYTES_PER_RECORD = 512
# Where `kafka.options` does not say otherwise: what librdkafka holds of each partition is bounded as well.
_CONSUMER = {"queued.max.messages.kbytes": 16_384, "fetch.queue.backoff.ms": 20}


@dataclass(slots=True)
class Account:
    """What of one dataset is under way: each has consumers of its own."""

    credit: Credit
    seq: int = 0


class KafkaPartition(StatefulSourcePartition[X, dict[str, Any]]):
    """Reads one partition as fast as the results follow."""

    def __init__(
        self, settings: KafkaSettings, number: int, batch_records: int, slots: int, state: PartitionState
    ) -> None:
        self._settings, self._number, self._batch = settings, number, batch_records
        self._state, self._slots = state, slots
        self._accounts: dict[str, Account] = {}
        self._decoder = Decoder()
        self._dead = DeadLetters(settings, number)
        self._errors = Errors(settings)
        self._errors.told = True
        own = {"auto.offset.reset": "error", "enable.auto.commit": False, "enable.auto.offset.store": False}
        properties = {**_CONSUMER, **configuration(settings, group_id=settings.group), **own}
        self._consumer = open_client(ck.Consumer, {**properties, "on_commit": _ignored}, self._errors)
        self._consumer.assign([ck.TopicPartition(settings.topic, number, state.offset)])
        self._lag = Lag(self._consumer, settings.topic, number)
        self._per_message = 0.0
        self._committed = self._previous = state.offset
        self._heard = time.monotonic()
        self._awake: datetime | None = None
        self._nap = _NAP
        self._ended = False

    def next_batch(self) -> list[X]:
        """Return the next tapes; none while the results are behind or nothing has come."""
        self._awake = None
        if stopping.stopping():
            tapes = [] if self._ended else self._overtaken()
            self._ended = True
            if tapes:
                return tapes
            raise StopIteration
        if not all(account.credit.free(account.seq) for account in self._accounts.values()):
            self._awake = datetime.now(UTC) + _NAP
            return []
        received = self._fetch()
        self._lag.update(self._state.offset)
        if received:
            self._heard, self._nap = time.monotonic(), _NAP
            return self._tapes(received)
        if time.monotonic() - self._heard > _SILENCE_SECONDS and (tapes := self._overtaken()):
            return tapes
        self._awake = datetime.now(UTC) + self._nap
        self._nap = min(self._nap * 1.25, _LONGEST_NAP)
        return []

    def _fetch(self) -> Received:
        """Return what has come, about as many records as a batch may have."""
        received = Received()
        while received.size < self._batch * _BYTES_PER_RECORD:
            count = _FIRST_MESSAGES
            if self._per_message:
                count = int(self._batch / self._per_message) - len(received)
            if count < 1 and received:
                break
            some = self._consumer.consume(min(max(count, 1), _MOST_MESSAGES), 0.0)
            if not some:
                break
            received.take(some, self._trouble)
            if not self._per_message:
                break
        if received:
            self._errors.answered()
        return received

    def _trouble(self, error: ck.KafkaError) -> None:
        topic, number, found = self._settings.topic, self._number, self._errors.cleaned(error.str())
        code = error.code()
        if code in (ck.KafkaError._AUTO_OFFSET_RESET, ck.KafkaError.OFFSET_OUT_OF_RANGE):
            stopping.fail(
                f"partition {number} of the topic {topic} does not have offset {self._state.offset}, where "
                "the run before left off: the topic was made anew, or forgets sooner than it is read; begin "
                "with a new recovery store"
            )
        elif code in (
            ck.KafkaError.UNKNOWN_TOPIC_OR_PART,
            ck.KafkaError._UNKNOWN_TOPIC,
            ck.KafkaError._UNKNOWN_PARTITION,
            ck.KafkaError.TOPIC_AUTHORIZATION_FAILED,
        ):
            stopping.fail(f"the topic {topic} cannot be read any more: {found}")
        else:
            log.warning("partition %d of %s: %s; trying on", number, topic, found)

    def _account(self, dataset: str) -> Account:
        account = self._accounts.get(dataset)
        if account is None:
            account = self._accounts[dataset] = Account(Credit(self._slots, _BATCHES_UNDER_WAY))
        return account

    @abstractmethod
    def _tapes(self, received: Received) -> list[X]:
        """Return what messages hold, and put aside what cannot be read."""

    @abstractmethod
    def _overtaken(self) -> list[X]:
        """Return what tells that nothing more comes for now."""

    def next_awake(self) -> datetime | None:
        """Return when to ask again after an empty batch."""
        return self._awake

    def snapshot(self) -> dict[str, Any]:
        """Return the position, once all dead letters before it have arrived.

        What the epoch before has reached is written to the consumer group, for tools that tell the lag: only
        now is it certain to be in the recovery store.
        """
        self._dead.flush()
        if self._previous > self._committed:
            self._committed = self._previous
            behind = ck.TopicPartition(self._settings.topic, self._number, self._previous)
            self._consumer.commit(offsets=[behind], asynchronous=True)
        self._previous = self._state.offset
        for account in self._accounts.values():
            account.credit.settle(account.seq - 1)
        return self._state.dump()

    def close(self) -> None:
        """Leave the brokers."""
        self._dead.flush()
        self._consumer.close()
        for account in self._accounts.values():
            account.credit.close()


def _ignored(error: ck.KafkaError | None, offsets: list[ck.TopicPartition]) -> None:
    """Take note of a commit that has failed by doing nothing: the next one says more."""


class TopicSource(FixedPartitionedSource[X, dict[str, Any]]):
    """All partitions of a topic, each where it was left.

    Raises
    ------
    UserError
        If no broker answers or lets us in, or there is no such topic.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        collect_seldom()
        self._count = partitions(settings, settings.topic)
        if not self._count:
            raise UserError(
                f"`kafka.topic` is {settings.topic}, and there is no such topic; create it, as `tapewatch "
                "replay` does"
            )
        ensure_dead_letter_topic(settings)
        # What comes from now on, wherever a crash may interrupt it.
        self._begin = ends(settings, settings.topic) if settings.start == "latest" else {}
        self._told = False

    def list_parts(self) -> list[str]:
        """Return the names of the partitions."""
        return [f"{self._settings.topic}/{number}" for number in range(self._count)]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> KafkaPartition[X]:
        """Go on with one partition where it was left."""
        number = int(for_part.rpartition("/")[2])
        if resume_state is None:
            state = PartitionState(
                self._begin.get(number, ck.OFFSET_BEGINNING), partitions=self._count, first=self._count
            )
        else:
            stopping.refuse_other_versions(resume_state.get("version"), VERSION)
            state = PartitionState.load(resume_state)
            if state.partitions < self._count and not self._told:
                self._told = True
                log.info(
                    "%s has %d partitions, %d when it was last read; new ones are read from the %s message",
                    self._settings.topic,
                    self._count,
                    state.partitions,
                    self._settings.start,
                )
            state.partitions = self._count
        return self._partition(number, state, resume_state)

    @abstractmethod
    def _partition(
        self, number: int, state: PartitionState, resume: dict[str, Any] | None
    ) -> KafkaPartition[X]:
        """Return the partition of a number, to go on from a state; ``resume`` is its whole snapshot."""
