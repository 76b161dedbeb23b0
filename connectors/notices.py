"""Which anomalies people are told of: few, and each once.

An anomaly is told when it opens and when its risk level rises; one message per key in a stretch of time, with
what was held back in between counted. All of it is arithmetic on times that are given.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

from tapewatch.documents import Anomaly, rfc3339
from tapewatch.risk import LEVELS, risk_level

#: Keys, and anomalies, that are remembered; the oldest are forgotten.
_MOST = 20_000


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to people; ``level`` is the risk level of the worst it tells of."""

    title: str
    body: str
    level: str


@dataclass(slots=True)
class _Key:
    """When a key was last told of (ns), and what was held back since: how many, and the worst of them."""

    told_at: int
    held: int = 0
    severity: float = 0.0
    title: str = ""
    body: str = ""


class Notices:
    """Decides what is told.

    Parameters
    ----------
    min_severity
        What is below is not told.
    every_ns
        The least time between two messages of one key, ns.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, min_severity: float, every_ns: int, resume: dict[str, Any] | None = None) -> None:
        self._least, self._every = min_severity, every_ns
        saved = resume or {"keys": {}, "levels": {}}
        self._keys = {key: _Key(**known) for key, known in saved["keys"].items()}
        #: By id, the place in `LEVELS` at which an anomaly was last told, or held back.
        self._levels: dict[str, int] = dict(saved["levels"])

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""
        keys = {key: asdict(known) for key, known in self._keys.items()}
        return {"keys": keys, "levels": dict(self._levels)}

    def of(self, anomalies: Iterable[Anomaly], now: int) -> list[Notice]:
        """Return what is to be told of these anomalies at time ``now`` (ns)."""
        told = []
        for anomaly in anomalies:
            level = LEVELS.index(risk_level(anomaly.severity))
            if anomaly.severity < self._least or level <= self._levels.get(anomaly.id, -1):
                continue
            self._levels.pop(anomaly.id, None)
            self._levels[anomaly.id] = level
            known = self._keys.get(anomaly.key)
            if known is None or now - known.told_at >= self._every:
                told.append(self._tell(anomaly, known, now))
            else:
                known.held += 1
                if anomaly.severity >= known.severity:
                    known.severity = anomaly.severity
                    known.title, known.body = _title(anomaly), _body(anomaly)
        _forget(self._levels)
        _forget(self._keys)
        return told

    def due(self, now: int) -> list[Notice]:
        """Return what was held back of keys that may be told of again."""
        told = []
        for key, known in self._keys.items():
            if known.held and now - known.told_at >= self._every:
                others = _others(known.held - 1)
                told.append(Notice(known.title, known.body + others, risk_level(known.severity)))
                self._keys[key] = _Key(now)
        return told

    def _tell(self, anomaly: Anomaly, known: _Key | None, now: int) -> Notice:
        self._keys.pop(anomaly.key, None)
        self._keys[anomaly.key] = _Key(now)
        others = _others(known.held if known is not None else 0)
        return Notice(_title(anomaly), _body(anomaly) + others, risk_level(anomaly.severity))


def _title(anomaly: Anomaly) -> str:
    severity = f"{anomaly.severity:.0f} ({risk_level(anomaly.severity)})"
    return f"{anomaly.key}: {anomaly.detector}, severity {severity}"


def _body(anomaly: Anomaly) -> str:
    return f"{anomaly.reason.rstrip('.')}.\n{rfc3339(anomaly.ts_event)}, anomaly {anomaly.id}"


def _others(held: int) -> str:
    return f"\n{held} more of it since the message before" if held else ""


def _forget(known: dict[str, Any]) -> None:
    for name in list(known)[: max(len(known) - _MOST, 0)]:
        del known[name]
