"""What a score makes of events: found at a rate of false alarms, precision and recall, delay.

Alarms of one instrument within 30 bars are one episode, and one that goes on counts anew every 30 bars, so
that a constant alarm gains nothing. An event is found if an alarm falls into it or into the bar after it; an
episode without such an alarm is false.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tapewatch.records import DAY, Array, Floats, Int64s

if TYPE_CHECKING:
    from models.bar_events import Event

#: Bars of an episode.
EPISODE = 30


@dataclass(frozen=True, slots=True)
class Stream:
    """One instrument's scores with the events in it.

    Attributes
    ----------
    scores
        Float64, NaN where there is none, shape ``(n,)``.
    times
        Int64 ns, shape ``(n,)``.
    events
        What was injected, in order.
    first
        Bars before this one are history and count neither way.
    """

    scores: Floats
    times: Int64s
    events: Sequence[Event]
    first: int

    @property
    def days(self) -> int:
        """UTC days on which it traded."""
        return len(np.unique(self.times[self.first :] // DAY))

    def owner(self) -> Int64s:
        """Return the event whose bars (or the one after) each bar is, -1 for none."""
        owner = np.full(len(self.scores), -1, np.int64)
        for number, event in enumerate(self.events):
            owner[event.first : event.last + 1] = number
        return owner


@dataclass(frozen=True, slots=True)
class Found:
    """What alarms come to: false episodes, episodes in all, and the delay of each event, -1 if missed."""

    false: int
    episodes: int
    delays: Int64s


def found(alarms: Array, owner: Int64s, events: Sequence[Event]) -> Found:
    """Return what alarms at these bars (indices, ascending) find.

    Examples
    --------
    >>> from models.bar_events import Event
    >>> event = Event("pattern", "spike", 50, 51, 9.0)
    >>> owner = np.full(100, -1); owner[50:52] = 0
    >>> told = found(np.array([3, 4, 40, 51]), owner, [event])
    >>> told.false, told.episodes, told.delays.tolist()
    (1, 2, [1])
    """
    delays = np.full(len(events), -1, np.int64)
    false = episodes = 0
    begin, right = -EPISODE, True
    for at in alarms.tolist():
        if at - begin >= EPISODE:
            false += not right
            begin, right, episodes = at, False, episodes + 1
        event = int(owner[at])
        if event >= 0:
            right = True
            if delays[event] < 0:
                delays[event] = at - events[event].first
    false += not right
    return Found(false, episodes, delays)


def found_at(streams: Sequence[Stream], threshold: float) -> list[Found]:
    """Return what each stream's alarms at a threshold find."""
    return [
        found(
            stream.first + np.flatnonzero(stream.scores[stream.first :] >= threshold),
            stream.owner(),
            stream.events,
        )
        for stream in streams
    ]


def threshold_at(streams: Sequence[Stream], false_per_day: float) -> float:
    """Return the lowest threshold with at most that many false episodes per instrument and day."""
    allowed = false_per_day * sum(stream.days for stream in streams)
    owners = [stream.owner() for stream in streams]
    scores = np.concatenate([stream.scores[stream.first :] for stream in streams])
    levels = np.unique(scores[np.isfinite(scores)])[::-1]
    low, high = 0, len(levels)
    # The number of false episodes grows as the threshold falls, but for a few that merge.
    while low < high:
        middle = (low + high) // 2
        false = 0
        for stream, owner in zip(streams, owners, strict=True):
            at = stream.first + np.flatnonzero(stream.scores[stream.first :] >= levels[middle])
            false += found(at, owner, stream.events).false
            if false > allowed:
                break
        low, high = (middle + 1, high) if false <= allowed else (low, middle)
    return float(levels[low - 1]) if low else np.inf


def f_beta(precision: float, recall: float, beta: float) -> float:
    """Return the weighted harmonic mean of precision and recall.

    >>> f_beta(0.5, 1.0, 1.0).__round__(3), f_beta(0.0, 0.0, 2.0)
    (0.667, 0.0)
    """
    below = beta * beta * precision + recall
    return (1 + beta * beta) * precision * recall / below if below > 0 else 0.0


def labelled(streams: Sequence[Stream], kind: str | None) -> tuple[Floats, Array]:
    """Return the scores of the bars that have one, and their labels.

    Labels are 1 for bars of events of one kind (None: of any), 0 for untouched bars, -1 for what is neither.
    """
    scores, labels = [], []
    for stream in streams:
        label = np.zeros(len(stream.scores), np.int8)
        for event in stream.events:
            # What follows an event may still feel it.
            label[event.first : event.last + EPISODE] = -1
        for event in stream.events:
            if kind is None or event.kind == kind:
                label[event.first : event.last] = 1
        keep = np.isfinite(stream.scores)
        keep[: stream.first] = False
        scores.append(stream.scores[keep])
        labels.append(label[keep])
    return np.concatenate(scores), np.concatenate(labels)
