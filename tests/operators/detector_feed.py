"""Feeds a detector's logic as the judging step does, and collects what it says of each item by its identity."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from operators.bars import BarBatch, WindowedBars
from operators.breaks import BreakLog
from operators.detector import Detector, Explanation, Logic, Scores, Segments, segments_of_bars
from operators.shards import Splitter
from tapewatch.records import Array, Tape
from tapewatch.symbology import Interval, Symbols

SYMBOLS = Symbols(Interval(f"SYM{number}", number, 0, 1 << 31) for number in range(1, 2_000))


def tapes(records: Array, cuts: Sequence[int]) -> Iterator[Tape]:
    """Yield the batches of a tape."""
    clock = 0
    for seq, part in enumerate(np.split(records, sorted(min(cut, len(records)) for cut in cuts))):
        times = part["ts_recv"].astype(np.int64)
        clock = max(clock, int(times.max(initial=0)))
        yield Tape("TAPE", seq, "trades", "XSIM.TAPE", part, times, SYMBOLS, clock)


def severities(bars: Array) -> dict[str, Array]:
    """Return made-up severities of two members, the same for the same bar."""
    mixed = (bars["ts_start"] // 1_000_000_000 * 7919 + bars["volume"] * 104_729) % 10_007
    first = mixed / 100.07
    second = np.where(mixed % 11 == 0, np.nan, (mixed * 31) % 10_007 / 100.07)
    return {"high_volume": first, "price_jump": second}


@dataclass
class Feed:
    """One detector at work on one shard.

    ``said`` has, by (key, start, ordinal among its like), score and whether it is forced; ``explained`` the
    explanations of all items that were asked for.
    """

    detector: Detector
    explain_from: float = np.inf
    said: dict[tuple[Any, ...], tuple[float, bool]] = field(default_factory=dict)
    explained: list[tuple[Explanation, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.logic: Logic = self.detector.build(None)
        self.splitter = Splitter(1)
        self.bars = WindowedBars((self.detector.bar_width or "1m",), 0)
        self.breaks = BreakLog()
        self._count: dict[tuple[Any, ...], int] = {}

    def feed(self, records: Array, cuts: Sequence[int] = ()) -> Feed:
        """Take a tape."""
        for tape in tapes(records, cuts):
            self._take(tape)
        return self

    def _take(self, tape: Tape) -> None:
        (part,) = self.splitter.split(tape)
        batch = self.bars.on_batch(part)
        segments = self.segments(batch)
        if segments is not None:
            self._keep(self.logic.score(segments), segments)

    def segments(self, batch: BarBatch) -> Segments | None:
        """Return what the detector reads of a batch."""
        source, breaks = batch.batch, self.breaks.on_batch(batch)
        if self.detector.reads == "records":
            if not len(source.records):
                return None
            return Segments(
                batch.rows, source.starts, source.records, source.times, batch.names, batch.reached, breaks
            )
        bars = batch.closed.get(self.detector.bar_width or "1m")
        if bars is None or not len(bars):
            return None
        segments = segments_of_bars(bars, batch.names)
        return (
            replace(segments, severities=severities(bars))
            if self.detector.reads == "severities"
            else segments
        )

    def _keep(self, scores: Scores, given: Segments) -> None:
        segments = given if scores.judged is None else scores.judged
        assert len(scores.score) == len(segments.items) == segments.starts[-1]
        rows = segments.row_of
        forced = np.zeros(len(rows), bool) if scores.forced is None else scores.forced
        for i, (row, item) in enumerate(zip(rows.tolist(), np.asarray(segments.items), strict=True)):
            start = int(item["ts_event" if self.detector.reads == "records" else "ts_start"])
            place = (segments.names[row], start)
            self._count[place] = self._count.get(place, 0) + 1
            self.said[(*place, self._count[place])] = (float(scores.score[i]), bool(forced[i]))
        asked = np.flatnonzero((np.nan_to_num(scores.score) >= self.explain_from) | forced)
        for i in asked.tolist():
            told = self.logic.explain(segments.items[i], segments.names[rows[i]], scores, i, 1.0)
            self.explained.append((told, float(scores.score[i])))

    def resume(self) -> None:
        """Go on from a snapshot that has been through a store."""
        saved = pickle.loads(pickle.dumps(self.logic.snapshot()))
        self.logic = self.detector.build(saved)

    @property
    def state_bytes(self) -> int:
        """Size of what a snapshot of the logic takes."""
        return len(pickle.dumps(self.logic.snapshot()))

    def scores_of(self, key: str) -> list[float]:
        """Return the scores of one instrument in their order."""
        return [score for place, (score, _) in self.said.items() if place[0] == key]


def same(left: dict[Any, Any], right: dict[Any, Any]) -> bool:
    """Return whether two feeds said the same, bit for bit."""
    return left.keys() == right.keys() and all(repr(left[k]) == repr(right[k]) for k in left)
