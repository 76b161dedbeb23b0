"""``python -m benchmarks.detectors``: what each detector costs in CPU time (other work does not count).

On a tape read from a file (the real day of ``TAPEWATCH_TEST_DATA`` if that is set, else a simulated one), and
live: 200 instruments whose minute bars close together, a batch a minute.
"""

from __future__ import annotations

import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from connectors.market_simulator import MarketSimulation, simulate
from connectors.sessions import Session
from models.tapes import tapes_of_files, tapes_of_session
from operators.alarms import Judged
from operators.bars import BarBatch, WindowedBars
from operators.detector import Detector
from operators.detectors import detectors
from operators.incidents import Alarm
from operators.judge import Judge, JudgeSettings
from operators.shards import Splitter
from tapewatch.records import MINUTE, Tape

_LIVE = 200
_FEATURES, _STATISTICS = "features", "statistics"


class _TimedJudge(Judge):
    """Notes the thread's CPU seconds of each detector, its calibration and explanations included."""

    def __init__(self, settings: JudgeSettings) -> None:
        super().__init__(settings)
        self.seconds: defaultdict[str, float] = defaultdict(float)
        added, statistics = self._features.added, self._features.statistics

        def timed_added(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
            begun, others = time.thread_time(), self.seconds[_STATISTICS]
            try:
                return added(*arguments, **named)
            finally:
                others = self.seconds[_STATISTICS] - others
                self.seconds[_FEATURES] += time.thread_time() - begun - others

        def timed_statistics(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401
            begun = time.thread_time()
            try:
                return statistics(*arguments, **named)
            finally:
                self.seconds[_STATISTICS] += time.thread_time() - begun

        self._features.added = timed_added  # type: ignore[method-assign]
        self._features.statistics = timed_statistics  # type: ignore[method-assign]

    @property
    def _shared(self) -> float:
        """Seconds of what detectors share."""
        return self.seconds[_FEATURES] + self.seconds[_STATISTICS]

    def _note(self, detector: Detector, begun: float, shared: float) -> None:
        self.seconds[detector.id] += time.thread_time() - begun - (self._shared - shared)

    def _records(self, detector: Detector, *others: Any) -> Judged | None:  # noqa: ANN401
        begun, shared = time.thread_time(), self._shared
        judged = super()._records(detector, *others)
        self._note(detector, begun, shared)
        return judged

    def _bars(self, detector: Detector, *others: Any) -> Judged | None:  # noqa: ANN401
        begun, shared = time.thread_time(), self._shared
        judged = super()._bars(detector, *others)
        self._note(detector, begun, shared)
        return judged

    def _alarm(self, judged: Judged, batch: BarBatch, index: int) -> Alarm:
        begun = time.thread_time()
        alarm = super()._alarm(judged, batch, index)
        self._note(judged.detector, begun, self._shared)
        return alarm


@dataclass(frozen=True, slots=True)
class _Run:
    """What judging a tape took.

    Attributes
    ----------
    seconds
        CPU by detector (or part of one), and that of the features they share.
    whole
        CPU of all steps but reading and storing.
    """

    seconds: dict[str, float]
    trades: int
    bars: int
    whole: float


def main() -> int:
    """Measure and print the tables."""
    data = os.environ.get("TAPEWATCH_TEST_DATA")
    if data:
        path = Path(data) / "dbn" / "equs-mini-20131008.trades.dbn.zst"
        file, title = _judged(tapes_of_files([path])), path.name
    else:
        day = simulate(MarketSimulation(symbols=20, trades_per_minute=100.0))
        file, title = _judged(tapes_of_session(day)), "a simulated day"
    session = simulate(MarketSimulation(symbols=_LIVE, anomalies=()))
    live = _judged(_by_minute(session))
    print(f"thread CPU in ms for 100,000 items; file: {title}, live: {_LIVE} instruments, a batch a minute\n")
    print("| detector | items | file | live |\n|---|---|---|---|")
    of_trades = {detector.id for detector in detectors({}) if detector.reads == "records"}
    for name in (_FEATURES, _STATISTICS, *(detector.id for detector in detectors({}))):
        items = "trades" if name in of_trades else "bars"
        cells = (1e8 * run.seconds[name] / getattr(run, items) for run in (file, live))
        print(f"| `{name}` | {items} | " + " | ".join(f"{cell:,.0f}" for cell in cells) + " |")
    print(f"\n{_LIVE} instruments, all default detectors, minute bars: ", end="")
    print(
        f"{1000 * live.whole / session_minutes(session):.1f} ms of CPU per minute of market (goal: under 500)"
    )
    return 0


def session_minutes(session: Session) -> int:
    """Return the minutes in which the markets of a session are open.

    >>> session_minutes(simulate(MarketSimulation(symbols=1, minutes=5, anomalies=())))
    5
    """
    return sum(closes - opens for opens, closes in session.hours) // MINUTE


def _judged(tapes: Iterable[Tape]) -> _Run:
    settings = JudgeSettings(detectors({}), 1.0, 0, ("1m",), keep_scores=False, flow="market", source="")
    splitter, bars, judge = Splitter(1), WindowedBars(settings.widths, 0), _TimedJudge(settings)
    trades, closed, whole = 0, 0, 0.0
    for tape in tapes:
        begun = time.process_time()
        (shard,) = splitter.split(tape)
        batch = bars.on_batch(shard)
        judge.on_batch(batch)
        whole += time.process_time() - begun
        trades += len(tape.records)
        closed += len(batch.closed["1m"])
    return _Run(judge.seconds, trades, closed, whole)


def _by_minute(session: Session) -> Iterator[Tape]:
    """Yield a session's trades as they come: a batch a minute."""
    (tape,) = tapes_of_session(replace(session, records=session.records[:1]))
    times = session.records["ts_recv"].astype(np.int64)
    edges = np.searchsorted(times, np.arange(times[0], times[-1], MINUTE)).tolist()
    for number, (low, high) in enumerate(pairwise([*edges, len(times)])):
        records, clock = session.records[low:high], int(times[high - 1])
        yield replace(tape, seq=number, records=records, times=times[low:high], clock=clock)


if __name__ == "__main__":
    sys.exit(main())
