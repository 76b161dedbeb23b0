"""Files to a Kafka topic, as fast as it goes or at a multiple of the market's pace: a Quix Streams source.

What is in the topic for certain is noted in the source's state, which Quix Streams keeps in a topic of its
own. A replay that is resumed begins there, and passes over what has come through after the last such note.
"""

from __future__ import annotations

import secrets
import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from quixstreams.sources import Source

from connectors.chain import Chain, find, plan
from connectors.chain_reader import ChainReader, Piece
from connectors.kafka_client import ensure_topic
from connectors.kafka_messages import Encoder, Encoding, Mark
from connectors.kafka_missing import GapMarks
from connectors.kafka_published import counted_as, ends, published
from connectors.kafka_replayed import VERSION, ReplayState
from connectors.numbering import Unchecked
from connectors.validity import valid
from flows.publishing import Publisher, die_with_parent, keys_of, run, unpublished
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.progress import Bar
from tapewatch.records import LATEST
from tapewatch.settings import KafkaSettings, SourceSettings

_STATE = "replay"
_SAVE_SECONDS = 2.0
_NAP_SECONDS = 0.01
_GROUP = "tapewatch-replay"


@dataclass(frozen=True, slots=True)
class Job:
    """What to replay, where to, and how."""

    source: SourceSettings
    kafka: KafkaSettings
    topic: str
    encoding: Encoding
    resume: bool


@dataclass(slots=True)
class _Tape:
    """A chain on its way to the topic; ``clock`` is the latest event time of it so far."""

    chain: Chain
    reader: ChainReader
    encoder: Encoder
    clock: int
    ended: bool = False
    gaps: GapMarks = field(default_factory=GapMarks)


class ReplaySource(Publisher):
    """Publishes the records of files, each instrument's in their order, delivery confirmed.

    It runs in a process of its own, which Quix Streams starts.
    """

    def __init__(self, job: Job) -> None:
        super().__init__(name=job.topic, shutdown_timeout=60)
        self._job = job
        self._sent = self._sent_records = 0
        self._damage: UserError | None = None
        #: By dataset and key: records that were published before, and have not been read again.
        self._passed: Counter[str] = Counter()

    def run(self) -> None:
        """Publish from where the state says to the end of the files, or until stopped.

        Raises
        ------
        UserError
            If a file cannot be read, or there is nothing that could be resumed.
        """
        die_with_parent()
        job = self._job
        chains = plan(find(job.source.paths), skip_damaged=job.source.on_error == "skip")
        state = self._begin(chains)
        if state.done:
            print(f"{job.topic}: all of it was published before")
            return
        if job.resume:
            more, state.ends = published(job.kafka, job.topic, state.ends, state.replay)
            state.published = dict(more + Counter(state.published))
        # What was published before is read once more: the gaps behind it are told by the numbers in it.
        self._passed = Counter(state.published)
        tapes = [self._opened(chain, state) for chain in chains]
        bar = Bar(job.topic, sum(chain.size for chain in chains), judged=False)
        try:
            self._publish(tapes, state, bar)
        finally:
            bar.close()
            for tape in tapes:
                tape.reader.close()
        if state.done:
            print(f"{job.topic}: {state.records:,} records in {self._sent:,} messages")
        else:
            print(f"{job.topic}: stopped after {state.records:,} records; `--resume` goes on from here")

    def _begin(self, chains: list[Chain]) -> ReplayState:
        """Return the state to begin with, which is safe in the state store."""
        job = self._job
        files = sorted(file.name for chain in chains for file in chain.files)
        if job.resume:
            saved = self.state.get(_STATE)
            if saved is None:
                raise UserError(f"`--resume`: nothing was ever replayed to {job.topic}; start without it")
            if saved["version"] != VERSION:
                raise UserError("`--resume`: another version of tapewatch began this; start without it")
            state = ReplayState.load(saved)
            if (state.files, state.encoding) != (files, job.encoding):
                raise UserError(
                    f"`--resume`: what went to {job.topic} last was {', '.join(state.files)} as "
                    f"{state.encoding}; give the same, or start without it"
                )
            return state
        state = ReplayState(secrets.token_hex(4), job.encoding, files, ends=ends(job.kafka, job.topic))
        self._save(state)
        return state

    def _opened(self, chain: Chain, state: ReplayState) -> _Tape:
        reader = ChainReader(chain, {}, self._job.source.batch_records, self._on_damage, lambda counts: None)
        encoder = Encoder(self._job.encoding, chain.kind, chain.dataset, chain.width_ns, state.replay)
        return _Tape(chain, reader, encoder, chain.files[0].first_time)

    def _on_damage(self, error: UserError) -> bool:
        if self._job.source.on_error == "fail":
            self._damage = error
            return False
        log.error("%s; what was whole is published", error)
        return True

    def _publish(self, tapes: list[_Tape], state: ReplayState, bar: Bar) -> None:
        speed = self._job.source.speed
        begun, first = time.monotonic(), max(state.clock, min(tape.clock for tape in tapes))
        records, saved = state.records, begun
        while self.wanted:
            limit = LATEST
            if speed != "max":
                limit = first + int((time.monotonic() - begun) * speed * 1e9)
            # Tapes that tell of the same time keep together.
            for tape in sorted(tapes, key=lambda tape: tape.clock):
                piece = tape.reader.next(limit)
                tape.ended = piece is None
                if piece is not None and len(piece.records):
                    self._send(tape, piece, state)
                    break
            else:
                if all(tape.ended for tape in tapes):
                    state.done = self._damage is None
                    break
                time.sleep(_NAP_SECONDS)
            consumed = sum(tape.reader.consumed for tape in tapes)
            bar.update(records + self._sent_records, consumed, last=state.done)
            if time.monotonic() - saved > _SAVE_SECONDS:
                state.clock = max(state.clock, min(tape.clock for tape in tapes))
                self._save(state)
                saved = time.monotonic()
        self._save(state)
        if self._damage is not None:
            raise self._damage

    def _send(self, tape: _Tape, piece: Piece, state: ReplayState) -> None:
        if piece.codes is not None:
            codes, keys = piece.codes, list(piece.names)
        else:
            codes, keys = keys_of(piece.records, piece.times, tape.reader.symbols)
        marks: dict[int, list[Mark]] = {}
        if tape.chain.kind == "trades":
            fit = None if piece.clean else valid(piece.records, piece.times)[0]
            batch = Unchecked(
                piece.records, piece.times, 0, fit, tape.reader.symbols, piece.codes, piece.names
            )
            marks = tape.gaps.marks(batch, codes, keys)
        tape.clock = max(tape.clock, int(piece.times.astype(np.int64).max()))
        records = piece.records
        if self._passed:
            kept = unpublished(self._passed, tape.chain.dataset, codes, keys)
            records, codes = records[kept], codes[kept]
            places = {int(row): place for place, row in enumerate(kept.tolist()) if row in marks}
            marks = {places[row]: found for row, found in marks.items() if row in places}
        topic, producer = self.producer_topic.name, self.producer
        for key, value, headers, count in tape.encoder.messages(records, codes, keys, marks):
            producer.produce(topic=topic, value=value, key=key, headers=headers)
            self._sent += 1
            self._sent_records += count
        for code, count in enumerate(np.bincount(codes, minlength=len(keys)).tolist()):
            if count:
                name = counted_as(tape.chain.dataset, keys[code])
                state.published[name] = state.published.get(name, 0) + count

    def _save(self, state: ReplayState) -> None:
        """Note how far the replay has come, once all messages before have been confirmed."""
        # The state goes to the brokers with the next messages; it must not get there before what it tells of.
        Source.flush(self)
        for (topic, number), offset in self.producer.offsets.items():
            if topic == self.producer_topic.name:
                state.ends[number] = offset + 1
        self.state.set(_STATE, state.dump())
        self.flush()


def replay(job: Job, partitions: int) -> None:
    """Replay the files of a job to its topic, which is created with so many partitions if it is not there.

    Raises
    ------
    UserError
        If the files, the settings or the brokers are not as they should be.
    RuntimeError
        If the brokers stop taking messages.
    """
    plan(find(job.source.paths), skip_damaged=job.source.on_error == "skip")
    there = ensure_topic(job.kafka, job.topic, partitions)
    if partitions not in (-1, there):
        raise UserError(f"`--partitions` is {partitions}, but the topic {job.topic} has {there} already")
    run(ReplaySource(job), job.kafka, job.topic, _GROUP, f"the replay to {job.topic}")
