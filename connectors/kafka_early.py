"""What was told early on a topic, of windows that may still change: remembered over a kill by its messages.

A message that rests on unfinished windows has a header ``early`` that names the first of them and what
stands without it. A run that is killed forgets what it told since its last snapshot; the messages remain,
and whichever run comes to judge that window again takes back what turned out to be nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import confluent_kafka as ck
import orjson

from connectors.kafka_published import Since
from connectors.sqlite_early import Leftovers, Mark, Settled, standing_of
from tapewatch.documents import Early, Results
from tapewatch.settings import KafkaSettings

_VERSION = 1


def header_of(flow: str, source: str, early: Early) -> bytes:
    """Return the header ``early`` of a message."""
    place = (flow, source, early.detector, early.key, early.instrument_id, early.ts_start)
    return orjson.dumps([*place, standing_of(early)])


@dataclass(slots=True)
class EarlyMarks:
    """Which of the topic's anomalies rest on unfinished windows.

    Attributes
    ----------
    source
        Name of the stream (``source.name``); what others told is left alone.
    marks
        By id.
    ends
        By partition: the offset up to which they are known.
    """

    source: str
    marks: dict[str, Mark] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    _left: Leftovers = field(default_factory=lambda: Leftovers(()))
    _keys: dict[str, str] = field(default_factory=dict)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""
        return {"version": _VERSION, "marks": dict(self.marks), "ends": dict(self.ends)}

    def resume(self, saved: dict[str, Any] | None) -> None:
        """Go on from a snapshot."""
        if saved is not None and saved["version"] == _VERSION:
            self.marks, self.ends = dict(saved["marks"]), dict(saved["ends"])

    def follow(self, settings: KafkaSettings, topic: str) -> None:
        """Read what has been told since, and be ready to take it back.

        Raises
        ------
        UserError
            If the topic cannot be read.
        """
        since = Since(settings, topic, self.ends)
        for message in since:
            self._read(message)
        self.ends = since.ends
        self._left = Leftovers(self.marks.values())
        self._keys = {name: mark[3] for name, mark in self.marks.items()}

    def _read(self, message: ck.Message) -> None:
        headers = dict(message.headers() or ())
        try:
            name = headers["id"].decode()
            self.marks.pop(name, None)
            if "early" in headers:
                flow, source, *place = orjson.loads(headers["early"])
                if source == self.source:
                    self.marks[name] = (name, flow, *place)
        except (KeyError, AttributeError, ValueError, TypeError):
            # Another's message.
            return

    def settle(self, results: Results) -> Iterable[tuple[str, Settled]]:
        """Yield what of an earlier run these results take back, each with its key; follow what they tell."""
        for settled in self._left.settle(results):
            self.marks.pop(settled.id, None)
            yield self._keys.pop(settled.id), settled
        for anomaly in results.anomalies:
            # What was told early may have had a higher revision than what is told now.
            if anomaly.id in self._keys:
                yield self._keys.pop(anomaly.id), Settled(anomaly.id, None)
        for name in (*results.deleted, *(anomaly.id for anomaly in results.anomalies)):
            self.marks.pop(name, None)
        for early in results.early:
            place = (early.detector, early.key, early.instrument_id, early.ts_start)
            self.marks[early.id] = (early.id, results.flow, *place, standing_of(early))
