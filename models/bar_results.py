"""What the study of injected bars finds: events by kind, scorer and seed, and the measures made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.bar_curves import ANY, Shape
from models.bar_events import KINDS, SIZES, Event
from models.bar_sigmas import USUAL, Reading
from models.event_scores import Found, Stream, f_beta
from tapewatch.records import Array, Floats

#: Where sizes are cut in tables.
SIZE_EDGES = (SIZES[0], 3.0, 10.0, SIZES[1])
#: Flags every bar.
EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Case:
    """The bars of one instrument with events in them; those before ``first`` are history."""

    name: str
    bars: Array
    events: list[Event]
    first: int
    visible: Array

    def stream(self, scores: Floats) -> Stream:
        """Return scores of these bars with the events."""
        return Stream(scores, self.bars["ts_start"], self.events, self.first)


@dataclass(frozen=True, slots=True)
class Row:
    """What one scorer makes of one seed's cases: lists run over events.

    Attributes
    ----------
    at_budget
        Found at one false episode per instrument and day.
    own
        Found by its own alarms, or at the threshold that Youden's J picks.
    chosen
        Found at the threshold that `models.bar_thresholds` picks for F1 on events in the first parts.
    shapes
        Areas and curves by kind of event, `models.bar_curves.ANY` among them; those without events are not.
    recalls
        Event recall by false episodes per instrument and day.
    """

    at_budget: list[Found]
    own: list[Found]
    chosen: list[Found]
    shapes: dict[str, Shape]
    recalls: dict[float, float]


@dataclass(frozen=True, slots=True)
class Result:
    """All cases by seed, a `Row` by scorer and seed, and what a sigma was."""

    cases: dict[int, list[Case]]
    rows: dict[str, dict[int, Row]]
    reading: Reading = USUAL

    def recalls(self, name: str, kind: str, *, visible: bool = False) -> list[float]:
        """Return the event recall at the common operating point of each seed."""
        return [_recall(self.cases[seed], row, kind, visible) for seed, row in self.rows[name].items()]

    def recall(self, name: str, kind: str) -> float:
        """Return the mean of `recalls`."""
        return mean_of(self.recalls(name, kind))

    def mean(self, name: str, *, visible: bool = False) -> list[float]:
        """Return the mean over the kinds of each seed."""
        return [
            mean_of(by_kind)
            for by_kind in zip(*(self.recalls(name, kind, visible=visible) for kind in KINDS), strict=True)
        ]

    def by_size(self, name: str, low: float, high: float) -> float:
        """Return the recall of events of some sizes over all seeds."""
        hits = [
            delay >= 0
            for seed, row in self.rows[name].items()
            for case, told in zip(self.cases[seed], row.at_budget, strict=True)
            for event, delay in zip(case.events, told.delays, strict=True)
            if low <= event.size < high or event.size == high
        ]
        return float(np.mean(hits)) if hits else np.nan

    def own(self, name: str, kind: str, *, chosen: bool = False) -> dict[str, float]:
        """Return precision, recall and so on over all seeds, by its own alarms or at what F1 chose.

        Precision is of one kind (or `ANY`): of episodes that find such an event and of all false ones. That
        called ``share`` is of as many of the false ones as the kind has of the events: what it would be if
        that kind came as often as all do, and no other.
        """
        hits = events = false = days = every = 0
        delays: list[int] = []
        for seed, row in self.rows[name].items():
            given = row.chosen if chosen else row.own
            for case, told in zip(self.cases[seed], given, strict=True):
                mine = np.array([kind in {event.kind, ANY} for event in case.events], bool)
                every += len(mine)
                late = told.delays[mine]
                hits, events = hits + int((late >= 0).sum()), events + int(mine.sum())
                false, days = false + told.false, days + case.stream(np.zeros(0)).days
                delays += late[late >= 0].tolist()
        precision, recall = hits / max(hits + false, 1), hits / max(events, 1)
        share = hits / max(hits + false * events / max(every, 1), 1)
        return {
            "precision": precision,
            "recall": recall,
            **{f"f{beta}": f_beta(precision, recall, beta) for beta in (1, 2, 4)},
            "precision_share": share,
            "f1_share": f_beta(share, recall, 1),
            "delay_bars": float(np.mean(delays)) if delays else np.nan,
            "false_per_day": false / max(days, 1),
        }

    def area(self, name: str, kind: str) -> tuple[float, float]:
        """Return mean ROC AUC and average precision over the seeds."""
        known = [row.shapes[kind] for row in self.rows[name].values() if kind in row.shapes]
        return mean_of([one.roc_auc for one in known]), mean_of([one.average_precision for one in known])

    def share_visible(self, kind: str) -> tuple[int, int]:
        """Return how many events of a kind are visible, and how many there are."""
        seen = [
            bool(shown)
            for cases in self.cases.values()
            for case in cases
            for event, shown in zip(case.events, case.visible, strict=True)
            if event.kind == kind
        ]
        return sum(seen), len(seen)


def mean_of(values: Sequence[float]) -> float:
    """Return the mean of those that are known; NaN if none is."""
    known = [value for value in values if not np.isnan(value)]
    return float(np.mean(known)) if known else np.nan


def _recall(cases: Sequence[Case], row: Row, kind: str, visible: bool) -> float:
    hits = [
        delay >= 0
        for case, told in zip(cases, row.at_budget, strict=True)
        for event, delay, shown in zip(case.events, told.delays, case.visible, strict=True)
        if event.kind == kind and (shown or not visible)
    ]
    return float(np.mean(hits)) if hits else np.nan
