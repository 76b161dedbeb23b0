"""How well `price_jump` and `feed_integrity` find what was injected, and what they cost on clean tapes.

``python -m models.rule_quality --out docs`` makes ``docs/rule-quality.md`` again. Sizes and seeds are
fixed beforehand; the seeds are not those the detectors were tuned on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from connectors.injection_kinds import Injection
from connectors.injections import inject_all
from connectors.market_simulator import MarketSimulation, simulate
from connectors.numbering import Numbering, Unchecked
from connectors.sessions import Label, Session
from operators.bars import WindowedBars
from operators.detectors import KNOWN, detectors
from operators.judge import Judge, JudgeSettings
from operators.shards import Splitter
from tapewatch.documents import Anomaly
from tapewatch.records import DAY, HOUR, MINUTE, Tape
from tapewatch.symbology import Interval, Symbols


@dataclass(frozen=True, slots=True)
class Kind:
    """What is injected of one kind.

    Attributes
    ----------
    found_by
        A feature of the explanations of the part that has to find it.
    sizes, required
        Sizes, and the one at which 95 events in 100 have to be found.
    unit
        What the sizes are.
    """

    found_by: str
    sizes: tuple[float, ...]
    required: float
    unit: str


KINDS = {
    "price_jump": Kind("within_window", (4.0, 6.0, 8.0, 12.0), 8.0, "standard deviations of 30 minutes"),
    "bad_tick": Kind("distance_before", (0.25, 0.5, 1.0, 2.0, 4.0), 2.0, "percent off"),
    "silence": Kind("rhythm_before", (10.0, 15.0, 20.0, 30.0, 40.0), 20.0, "mean gaps of 30 minutes"),
    "gap": Kind("lost_records", (1.0, 5.0, 20.0, 60.0), 5.0, "seconds"),
}
#: The parts of the rules, by a feature of their explanations.
PARTS = {
    "price_jump": "within_window",
    "price_jump, bad ticks": "distance_before",
    "feed_integrity, silences": "rhythm_before",
    "feed_integrity, faults": "lost_records",
}
_INTRODUCTION = """\
# Quality of the rules

Measured by `python -m models.rule_quality` on simulated sessions ([simulator](simulator.md)) of 40
instruments, with five seeds that were not used for tuning, `price_jump` and `feed_integrity` alone at work.
Sizes were fixed beforehand: a jump of 8 standard deviations of the one-minute changes of the 30 minutes
before, a bad tick of 2 percent, a silence of 20 times the mean time between trades of the 30 minutes before,
and a gap of 5 seconds have to be found 95 times in 100.

One event per instrument and day, for gaps one per day, at a time left to chance after the first hour. An
event is found if an anomaly of the part in question touches it or the minute after. Day 1 has no history. On
clean tapes each detector is asked for one alarm a day and instrument; bad ticks and faults have nothing to
say there.

A silence is hard to tell from chance: trading half as busy as in the half hour before is nothing unusual, and
then 20 gaps are ten. The weights of the rhythms that it is held against and the prior of its tail were chosen
on seeds 7301 to 7312 and 7401 to 7408, and measured on these seeds once.

What this does not show: real tapes have heavier tails, opening and closing prints, and hours of their own.

"""
SEEDS = (91401, 91402, 91403, 91404, 91405)
_SYMBOLS = 40
_BATCH = 65_536


def judged(session: Session) -> list[Anomaly]:
    """Return the anomalies that the rules find in a session, with the flow's own operators."""
    others = [known.name for known in KNOWN if known.name not in ("price_jump", "feed_integrity")]
    rules = detectors({name: {"enabled": False} for name in others})
    settings = JudgeSettings(rules, 1.0, 0, (), keep_scores=False, flow="market", source="")
    splitter, bars, judge = Splitter(1), WindowedBars(settings.widths, 0), Judge(settings)
    found: dict[str, Anomaly] = {}
    for tape in _tapes(session):
        for part in splitter.split(tape):
            for results in judge.on_batch(bars.on_batch(part)):
                found.update({anomaly.id: anomaly for anomaly in results.anomalies})
                for name in results.deleted:
                    found.pop(name, None)
    return sorted(found.values(), key=lambda a: (a.ts_event, a.key, a.id))


def _tapes(session: Session) -> Iterator[Tape]:
    """Yield a session's batches with the gaps that its numbers show."""
    symbols = Symbols(Interval(symbol, number, 0, 1 << 31) for number, symbol in session.symbols.items())
    numbering, clock = Numbering(), 0
    for seq, at in enumerate(range(0, len(session.records), _BATCH)):
        records = session.records[at : at + _BATCH]
        times = records["ts_recv"].astype(np.int64)
        gaps = numbering.gaps(Unchecked(records, times, clock, None, symbols, None, ()))
        clock = max(clock, int(times.max()))
        yield Tape("study", seq, "trades", "", records, times, symbols, clock, gaps=gaps)


def costs(seeds: Sequence[int], days: int = 4) -> dict[str, list[float]]:
    """Return alarms per instrument and day on clean tapes, by part and day of the instrument's life."""
    counts = {name: np.zeros(days) for name in PARTS}
    for seed in seeds:
        session = simulate(MarketSimulation(symbols=_SYMBOLS, minutes=390 * days, seed=seed, anomalies=()))
        first = [opens // DAY for opens, _ in session.hours]
        for anomaly in judged(session):
            for name, feature in PARTS.items():
                counts[name][first.index(anomaly.ts_event // DAY)] += feature in anomaly.contributions
    return {name: (count / (len(seeds) * _SYMBOLS)).tolist() for name, count in counts.items()}


@dataclass(frozen=True, slots=True)
class Found:
    """Events of one kind, size and day: how many, how many found, and the incidents that touch these."""

    size: float
    day: int
    events: int
    found: int
    incidents: int


def recall(name: str, size: float, seeds: Sequence[int]) -> list[Found]:
    """Measure recall on two days: one event per instrument and day, one gap per day, after the first hour."""
    events, hit, incidents = np.zeros(2, int), np.zeros(2, int), np.zeros(2, int)
    for seed in seeds:
        session = simulate(MarketSimulation(symbols=_SYMBOLS, minutes=780, seed=seed, anomalies=()))
        study = inject_all(
            session, planned(session, name, size, np.random.default_rng(seed)), np.random.default_rng(seed)
        )
        alarms = judged(study)
        for label in study.labels:
            day = int(label.ts_start >= session.hours[0][1])
            touching = [alarm for alarm in alarms if touches(alarm, label)]
            found = any(KINDS[name].found_by in alarm.contributions for alarm in touching)
            events[day] += 1
            hit[day] += found
            incidents[day] += len({alarm.incident for alarm in touching}) if found else 0
    counts = zip(events.tolist(), hit.tolist(), incidents.tolist(), strict=True)
    return [Found(size, day + 1, *count) for day, count in enumerate(counts)]


def planned(session: Session, name: str, size: float, rng: np.random.Generator) -> list[Injection]:
    """Return the injections of one kind and size; a silence is as long as ``size`` gaps between trades."""
    times = session.records["ts_recv"].astype(np.int64)
    by_key = {
        key: times[session.records["instrument_id"] == number] for number, key in session.symbols.items()
    }
    plan = []
    for opens, closes in session.hours:
        for key in [next(iter(by_key))] if name == "gap" else by_key:
            at = int(rng.integers(opens + HOUR, closes - 20 * MINUTE))
            low, high = np.searchsorted(by_key[key], (at - 30 * MINUTE, at))
            minutes = 30 * size / max(int(high - low), 1)
            plan.append(Injection(name, key, at, minutes if name == "silence" else size))
    return plan


def touches(anomaly: Anomaly, label: Label) -> bool:
    """Return whether an anomaly is of the label's instrument and touches it or the minute after."""
    return (
        anomaly.key == label.key
        and anomaly.ts_start <= label.ts_end + MINUTE
        and label.ts_start <= anomaly.ts_end
    )


def tables(clean: dict[str, list[float]], rows: dict[str, list[Found]]) -> str:
    """Return the results as Markdown."""
    days = len(next(iter(clean.values())))
    lines = [
        "| clean tape, alarms per instrument | " + " | ".join(f"day {d + 1}" for d in range(days)) + " |",
        "|---|" + "---|" * days,
    ]
    for name, values in clean.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")
    for name, found in rows.items():
        lines += [
            "",
            f"| `{name}`: {KINDS[name].unit} | day | events | found | recall | incidents per found event |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {f.size:g} | {f.day} | {f.events} | {f.found} | {f.found / f.events:.3f} | "
            f"{f.incidents / max(f.found, 1):.2f} |"
            for f in found
        ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m models.rule_quality", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--days", type=int, default=4, help="clean days")
    parser.add_argument("--required-only", action="store_true", help="measure the required sizes alone")
    parser.add_argument("--out", type=Path, help="folder for rule-quality.md")
    options = parser.parse_args(arguments)
    rows = {
        name: [
            found
            for size in ([kind.required] if options.required_only else kind.sizes)
            for found in recall(name, size, options.seeds)
        ]
        for name, kind in KINDS.items()
    }
    text = tables(costs(options.seeds, options.days), rows)
    sys.stdout.write(text)
    if options.out is not None:
        (options.out / "rule-quality.md").write_text(_INTRODUCTION + text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
