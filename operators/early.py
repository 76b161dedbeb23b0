"""What is told of windows that are not over: remembered, so that it is told anew or taken back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tapewatch.documents import Anomaly, Early

#: A detector, or a part of one, and an instrument's row.
Place: TypeAlias = tuple[str, int]


@dataclass(slots=True)
class Outcome:
    """What a batch leads to: anomalies by id; what is taken back and what is early, as in `Results`."""

    told: dict[str, Anomaly] = field(default_factory=dict)
    deleted: list[str] = field(default_factory=list)
    taken_back: dict[str, str] = field(default_factory=dict)
    early: dict[str, Early] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Told:
    """An anomaly as it was told with windows that are not over, and what stands without them."""

    revision: int
    standing: Anomaly | None


class EarlyLog:
    """What is told of one shard's windows that are not over.

    Parameters
    ----------
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, resume: dict[Place, dict[str, _Told]] | None = None) -> None:
        self._told = {place: dict(told) for place, told in (resume or {}).items()}

    def snapshot(self) -> dict[Place, dict[str, _Told]]:
        """Return the state to resume from; nothing in it changes later."""
        return {place: dict(told) for place, told in self._told.items()}

    def tell(self, place: Place, anomaly: Anomaly, early: Early, outcome: Outcome) -> None:
        """Tell an anomaly as it is with a window that is not over."""
        outcome.told[anomaly.id] = anomaly
        if anomaly.id in outcome.deleted:
            outcome.deleted.remove(anomaly.id)
        # Of several such windows the first is what it hangs on.
        outcome.early.setdefault(anomaly.id, early)
        self._told.setdefault(place, {})[anomaly.id] = _Told(anomaly.revision, early.standing)

    def stands(self, places: Iterable[Place], anomaly: Anomaly) -> None:
        """Note how an anomaly stands without such windows, if it was told with them at any of the places."""
        for place in places if self._told else ():
            told = self._told.get(place, {})
            if anomaly.id in told:
                told[anomaly.id] = replace(told[anomaly.id], standing=anomaly)

    def settle(self, places: Iterable[Place], names: Sequence[str], outcome: Outcome) -> None:
        """Take back what was told at some places and is not told anew; ``names`` are the keys of rows."""
        for place in places:
            for name, was in self._told.pop(place, {}).items():
                now = outcome.told.get(name)
                if now is not None and now.revision >= was.revision:
                    continue
                outcome.taken_back[name] = names[place[1]]
                if now is not None:
                    continue
                if was.standing is not None:
                    outcome.told[name] = was.standing
                else:
                    outcome.deleted.append(name)
