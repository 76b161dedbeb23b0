"""Databento Live to a Kafka topic: a Quix Streams source that goes on where it was stopped or killed.

``python -m flows.live_to_kafka`` publishes the subscription of the section ``live`` to ``kafka.topic``, as
runs of DBN records keyed by symbol, so that any number of flows can read one session, and read it again. How
far the tape has been read is noted in a topic that Quix Streams keeps; what has come through after the last
such note is looked up in the topic itself, so each record is published once.
"""

from __future__ import annotations

import secrets
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from quixstreams.sources import Source

from connectors.databento_live import LiveSource, api_key
from connectors.kafka_client import ensure_topic
from connectors.kafka_messages import Encoder, Mark
from connectors.kafka_missing import GapMarks
from connectors.kafka_published import ends, published
from connectors.live_decoder import Item, Mapping, Opened
from connectors.live_feed import LiveFeed
from connectors.live_tape import LiveState, LiveTape, record_bytes, subscription, width_ns
from connectors.numbering import Unchecked
from connectors.plain_state import plain, restored
from flows.publishing import Publisher, die_with_parent, keys_of, run, unpublished
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.records import Array
from tapewatch.settings import KafkaSettings, LiveSettings, Settings, load

_STATE = "live"
_STATE_VERSION = 1
_GROUP = "tapewatch-live"
_SAVE_SECONDS = 2.0
_NAP_SECONDS = 0.005


@dataclass(slots=True)
class _State:
    """How far the tape is published.

    All records that ``tape`` has read are in the topic before ``ends``, and so are the next ``passed`` of
    some keys.
    """

    run: str
    tape: LiveState
    gaps: GapMarks = field(default_factory=GapMarks)
    ends: dict[int, int] = field(default_factory=dict)
    passed: Counter[str] = field(default_factory=Counter)

    def dump(self) -> dict[str, Any]:
        state = {
            "run": self.run,
            "tape": self.tape.dump(),
            "gaps": self.gaps.snapshot(),
            "ends": self.ends,
            "passed": dict(self.passed),
        }
        return {"version": _STATE_VERSION, "state": plain(state)}

    @classmethod
    def load(cls, saved: dict[str, Any]) -> _State:
        state = restored(saved["state"])
        gaps = GapMarks(state["gaps"])
        return cls(state["run"], LiveState.load(state["tape"]), gaps, state["ends"], Counter(state["passed"]))


class LiveToKafka(Publisher):
    """Publishes a subscription; it runs in a process of its own, which Quix Streams starts."""

    def __init__(self, settings: LiveSettings, kafka: KafkaSettings, batch_records: int) -> None:
        super().__init__(name=kafka.topic, shutdown_timeout=60)
        self._settings, self._kafka, self._batch = settings, kafka, batch_records
        self._failure: str | None = None

    def run(self) -> None:
        """Publish from where the state says until stopped.

        Raises
        ------
        UserError
            If the gateway refuses the key or the subscription, or the state is of another version.
        """
        die_with_parent()
        state = self._begin()
        tape = LiveTape(self._settings, state.tape)
        feed = LiveFeed(self._settings, api_key(), lambda: state.tape.position.start, tape.count, self._fail)
        try:
            self._publish(feed, tape, state)
        finally:
            feed.close()

    def _fail(self, line: str) -> None:
        self._failure = line

    def _begin(self) -> _State:
        """Return the state to go on from, or a new one."""
        saved = self.state.get(_STATE)
        topic = self._kafka.topic
        if saved is None:
            tape = LiveState(subscription(self._settings))
            state = _State(secrets.token_hex(4), tape, ends=ends(self._kafka, topic))
            self._save(state)
            return state
        if saved["version"] != _STATE_VERSION:
            raise UserError(
                f"another version of tapewatch published to {topic}; give `kafka.topic` another name"
            )
        state = _State.load(saved)
        more, state.ends = published(self._kafka, topic, state.ends, state.run)
        state.passed += more
        return state

    def _publish(self, feed: LiveFeed, tape: LiveTape, state: _State) -> None:
        settings = self._settings
        most = self._batch * record_bytes(settings)
        width = width_ns(settings)
        encoder = Encoder("dbn", "bars" if width else "trades", settings.dataset, width, state.run)
        due = time.monotonic() + _SAVE_SECONDS
        while self.wanted and self._failure is None:
            items = feed.read(most)
            if state.tape.position.start is None and _opens(items):
                # The first session only tells the time: all others select their records from there on, so
                # that those of each key can be counted from the same one.
                tape.follow(items[0])
                self._save(state)
                feed.restart()
                continue
            for item in items:
                if isinstance(item, Mapping) and tape.divides(item):
                    self._send(tape, encoder, state)
                if tape.follow(item):
                    feed.new()
            # What comes behind a gap must not be counted as if it came before.
            lost = state.tape.lost_since is not None
            self._send(tape, encoder, state)
            if not items:
                time.sleep(_NAP_SECONDS)
            if lost or time.monotonic() > due:
                self._save(state)
                due = time.monotonic() + _SAVE_SECONDS
        self._save(state)
        if self._failure is not None:
            raise UserError(self._failure)

    def _send(self, tape: LiveTape, encoder: Encoder, state: _State) -> None:
        records, times = tape.pop()
        if not len(records):
            return
        codes, keys = keys_of(records, times, tape.symbols)
        marks = self._marks(tape, state, records, times, codes, keys)
        if state.passed:
            kept = unpublished(state.passed, self._settings.dataset, codes, keys)
            places = {int(row): place for place, row in enumerate(kept.tolist()) if row in marks}
            marks = {places[row]: found for row, found in marks.items() if row in places}
            records, codes = records[kept], codes[kept]
        topic, producer = self.producer_topic.name, self.producer
        for key, value, headers, _ in encoder.messages(records, codes, keys, marks):
            producer.produce(topic=topic, value=value, key=key, headers=headers)

    def _marks(
        self, tape: LiveTape, state: _State, records: Array, times: Array, codes: Array, keys: list[str]
    ) -> dict[int, list[Mark]]:
        """Return what is missing before some records, as far as the source knows."""
        if width_ns(self._settings):
            tape.state.lost_since = None
            return {}
        fit = tape.fit(records, times)
        interrupted = tape.state.lost_since is not None and (fit is None or bool(fit.any()))
        if interrupted:
            tape.state.lost_since = None
        batch = Unchecked(records, times, 0, fit, tape.symbols, None, ())
        return state.gaps.marks(batch, codes, keys, interrupted=interrupted)

    def _save(self, state: _State) -> None:
        """Note how far the tape is published, once all messages before have been confirmed."""
        # The state goes to the brokers with the next messages; it must not get there before what it tells of.
        Source.flush(self)
        for (topic, number), offset in self.producer.offsets.items():
            if topic == self.producer_topic.name:
                state.ends[number] = offset + 1
        self.state.set(_STATE, state.dump())
        self.flush()


def _opens(items: list[Item]) -> bool:
    return bool(items) and isinstance(items[0], Opened)


def publish(settings: Settings) -> None:
    """Publish the subscription of the settings until stopped.

    Raises
    ------
    UserError
        If the settings, the key, the gateway or the brokers are not as they should be.
    RuntimeError
        If the brokers stop taking messages.
    """
    live, kafka = settings.live, settings.kafka
    batch = settings.source.batch_records
    # Looks at the settings and the key as the flow does.
    LiveSource(live, batch, slots=1)
    ensure_topic(kafka, kafka.topic)
    log.info("%s goes to the topic %s", live.dataset, kafka.topic)
    run(LiveToKafka(live, kafka, batch), kafka, kafka.topic, _GROUP, f"the feed to {kafka.topic}")


def main() -> None:
    """Run until stopped; end with one line where something is wrong."""
    try:
        publish(load())
    except UserError as error:
        sys.exit(_told(error, 2))
    except RuntimeError as error:
        sys.exit(_told(error, 1))


def _told(error: Exception, status: int) -> int:
    sys.stderr.write(f"tapewatch: {error}\n")
    return status


if __name__ == "__main__":
    main()
