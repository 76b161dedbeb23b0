"""Files to a Kafka topic, as fast as it goes or at a multiple of the market's pace: a Quix Streams source.

What is in the topic for certain is noted in the source's state, which Quix Streams keeps in a topic of its
own. A replay that is resumed begins there, and passes over what has come through after the last such note.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import secrets
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from quixstreams import Application
from quixstreams.models import Topic
from quixstreams.sources import Source, StatefulSource
from quixstreams.sources.base.exceptions import SourceException

from connectors.chain import Chain, find, plan
from connectors.chain_reader import ChainReader, Piece
from connectors.kafka_client import configuration, ensure_topic
from connectors.kafka_messages import Encoder, Encoding, Mark
from connectors.kafka_missing import GapMarks
from connectors.kafka_published import counted_as, ends, published
from connectors.numbering import Unchecked
from connectors.validity import valid
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.progress import Bar
from tapewatch.records import DAY, LATEST, Array
from tapewatch.settings import KafkaSettings, SourceSettings
from tapewatch.symbology import Symbols

_STATE = "replay"
_STATE_VERSION = 2
_SAVE_SECONDS = 2.0
_NAP_SECONDS = 0.01
_GROUP = "tapewatch-replay"
_NEVER_LOGGED = logging.CRITICAL + 1
_PR_SET_PDEATHSIG = 1
# Where `kafka.options` does not say otherwise.
_PRODUCER = {"linger.ms": 10, "compression.type": "lz4"}


@dataclass(frozen=True, slots=True)
class Job:
    """What to replay, where to, and how."""

    source: SourceSettings
    kafka: KafkaSettings
    topic: str
    encoding: Encoding
    resume: bool


@dataclass(slots=True)
class _State:
    """How far a replay has come: ``published`` is in the topic before ``ends``.

    By dataset and key it counts records, always the first ones. ``clock`` is the event time that all tapes
    have reached.
    """

    replay: str
    encoding: str
    files: list[str]
    done: bool = False
    clock: int = 0
    ends: dict[int, int] = field(default_factory=dict)
    published: dict[str, int] = field(default_factory=dict)

    @property
    def records(self) -> int:
        return sum(self.published.values())

    def dump(self) -> dict[str, Any]:
        saved = asdict(self)
        return {**saved, "ends": {str(n): at for n, at in self.ends.items()}, "version": _STATE_VERSION}

    @classmethod
    def load(cls, saved: dict[str, Any]) -> _State:
        saved = {name: value for name, value in saved.items() if name != "version"}
        saved["ends"] = {int(number): at for number, at in saved["ends"].items()}
        return cls(**saved)


@dataclass(slots=True)
class _Tape:
    """A chain on its way to the topic; ``clock`` is the latest event time of it so far."""

    chain: Chain
    reader: ChainReader
    encoder: Encoder
    clock: int
    ended: bool = False
    gaps: GapMarks = field(default_factory=GapMarks)


class ReplaySource(StatefulSource):
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
        _die_with_parent()
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

    def _begin(self, chains: list[Chain]) -> _State:
        """Return the state to begin with, which is safe in the state store."""
        job = self._job
        files = sorted(file.name for chain in chains for file in chain.files)
        if job.resume:
            saved = self.state.get(_STATE)
            if saved is None:
                raise UserError(f"`--resume`: nothing was ever replayed to {job.topic}; start without it")
            if saved["version"] != _STATE_VERSION:
                raise UserError("`--resume`: another version of tapewatch began this; start without it")
            state = _State.load(saved)
            if (state.files, state.encoding) != (files, job.encoding):
                raise UserError(
                    f"`--resume`: what went to {job.topic} last was {', '.join(state.files)} as "
                    f"{state.encoding}; give the same, or start without it"
                )
            return state
        state = _State(secrets.token_hex(4), job.encoding, files, ends=ends(job.kafka, job.topic))
        self._save(state)
        return state

    def _opened(self, chain: Chain, state: _State) -> _Tape:
        reader = ChainReader(chain, {}, self._job.source.batch_records, self._on_damage, lambda counts: None)
        encoder = Encoder(self._job.encoding, chain.kind, chain.dataset, chain.width_ns, state.replay)
        return _Tape(chain, reader, encoder, chain.files[0].first_time)

    def _on_damage(self, error: UserError) -> bool:
        if self._job.source.on_error == "fail":
            self._damage = error
            return False
        log.error("%s; what was whole is published", error)
        return True

    def _publish(self, tapes: list[_Tape], state: _State, bar: Bar) -> None:
        speed = self._job.source.speed
        begun, first = time.monotonic(), max(state.clock, min(tape.clock for tape in tapes))
        records, saved = state.records, begun
        parent = multiprocessing.parent_process()
        while self.running and (parent is None or parent.is_alive()):
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

    def _send(self, tape: _Tape, piece: Piece, state: _State) -> None:
        codes, keys = _keys(piece, tape.reader.symbols)
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
            kept = self._unpublished(tape.chain.dataset, codes, keys)
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

    def _unpublished(self, dataset: str, codes: Array, keys: list[str]) -> Array:
        """Return the places of the records that are not in the topic: all but the first ones of some keys."""
        keep = np.ones(len(codes), np.bool_)
        for code in np.unique(codes).tolist():
            name = counted_as(dataset, keys[code])
            ahead = self._passed.pop(name, 0)
            passed = np.flatnonzero(codes == code)[:ahead]
            keep[passed] = False
            if ahead > len(passed):
                self._passed[name] = ahead - len(passed)
        return np.flatnonzero(keep)

    def _save(self, state: _State) -> None:
        """Note how far the replay has come, once all messages before have been confirmed."""
        # The state goes to the brokers with the next messages; it must not get there before what it tells of.
        Source.flush(self)
        for (topic, number), offset in self.producer.offsets.items():
            if topic == self.producer_topic.name:
                state.ends[number] = offset + 1
        self.state.set(_STATE, state.dump())
        self.flush()


def _keys(piece: Piece, symbols: Symbols) -> tuple[Array, list[str]]:
    """Return each record's code, and the symbols they stand for."""
    if piece.codes is not None:
        return piece.codes, list(piece.names)
    days = (piece.times // np.uint64(DAY)).astype(np.uint64)
    pairs, places = np.unique(
        (days << np.uint64(32)) | piece.records["instrument_id"].astype(np.uint64), return_inverse=True
    )
    keys: dict[str, int] = {}
    codes = [keys.setdefault(symbols.key(p & 0xFFFFFFFF, p >> 32), len(keys)) for p in pairs.tolist()]
    return np.array(codes, np.intp)[places], list(keys)


def _die_with_parent() -> None:
    """Have the system end this process when the command that started it is killed: nobody else would."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)


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
    # Quix Streams logs failures with a traceback in each of its processes; ours are told in a line.
    logging.getLogger("quixstreams").setLevel(_NEVER_LOGGED)
    options = {name: value for name, value in configuration(job.kafka).items() if name != "bootstrap.servers"}
    # Quix Streams would make it with one replica.
    ensure_topic(job.kafka, f"changelog__{_GROUP}--source-{job.topic}", 1, {"cleanup.policy": "compact"})
    with tempfile.TemporaryDirectory(prefix="tapewatch-replay-") as folder:
        _run(job, options, folder)


def _run(job: Job, options: dict[str, Any], folder: str) -> None:
    app = Application(
        broker_address=job.kafka.brokers,
        consumer_group=_GROUP,
        producer_extra_config={**_PRODUCER, **options, "acks": "all", "enable.idempotence": True},
        consumer_extra_config=options,
        loglevel=None,
        state_dir=folder,
        auto_create_topics=True,
        broker_availability_timeout=0,
    )
    app.add_source(ReplaySource(job), topic=Topic(job.topic, value_serializer="bytes"))
    try:
        app.run()
    except SourceException as error:
        cause = error.__cause__
        if isinstance(cause, UserError):
            raise cause from None
        raise RuntimeError(f"the replay to {job.topic} broke off: {cause or error}") from error
