"""The study of injected bars: what each detector and baseline finds at one false alarm episode a day.

Events of five kinds and known size (`models.bar_events`) go into the last part of each instrument's bars,
a few a week; nobody is fitted to that part, nor chooses a threshold on it but for the common operating point
of one false episode per instrument and day. The detectors' own alarms, and for the baselines the threshold
that Youden's J picks on events in the first part, give precision and recall; so does, for both, the threshold
that F1 picks there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.bar_baselines import BASELINES
from models.bar_curves import ANY, Shape, shapes
from models.bar_events import KINDS, SIZES, Event, inject
from models.bar_runs import run
from models.bar_series import Series
from models.bar_thresholds import by_f1, by_youden
from models.event_scores import Found, Stream, f_beta, found, found_at, threshold_at
from operators.detector import Detector, segments_of_bars
from operators.detectors import detectors
from operators.features import BarFeatures
from operators.transformer import Transformer
from operators.value_novelty import ValueNovelty
from tapewatch.records import MINUTE, Array, Floats

SEEDS = (70_001, 70_002, 70_003, 70_004, 70_005)
#: An event a session of 390 minutes.
EVENTS_PER_BAR = 1 / 390
#: Bars before the last part that are streamed so that nobody starts cold.
_HISTORY = 4_000
#: Where sizes are cut in tables.
SIZE_EDGES = (SIZES[0], 3.0, 10.0, SIZES[1])
_DAY = 390
#: False episodes per instrument and day at which event recall is told; the headline is at one.
BUDGETS = (0.1, 0.3, 1.0, 3.0, 10.0)
#: Flags every bar.
EVERYTHING = "everything"

Progress = Callable[[int, int], None]


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


def bar_detectors() -> tuple[Detector, ...]:
    """Return the detectors of one-minute bars as they are by default, the ensemble among them."""
    return tuple(d for d in detectors({}) if d.bar_width == "1m" and d.reads in {"bars", "severities"})


def others() -> tuple[Detector, ...]:
    """Return those that are off by default: they are measured, but are no part of the ensemble."""
    return Transformer(), ValueNovelty()


def case_of(series: Series, seed: int) -> Case:
    """Return the last part of a series with events in it, after some history."""
    begin = max(series.cut - _HISTORY, 0)
    bars, first = series.bars[begin:], series.cut - begin
    changed, events = inject(bars, first, EVENTS_PER_BAR, np.random.default_rng([seed, series.number]))
    return Case(series.name, changed, events, first, _visible(bars, changed, events, first))


def _visible(bars: Array, changed: Array, events: Sequence[Event], first: int) -> Array:
    """Return which events move some feature beyond what untouched bars of that part exceed once a day."""
    clean, shown = (
        np.abs(np.nan_to_num(BarFeatures(MINUTE).update(segments_of_bars(part, [""])).values))
        for part in (bars, changed)
    )
    tested = clean[first:]
    limit = np.quantile(tested, 1 - min(1 / _DAY, 0.5), axis=0)
    # A feature that no bar can tell is always 0.
    limit[limit <= 0] = np.inf
    beyond = (shown > limit) & (shown > clean + 0.5)
    return np.array([bool(beyond[event.first : event.last + 1].any()) for event in events], bool)


@dataclass(frozen=True, slots=True)
class Row:
    """What one scorer makes of one seed's cases: lists run over events.

    Attributes
    ----------
    at_budget
        Found at one false episode per instrument and day.
    own
        Found by its own alarms, or None.
    chosen
        Found at the threshold that `models.bar_thresholds` picks for F1 on events in the first parts.
    shapes
        Areas and curves by kind of event, `models.bar_curves.ANY` among them; those without events are not.
    recalls
        Event recall at each of `BUDGETS`.
    """

    at_budget: list[Found]
    own: list[Found] | None
    chosen: list[Found]
    shapes: dict[str, Shape]
    recalls: dict[float, float]


@dataclass(frozen=True, slots=True)
class Result:
    """All cases by seed, and a `Row` by scorer and seed."""

    cases: dict[int, list[Case]]
    rows: dict[str, dict[int, Row]]

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
            given = row.chosen if chosen else row.own or []
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


def study(
    series: Callable[[int], Sequence[Series]],
    seeds: Sequence[int] = SEEDS,
    progress: Progress = lambda done, total: None,
) -> Result:
    """Return what everyone finds.

    Parameters
    ----------
    series
        Gives the instruments of a seed.
    seeds
        Of what is injected, and of the baselines.
    progress
        Told of seeds that are done.
    """
    result = Result({}, {})
    tested: dict[str, dict[int, list[Stream]]] = {}
    earlier: dict[str, list[Stream]] = {}
    for done, seed in enumerate(seeds):
        given = series(seed)
        result.cases[seed] = cases = [case_of(one, seed) for one in given]
        first_parts = [_first_part(one, seed) for one in given]
        told = [_told(case, seed) for case in cases]
        before = [_told(case, seed) for case in first_parts]
        for name in told[0]:
            streams = [case.stream(one[name].score) for case, one in zip(cases, told, strict=True)]
            held = [case.stream(one[name].score) for case, one in zip(first_parts, before, strict=True)]
            alarms = [one[name].alarm for one in told]
            own = _by_alarms(streams, alarms) or found_at(streams, by_youden(held))
            result.rows.setdefault(name, {})[seed] = _row(streams, own)
            tested.setdefault(name, {})[seed] = streams
            earlier.setdefault(name, []).extend(held)
        progress(done + 1, len(seeds))
    for name, rows in result.rows.items():
        threshold = by_f1(earlier[name])
        for seed, row in rows.items():
            rows[seed] = replace(row, chosen=found_at(tested[name][seed], threshold))
    return result


@dataclass(frozen=True, slots=True)
class _Told:
    """What a scorer says of bars, by which instruments compare, and its own alarms if it raises any."""

    score: Floats
    alarm: Array | None = None


def _told(case: Case, seed: int) -> dict[str, _Told]:
    """Return what detectors, baselines and `EVERYTHING` say of the bars of a case."""
    runs = run(bar_detectors(), case.bars) | run(others(), case.bars)
    # A severity compares across instruments, which is what it is for.
    found = {name: _Told(one.severity, one.alarm) for name, one in runs.items()}
    found |= {name: _Told(score(case.bars, case.first, seed)) for name, score in BASELINES.items()}
    return found | {EVERYTHING: _Told(np.ones(len(case.bars)))}


def _first_part(series: Series, seed: int) -> Case:
    """Return the part before the last, with other events in its second half: the first is for fitting."""
    before = replace(series, bars=series.bars[: series.cut], cut=series.cut // 2)
    return case_of(before, seed + 1_000_000)


def _row(streams: Sequence[Stream], own: list[Found] | None) -> Row:
    at = {budget: found_at(streams, threshold_at(streams, budget)) for budget in BUDGETS}
    return Row(at[1.0], own, [], shapes(streams), {budget: _share(told) for budget, told in at.items()})


def _share(told: Sequence[Found]) -> float:
    delays = np.concatenate([some.delays for some in told])
    return float((delays >= 0).mean()) if len(delays) else np.nan


def _by_alarms(streams: Sequence[Stream], alarms: Sequence[Array | None]) -> list[Found]:
    return [
        found(stream.first + np.flatnonzero(alarm[stream.first :]), stream.owner(), stream.events)
        for stream, alarm in zip(streams, alarms, strict=True)
        if alarm is not None
    ]
