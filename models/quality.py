"""How good the detectors are where the truth is known: the alarm budget, and recall against size.

Sizes and seeds are fixed beforehand; the seeds are not those the detectors were tuned on. ``tapewatch
evaluate injected`` prints the tables, ``make quality`` makes those of ``docs/quality.md`` again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from connectors.injection_kinds import Injection
from connectors.injections import inject_all
from connectors.market_simulator import MarketSimulation, simulate
from connectors.sessions import Label, Session
from models.tapes import tapes_of_session
from operators.bars import WindowedBars
from operators.detectors import detectors
from operators.judge import Judge, JudgeSettings
from operators.shards import Splitter
from tapewatch.documents import Anomaly
from tapewatch.records import DAY, HOUR, MINUTE, Tape

KINDS = ("high_volume", "block_trade")
#: Sizes at which the detectors have to find at least 95 %.
REQUIRED = {"high_volume": 8.0, "block_trade": 3.0}
SIZES = {
    "high_volume": (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0),
    "block_trade": (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
}
#: Never tuned on.
SEEDS = tuple(range(91_301, 91_307))
_SYMBOLS = 40
_CLEAN_DAYS, _INJECTED_DAYS = 4, 2
#: Nothing is injected in the first hour of a day, or in its last twenty minutes.
_FIRST_NS, _LAST_NS = HOUR, 20 * MINUTE

#: Makes a clean session of so many days from a seed.
Source = Callable[[int, int], Session]
#: Called with how many of how many sessions have been judged.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Clean:
    """What one detector tells of tapes into which nothing was injected, on one day of an instrument's life.

    Attributes
    ----------
    day
        1 is the first day.
    instruments
        Instruments that traded on such a day, over all sessions.
    """

    detector: str
    day: int
    instruments: int
    alarms: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Events of one size on one day: how many were injected and found, and how many incidents they made."""

    kind: str
    size: float
    day: int
    events: int
    found: int
    incidents: int


@dataclass(frozen=True, slots=True)
class Study:
    """Both tables."""

    clean: tuple[Clean, ...]
    recalls: tuple[Recall, ...]

    def as_json(self) -> dict[str, Any]:
        """Return the tables as plain values, with the rates."""
        return {
            "clean": [
                {"detector": c.detector, "day": c.day, "instruments": c.instruments, "alarms": c.alarms,
                 "alarms_per_instrument": c.alarms / max(c.instruments, 1)}
                for c in self.clean
            ],
            "recall": [
                {"kind": r.kind, "size": r.size, "day": r.day, "events": r.events, "found": r.found,
                 "recall": r.found / max(r.events, 1), "incidents": r.incidents,
                 "incidents_per_found_event": r.incidents / max(r.found, 1)}
                for r in self.recalls
            ],
        }  # fmt: skip


def simulated(seed: int, days: int) -> Session:
    """Return a clean simulated session of the study's size."""
    return simulate(MarketSimulation(symbols=_SYMBOLS, minutes=390 * days, seed=seed, anomalies=()))


def judging(budget: float = 1.0) -> JudgeSettings:
    """Return the default detectors with nothing stored."""
    return JudgeSettings(detectors({}), budget, 0, (), keep_scores=False, flow="market", source="")


def judged(session: Session, settings: JudgeSettings) -> list[Anomaly]:
    """Return the anomalies that the flow's own operators find in a session.

    Parameters
    ----------
    session
        Trades and their symbols.
    settings
        What to judge with.
    """
    return judged_tapes(tapes_of_session(session), settings)


def judged_tapes(tapes: Iterable[Tape], settings: JudgeSettings) -> list[Anomaly]:
    """Return the anomalies that the flow's own operators find in the batches of one source partition."""
    splitter, bars, judge = Splitter(1), WindowedBars(settings.widths, settings.lateness_ns), Judge(settings)
    found: dict[str, Anomaly] = {}
    for tape in tapes:
        for part in splitter.split(tape):
            for results in judge.on_batch(bars.on_batch(part)):
                found.update({anomaly.id: anomaly for anomaly in results.anomalies})
                for name in results.deleted:
                    found.pop(name, None)
    return sorted(found.values(), key=lambda a: (a.ts_event, a.key, a.detector))


def study(
    seeds: Sequence[int] = SEEDS,
    sizes: Mapping[str, Sequence[float]] = SIZES,
    source: Source = simulated,
    progress: Progress = lambda done, total: None,
) -> Study:
    """Measure the alarm budget on clean tapes, and recall on the same tapes with one event a day.

    Parameters
    ----------
    seeds
        Of the sessions, and of where and when is injected; each is a session by itself.
    sizes
        What to inject, by kind; units as in `connectors.injections.inject`.
    source
        Makes the clean sessions.
    progress
        Told of each session that has been judged.
    """
    clean: dict[tuple[str, int], list[int]] = {}
    recalls: dict[tuple[str, float, int], list[int]] = {}
    steps = len(seeds) * (1 + sum(len(some) for some in sizes.values()))
    done = 0
    for seed in seeds:
        _count_clean(source(seed, _CLEAN_DAYS), clean)
        progress(done := done + 1, steps)
        session = source(seed, _INJECTED_DAYS)
        for kind, some in sizes.items():
            for size in some:
                _count_found(session, kind, size, seed, recalls)
                progress(done := done + 1, steps)
    return Study(
        tuple(Clean(*place, *counts) for place, counts in sorted(clean.items())),
        tuple(Recall(*place, *counts) for place, counts in recalls.items()),
    )


def _count_clean(session: Session, counts: dict[tuple[str, int], list[int]]) -> None:
    first = [opens // DAY for opens, _ in session.hours]
    settings = judging()
    times = session.records["ts_recv"].astype(np.int64)
    for day, (opens, closes) in enumerate(session.hours, start=1):
        low, high = np.searchsorted(times, (opens, closes))
        traded = len(np.unique(session.records["instrument_id"][low:high]))
        for name in {detector.name for detector in settings.detectors}:
            counts.setdefault((name, day), [0, 0])[0] += traded
    for anomaly in judged(session, settings):
        counts[anomaly.detector, 1 + first.index(anomaly.ts_start // DAY)][1] += 1


def _count_found(
    session: Session, kind: str, size: float, seed: int, counts: dict[tuple[str, float, int], list[int]]
) -> None:
    """Inject one event per instrument and day, at a time left to chance, and count those that are found."""
    rng = np.random.default_rng(seed)
    injected = session
    for opens, closes in session.hours:
        if closes - _LAST_NS <= opens + _FIRST_NS:
            continue
        plan = [
            Injection(kind, key, _when(rng, kind, opens, closes), size, _lasting(kind))
            for key in session.symbols.values()
        ]
        injected = _injected(injected, plan, rng)
    alarms = judged(injected, judging())
    for label in injected.labels:
        day = 1 + sum(label.ts_start >= closes for _, closes in session.hours)
        hits = [alarm for alarm in alarms if touches(alarm, label)]
        count = counts.setdefault((kind, size, day), [0, 0, 0])
        count[0] += 1
        count[1] += any(alarm.detector == kind for alarm in hits)
        count[2] += len({alarm.incident for alarm in hits})


def _when(rng: np.random.Generator, kind: str, opens: int, closes: int) -> int:
    at = int(rng.integers(opens + _FIRST_NS, closes - _LAST_NS))
    return at - at % MINUTE if kind == "high_volume" else at


def _lasting(kind: str) -> int | None:
    return MINUTE if kind == "high_volume" else None


def _injected(session: Session, plan: list[Injection], rng: np.random.Generator) -> Session:
    """Inject all that can be; an instrument that hardly trades there has nothing to measure by."""
    try:
        return inject_all(session, plan, rng)
    except ValueError:
        for injection in plan:
            try:
                session = inject_all(session, [injection], rng)
            except ValueError:
                continue
        return session


def touches(anomaly: Anomaly, label: Label) -> bool:
    """Return whether an anomaly is of the label's instrument and touches it or the minute after."""
    return (
        anomaly.key == label.key
        and anomaly.ts_start <= label.ts_end + MINUTE
        and label.ts_start <= anomaly.ts_end
    )
