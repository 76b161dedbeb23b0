"""How good the detectors that learn are, on simulated sessions: what clean tapes cost, and what is found.

``python -m models.model_quality --out docs`` makes ``docs/models-quality-tables.md`` again. The seeds are not
those the detectors were tuned on.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from connectors.injections import KINDS
from connectors.market_simulator import MarketSimulation, simulate
from models.quality import judged, touches
from operators.detectors import KNOWN, detectors
from operators.judge import JudgeSettings
from tapewatch.records import DAY

NAMES = ("half_space_trees", "isolation_forest", "autoencoder")
SEEDS = (91_501, 91_502, 91_503, 91_504, 91_505)
_SYMBOLS, _DAYS, _SESSION = 40, 4, 390


def judging(names: Sequence[str] = NAMES) -> JudgeSettings:
    """Return these detectors with nothing stored."""
    sections = {detector.name: {"enabled": detector.name in names} for detector in KNOWN}
    chosen = detectors(sections)
    return JudgeSettings(chosen, 1.0, 0, (), keep_scores=False, flow="market", source="")


def costs(seeds: Sequence[int], symbols: int = _SYMBOLS, days: int = _DAYS) -> dict[str, list[float]]:
    """Return alarms per instrument on each day of clean tapes, by detector."""
    counts: Counter[tuple[str, int]] = Counter()
    for seed in seeds:
        session = simulate(
            MarketSimulation(symbols=symbols, minutes=_SESSION * days, seed=seed, anomalies=())
        )
        first = [opens // DAY for opens, _ in session.hours]
        counts.update((a.detector, first.index(a.ts_start // DAY)) for a in judged(session, judging()))
    share = 1 / (len(seeds) * symbols)
    return {name: [counts[name, day] * share for day in range(days)] for name in NAMES}


def found(seeds: Sequence[int], symbols: int = _SYMBOLS) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Return how many events there are of each kind on two days, and how many each detector finds."""
    events: Counter[str] = Counter()
    hits: Counter[tuple[str, str]] = Counter()
    for seed in seeds:
        session = simulate(MarketSimulation(symbols=symbols, minutes=2 * _SESSION, seed=seed))
        alarms = judged(session, judging())
        for label in session.labels:
            events[label.kind] += 1
            hits.update((name, label.kind) for name in {a.detector for a in alarms if touches(a, label)})
    return events, hits


def tables(cost: dict[str, list[float]], events: Counter[str], hits: Counter[tuple[str, str]]) -> str:
    """Return the results as Markdown."""
    days = len(next(iter(cost.values())))
    lines = [
        "| clean tape, alarms per instrument | " + " | ".join(f"day {day + 1}" for day in range(days)) + " |",
        "|---|" + "---|" * days,
        *(f"| `{name}` | " + " | ".join(f"{v:.2f}" for v in values) + " |" for name, values in cost.items()),
        "",
        "| found of the injected | " + " | ".join(f"`{name}`" for name in NAMES) + " | events |",
        "|---|" + "---|" * (len(NAMES) + 1),
    ]
    for kind in KINDS:
        shares = " | ".join(f"{hits[name, kind] / max(events[kind], 1):.2f}" for name in NAMES)
        lines.append(f"| {kind} | {shares} | {events[kind]} |")
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study and print its tables."""
    parser = argparse.ArgumentParser(prog="python -m models.model_quality", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--symbols", type=int, default=_SYMBOLS)
    parser.add_argument("--out", type=Path, help="folder for models-quality-tables.md")
    options = parser.parse_args(arguments)
    text = tables(costs(options.seeds, options.symbols), *found(options.seeds, options.symbols))
    sys.stdout.write(text)
    if options.out is not None:
        (options.out / "models-quality-tables.md").write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
