"""How good the detectors are, on simulated sessions: the alarm budget, and recall against size.

``python -m models.quality --out docs`` makes the tables and the picture of ``docs/quality.md`` again. Sizes
and seeds are fixed beforehand; the seeds are not those the detectors were tuned on.
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
from connectors.sessions import Label, Session
from operators.bars import WindowedBars
from operators.detectors import detectors
from operators.judge import Judge, JudgeSettings
from operators.shards import Splitter
from tapewatch.documents import Anomaly
from tapewatch.records import DAY, HOUR, MINUTE, Tape
from tapewatch.symbology import Interval, Symbols

KINDS = ("high_volume", "block_trade")
#: Sizes at which the detectors have to find at least 95 %.
REQUIRED = {"high_volume": 8.0, "block_trade": 3.0}
SIZES = {
    "high_volume": (2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0),
    "block_trade": (0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0),
}
SEEDS = (9001, 9002, 9003, 9004, 9005)
_SYMBOLS = 40
_BATCH = 65_536


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
    symbols = Symbols(Interval(symbol, number, 0, 1 << 31) for number, symbol in session.symbols.items())
    splitter, bars, judge = Splitter(1), WindowedBars(settings.widths, settings.lateness_ns), Judge(settings)
    found: dict[str, Anomaly] = {}
    for tape in _tapes(session, symbols):
        for part in splitter.split(tape):
            for results in judge.on_batch(bars.on_batch(part)):
                found.update({anomaly.id: anomaly for anomaly in results.anomalies})
                for name in results.deleted:
                    found.pop(name, None)
    return sorted(found.values(), key=lambda a: (a.ts_event, a.key, a.detector))


def _tapes(session: Session, symbols: Symbols) -> Iterator[Tape]:
    for seq, at in enumerate(range(0, len(session.records), _BATCH)):
        records = session.records[at : at + _BATCH]
        times = records["ts_recv"].astype(np.int64)
        yield Tape("study", seq, "trades", "", records, times, symbols, int(times[-1]))


@dataclass(frozen=True, slots=True)
class Budget:
    """Alarms per instrument and day on clean tapes, by detector and day of the instrument's life."""

    detector: str
    by_day: tuple[float, ...]


def budgets(seeds: Sequence[int], days: int = 4) -> list[Budget]:
    """Measure what clean tapes cost in false alarms."""
    counts = {kind: np.zeros(days) for kind in KINDS}
    for seed in seeds:
        config = MarketSimulation(symbols=_SYMBOLS, minutes=390 * days, seed=seed, anomalies=())
        session = simulate(config)
        first = [opens // DAY for opens, _ in session.hours]
        for anomaly in judged(session, judging()):
            counts[anomaly.detector][first.index(anomaly.ts_start // DAY)] += 1
    return [Budget(kind, tuple(counts[kind] / (len(seeds) * _SYMBOLS))) for kind in KINDS]


@dataclass(frozen=True, slots=True)
class Recall:
    """Events of one size on one day: how many were injected and found, and how many incidents they made."""

    kind: str
    size: float
    day: int
    events: int
    found: int
    incidents: int


def recalls(kind: str, sizes: Sequence[float], seeds: Sequence[int]) -> list[Recall]:
    """Measure recall: one event per instrument and day, at a time left to chance after the first hour."""
    rows = []
    for size in sizes:
        events, found, incidents = np.zeros(2, int), np.zeros(2, int), np.zeros(2, int)
        for seed in seeds:
            config = MarketSimulation(symbols=_SYMBOLS, minutes=780, seed=seed, anomalies=())
            session = simulate(config)
            rng = np.random.default_rng(seed)
            plan = [
                Injection(
                    kind,
                    key,
                    int(rng.integers(opens + HOUR, closes - 20 * MINUTE)),
                    size,
                    MINUTE if kind == "high_volume" else None,
                )
                for opens, closes in session.hours
                for key in session.symbols.values()
            ]
            plan = [
                i._replace(at_ns=i.at_ns - i.at_ns % MINUTE) if kind == "high_volume" else i for i in plan
            ]
            study = inject_all(session, plan, rng)
            alarms = judged(study, judging())
            for label in study.labels:
                day = 0 if label.ts_start < session.hours[0][1] else 1
                hits = [a for a in alarms if touches(a, label)]
                events[day] += 1
                found[day] += any(a.detector == kind for a in hits)
                incidents[day] += len({a.incident for a in hits})
        rows += [
            Recall(kind, size, d + 1, int(events[d]), int(found[d]), int(incidents[d])) for d in range(2)
        ]
    return rows


def touches(anomaly: Anomaly, label: Label) -> bool:
    """Return whether an anomaly is of the label's instrument and touches it or the minute after."""
    return (
        anomaly.key == label.key
        and anomaly.ts_start <= label.ts_end + MINUTE
        and label.ts_start <= anomaly.ts_end
    )


def tables(costs: Sequence[Budget], rows: Sequence[Recall]) -> str:
    """Return the results as Markdown."""
    days = len(costs[0].by_day)
    lines = [
        "| clean tape, alarms per instrument | " + " | ".join(f"day {d + 1}" for d in range(days)) + " |",
        "|---|" + "---|" * days,
    ]
    lines += [f"| `{c.detector}` | " + " | ".join(f"{v:.2f}" for v in c.by_day) + " |" for c in costs]
    for kind in KINDS:
        unit = "times the local median volume" if kind == "high_volume" else "times the 99.99th percentile"
        lines += [
            "",
            f"| `{kind}`: {unit} | day | events | found | recall | incidents per found event |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {r.size:g} | {r.day} | {r.events} | {r.found} | {r.found / r.events:.3f} | "
            f"{r.incidents / max(r.found, 1):.2f} |"
            for r in rows
            if r.kind == kind
        ]
    return "\n".join(lines) + "\n"


def picture(rows: Sequence[Recall], path: Path) -> None:
    """Draw recall against size."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(1, len(KINDS), figsize=(10, 3.6), sharey=True)
    for axis, kind in zip(axes, KINDS, strict=True):
        for day, style in ((1, "--"), (2, "-")):
            mine = [r for r in rows if r.kind == kind and r.day == day]
            axis.plot(
                [r.size for r in mine],
                [r.found / r.events for r in mine],
                style,
                marker="o",
                label=f"day {day}",
            )
        axis.axvline(REQUIRED[kind], color="grey", linewidth=0.8)
        axis.axhline(0.95, color="grey", linewidth=0.8)
        axis.set(title=kind, xscale="log", ylim=(0, 1.03))
        axis.set_xlabel(
            "times the local median volume" if kind == "high_volume" else "times the 99.99th percentile"
        )
        axis.legend(loc="lower right")
    axes[0].set_ylabel("recall")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m models.quality", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--out", type=Path, help="folder for quality-tables.md and quality-recall.png")
    parser.add_argument(
        "--required-only", action="store_true", help="measure recall at the required sizes alone"
    )
    options = parser.parse_args(arguments)
    costs = budgets(options.seeds)
    rows: list[Recall] = []
    for kind in KINDS:
        rows += recalls(kind, [REQUIRED[kind]] if options.required_only else SIZES[kind], options.seeds)
    text = tables(costs, rows)
    sys.stdout.write(text)
    if options.out is not None:
        (options.out / "quality-tables.md").write_text(text)
        picture(rows, options.out / "quality-recall.png")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
