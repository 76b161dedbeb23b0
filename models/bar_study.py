"""The study of injected bars: what each detector and baseline finds at one false alarm episode a day.

Events of five kinds and known size (`models.bar_events`) go into the last part of each instrument's bars,
a few a week; nobody is fitted to that part, nor chooses a threshold on it but for the common operating point
of one false episode per instrument and day. The detectors' own alarms, and for the baselines the threshold
that Youden's J picks on events in the first part, give precision and recall; so does, for both, the threshold
that F1 picks there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.bar_baselines import BASELINES
from models.bar_curves import shapes
from models.bar_events import Event, inject
from models.bar_results import EVERYTHING, Case, Result, Row
from models.bar_runs import run
from models.bar_series import Series
from models.bar_sigmas import USUAL, Reading
from models.bar_thresholds import by_f1, by_youden
from models.event_scores import Found, Stream, found, found_at, threshold_at
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
_DAY = 390
#: False episodes per instrument and day at which event recall is told; the headline is at one.
BUDGETS = (0.1, 0.3, 1.0, 3.0, 10.0)

Progress = Callable[[int, int], None]


def bar_detectors() -> tuple[Detector, ...]:
    """Return the detectors of one-minute bars as they are by default, the ensemble among them."""
    return tuple(d for d in detectors({}) if d.bar_width == "1m" and d.reads in {"bars", "severities"})


def others() -> tuple[Detector, ...]:
    """Return those that are off by default: they are measured, but are no part of the ensemble."""
    return Transformer(), ValueNovelty()


def case_of(series: Series, seed: int, reading: Reading = USUAL) -> Case:
    """Return the last part of a series with events in it, after some history; ``reading`` is of a sigma."""
    begin = max(series.cut - _HISTORY, 0)
    bars, first = series.bars[begin:], series.cut - begin
    rng = np.random.default_rng([seed, series.number])
    changed, events = inject(bars, first, EVENTS_PER_BAR, rng, reading=reading)
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


def study(
    series: Callable[[int], Sequence[Series]],
    seeds: Sequence[int] = SEEDS,
    progress: Progress = lambda done, total: None,
    reading: Reading = USUAL,
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
    reading
        What a sigma is, one of `models.bar_sigmas.READINGS`.
    """
    found = {}
    for done, seed in enumerate(seeds):
        found[seed] = streams_of(series(seed), seed, reading)
        progress(done + 1, len(seeds))
    return result_of(found, reading)


@dataclass(frozen=True, slots=True)
class SeedStreams:
    """What everyone says of one seed's events.

    Attributes
    ----------
    cases
        The last parts of the instruments.
    tested, earlier
        By scorer, a stream of scores of each instrument's last part, and of its first.
    alarms
        By detector, what its own alarms find in the last parts.
    """

    cases: list[Case]
    tested: dict[str, list[Stream]]
    earlier: dict[str, list[Stream]]
    alarms: dict[str, list[Found]]


def streams_of(series: Sequence[Series], seed: int, reading: Reading = USUAL) -> SeedStreams:
    """Return what everyone says of the instruments of a seed."""
    cases = [case_of(one, seed, reading) for one in series]
    first_parts = [_first_part(one, seed, reading) for one in series]
    told, before = ([_told(case, seed) for case in some] for some in (cases, first_parts))
    found = SeedStreams(cases, {}, {}, {})
    for name in told[0]:
        found.tested[name] = [case.stream(one[name].score) for case, one in zip(cases, told, strict=True)]
        found.earlier[name] = [
            case.stream(one[name].score) for case, one in zip(first_parts, before, strict=True)
        ]
        alarms = _by_alarms(found.tested[name], [one[name].alarm for one in told])
        if alarms:
            found.alarms[name] = alarms
    return found


def result_of(found: Mapping[int, SeedStreams], reading: Reading = USUAL) -> Result:
    """Return what the streams of some seeds come to; thresholds are chosen on the first parts alone."""
    result = Result({seed: one.cases for seed, one in found.items()}, {}, reading)
    for name in next(iter(found.values())).tested:
        by_all = by_f1([stream for one in found.values() for stream in one.earlier[name]])
        result.rows[name] = {}
        for seed, one in found.items():
            streams = one.tested[name]
            own = one.alarms.get(name) or found_at(streams, by_youden(one.earlier[name]))
            at = {budget: found_at(streams, threshold_at(streams, budget)) for budget in BUDGETS}
            recalls = {budget: _share(told) for budget, told in at.items()}
            result.rows[name][seed] = Row(at[1.0], own, found_at(streams, by_all), shapes(streams), recalls)
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


def _first_part(series: Series, seed: int, reading: Reading) -> Case:
    """Return the part before the last, with other events in its second half: the first is for fitting."""
    before = replace(series, bars=series.bars[: series.cut], cut=series.cut // 2)
    return case_of(before, seed + 1_000_000, reading)


def _share(told: Sequence[Found]) -> float:
    delays = np.concatenate([some.delays for some in told])
    return float((delays >= 0).mean()) if len(delays) else np.nan


def _by_alarms(streams: Sequence[Stream], alarms: Sequence[Array | None]) -> list[Found]:
    return [
        found(stream.first + np.flatnonzero(alarm[stream.first :]), stream.owner(), stream.events)
        for stream, alarm in zip(streams, alarms, strict=True)
        if alarm is not None
    ]
