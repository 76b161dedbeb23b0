"""The steps of the market flow without Bytewax, and what a sink would hold of their results."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace
from typing import Any

from operators.bars import WindowedBars
from operators.judge import Judge, JudgeSettings
from operators.shards import ShardBatch, Splitter
from tapewatch.documents import Results, anomaly_row, bar_rows
from tapewatch.late_rows import late_rows
from tapewatch.records import Tape


@dataclass
class Store:
    """What a sink would hold."""

    anomalies: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    bars: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)
    scores: dict[tuple[Any, ...], tuple[float, ...]] = field(default_factory=dict)
    counters: dict[tuple[str, str], int] = field(default_factory=dict)
    #: By key, clock and ordinal.
    late: dict[tuple[str, int, int], tuple[Any, ...]] = field(default_factory=dict)
    #: How many anomalies were taken back.
    deleted: int = 0

    def write(self, results: Results) -> None:
        """Write as a sink does: deletions first, then everything in place of what was there."""
        assert not {anomaly.id for anomaly in results.anomalies} & set(results.deleted)
        for name in results.deleted:
            self.deleted += self.anomalies.pop(name, None) is not None
        for anomaly in results.anomalies:
            self.anomalies[anomaly.id] = anomaly_row(replace(anomaly, detected_at=0))
        for table in results.bars:
            for row in bar_rows(table, results.dataset):
                self.bars[row[0], row[3], row[1], row[4]] = row
        for scored in results.scores:
            columns = (scored.instrument_ids, scored.ts_start, scored.ts_end)
            values = zip(
                *(c.tolist() for c in (scored.scores, scored.severities, scored.thresholds)), strict=True
            )
            for key, *place, value in zip(scored.keys, *(c.tolist() for c in columns), values, strict=True):
                at = (scored.detector, key, *place)
                self.scores[at] = max(self.scores.get(at, value), value)
        for row in () if results.late is None else late_rows(results.late, results.dataset):
            self.late[row[0], row[3], row[4]] = row
        for name, value in results.counters.items():
            self.counters[results.partition, name] = value

    def totals(self) -> dict[str, int]:
        """Return the counters summed over partitions and shards."""
        sums: dict[str, int] = {}
        for (_, name), value in self.counters.items():
            sums[name] = sums.get(name, 0) + value
        return sums

    @property
    def contents(self) -> tuple[Any, ...]:
        """Everything, for comparison."""
        return self.anomalies, self.bars, self.scores, self.totals(), self.late


class Line:
    """The steps of the market flow one after the other, without Bytewax, writing to a `Store`."""

    def __init__(self, settings: JudgeSettings, shards: int) -> None:
        self.settings, self.shards = settings, shards
        self.store = Store()
        self._splitter = Splitter(shards)
        self._steps = [self._built(None) for _ in range(shards)]

    def _built(self, saved: Any) -> tuple[WindowedBars, Judge]:
        bars, judge = (None, None) if saved is None else saved
        settings = self.settings
        parts = 2 * self.shards
        return WindowedBars(settings.widths, settings.lateness_ns, bars, parts), Judge(settings, judge)

    def feed(self, tape: Tape) -> None:
        """Take one batch."""
        for part in self._splitter.split(tape):
            self._feed(part)

    def _feed(self, part: ShardBatch) -> None:
        bars, judge = self._steps[part.shard]
        for results in judge.on_batch(bars.on_batch(part)):
            self.store.write(results)

    def end(self) -> None:
        """Do what the end of the input, or a graceful stop, does."""
        for bars, judge in self._steps:
            last = bars.on_eof()
            for results in [] if last is None else judge.on_batch(last):
                self.store.write(results)

    def snapshot(self) -> bytes:
        """Return the state as a recovery store holds it."""
        return pickle.dumps([(bars.snapshot(), judge.snapshot()) for bars, judge in self._steps])

    def resume(self, saved: bytes) -> None:
        """Go back to a snapshot; what was written stays written."""
        self._splitter = Splitter(self.shards)
        self._steps = [self._built(part) for part in pickle.loads(saved)]
