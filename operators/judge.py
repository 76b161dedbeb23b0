"""The one judging step of a shard: all detectors, their calibration, episodes and incidents, in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeAlias

import numpy as np

from operators.alarms import Judged, Stream, alarm_of, score_table
from operators.bars import BarBatch
from operators.breaks import BreakLog, Breaks
from operators.calibrate import Calibration, Verdicts
from operators.detector import Detector, Logic, Scores, Segments, segments_of_bars
from operators.early import EarlyLog, Outcome
from operators.incidents import Ahead, Alarm, Incidents
from operators.shared_features import SharedFeatures
from operators.tables import bar_tables, late_table
from operators.thin_trading import ThinTrading
from tapewatch.documents import Early, Results, ScoreTable
from tapewatch.log import log
from tapewatch.records import HOUR, Array, Floats
from tapewatch.settings import WIDTHS, Width

STATE_VERSION = 8
#: What each detector makes of the bars of one width, by its name: severities and scores.
_Opinions: TypeAlias = dict[str, dict[str, tuple[Floats, Floats]]]
#: The bars of one width, and the least severity of what is told of each.
_Windows: TypeAlias = tuple[Segments, Floats]


@dataclass(frozen=True, slots=True)
class JudgeSettings:
    """What the judging step needs of the settings.

    Attributes
    ----------
    budget
        Alarms of each detector per instrument and UTC day.
    stored
        Bar widths to store.
    """

    detectors: tuple[Detector, ...]
    budget: float
    lateness_ns: int
    stored: tuple[Width, ...]
    keep_scores: bool
    flow: str
    source: str

    @property
    def widths(self) -> tuple[Width, ...]:
        """Bar widths that anybody needs."""
        asked = {*self.stored, *(d.bar_width for d in self.detectors if d.bar_width is not None)}
        return tuple(width for width in WIDTHS if width in asked)


class Judge:
    """Judges the batches of one shard in their order.

    Parameters
    ----------
    settings
        What to judge with.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, settings: JudgeSettings, resume: dict[str, Any] | None = None) -> None:
        self._settings = settings
        saved = _fitting(resume, settings.detectors) if resume else {"logics": {}, "calibrations": {}}
        self._logics: dict[str, Logic] = {
            d.id: d.build(saved["logics"].get(d.id)) for d in settings.detectors
        }
        self._calibrations = {
            d.id: Calibration(
                d.scale,
                settings.budget * d.share,
                d.gap_ns + (WIDTHS[d.bar_width] if d.bar_width else 0),
                saved["calibrations"].get(d.id),
            )
            for d in settings.detectors
        }
        widest = max((WIDTHS[width] for width in settings.widths), default=0)
        self._breaks = BreakLog(2 * widest + settings.lateness_ns, saved.get("breaks"))
        judging = [(d, d.bar_width) for d in settings.detectors if d.bar_width is not None]
        self._features = SharedFeatures(
            {width for d, width in judging if d.uses_features},
            {width for d, width in judging if d.uses_statistics},
            saved.get("features"),
        )
        read = {width for _, width in judging}
        thin = saved.get("thin", {})
        self._thin: dict[str, ThinTrading] = {
            width: ThinTrading(thin.get(width)) for width in WIDTHS if width in read
        }
        self._incidents: Incidents = saved.get("incidents") or Incidents(HOUR)
        #: Widths of which all severities are wanted, because the ensemble reads them.
        self._together = {d.bar_width for d in settings.detectors if d.reads == "severities"}
        self._early = EarlyLog(saved.get("early"))

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "version": STATE_VERSION,
            "logics": {name: logic.snapshot() for name, logic in self._logics.items()},
            "calibrations": {name: c.snapshot() for name, c in self._calibrations.items()},
            "shapes": {d.id: d.shape for d in self._settings.detectors},
            "breaks": self._breaks.snapshot(),
            "features": self._features.snapshot(),
            "thin": {width: thin.snapshot() for width, thin in self._thin.items()},
            "incidents": self._incidents.copy(),
            "early": self._early.snapshot(),
        }

    def on_batch(self, batch: BarBatch) -> list[Results]:
        """Judge what a batch brought; the first of the results acknowledges it."""
        outcome = Outcome()
        scores: list[ScoreTable] = []
        alarms: list[Alarm] = []
        settled: list[tuple[str, int]] = []
        opinions: _Opinions = {}
        breaks = self._breaks.on_batch(batch)
        closed = self._windows(batch.closed, batch.names, learn=True)
        for order, detector in enumerate(self._settings.detectors):
            if detector.bar_width is None:
                judged = self._records(detector, order, batch, breaks)
            else:
                judged = self._bars(detector, order, closed, opinions)
            if judged is None:
                continue
            if judged.width_ns:
                settled += [(detector.id, int(row)) for row in judged.segments.rows]
            if self._settings.keep_scores:
                scores.append(score_table(judged))
            alarms += [self._alarm(judged, batch, int(i)) for i in judged.alarmed]
        for alarm in sorted(alarms, key=lambda a: (a.row, a.known, not a.width_ns, a.place, a.order)):
            for anomaly in self._incidents.add(alarm):
                outcome.told[anomaly.id] = anomaly
                self._early.stands([(d.id, alarm.row) for d in self._settings.detectors], anomaly)
        self._early.settle(settled, batch.names, outcome)
        opinions = {}
        shown = self._windows({w: some.bars for w, some in batch.open.items()}, batch.names, learn=False)
        for order, detector in enumerate(self._settings.detectors):
            windows = shown.get(detector.bar_width or "")
            if windows is not None:
                self._unfinished(detector, order, batch, windows, opinions, outcome)
        return self._results(batch, outcome, scores)

    def _windows(
        self, bars: Mapping[str, Array], names: Sequence[str], *, learn: bool
    ) -> dict[str, _Windows]:
        """Return the bars that detectors read, by width, as all of them are given them."""
        found = {}
        for width, some in bars.items():
            if width in self._thin and len(some):
                segments = segments_of_bars(some, names, self._breaks.touched(some, WIDTHS[width]))
                found[width] = segments, self._thin[width].least(segments, learn=learn)
        return found

    def _records(
        self, detector: Detector, order: int, batch: BarBatch, breaks: Breaks | None
    ) -> Judged | None:
        source = batch.batch
        if source.kind != "trades" or not len(source.records):
            return None
        segments = Segments(
            batch.rows, source.starts, source.records, source.times, batch.names, batch.reached, breaks
        )
        scores = self._logics[detector.id].score(segments)
        if scores.judged is None or scores.decided is None:
            verdicts = self._judge(detector, segments, scores)
            if scores.told_from is not None:
                verdicts = _of_note(verdicts, scores.told_from, scores.most)
            return Judged(detector, order, segments, scores, verdicts, batch.reached)
        verdicts = self._judge(detector, scores.judged, scores)
        if scores.told_from is not None:
            verdicts = _of_note(verdicts, scores.told_from, scores.most)
        known = batch.reached[scores.decided]
        return Judged(detector, order, scores.judged, scores, verdicts, known, scores.decided)

    def _bars(
        self, detector: Detector, order: int, closed: Mapping[str, _Windows], opinions: _Opinions
    ) -> Judged | None:
        width = detector.bar_width or "1m"
        if width not in closed:
            return None
        windows, least = closed[width]
        segments, scores = self._scored(detector, windows, opinions)
        verdicts = _of_note(self._judge(detector, segments, scores), least)
        if width in self._together:
            opinions.setdefault(width, {})[detector.id] = verdicts.severity, scores.score
        known = segments.times + WIDTHS[width] + self._settings.lateness_ns
        return Judged(detector, order, segments, scores, verdicts, known)

    def _scored(
        self, detector: Detector, segments: Segments, opinions: _Opinions, *, learn: bool = True
    ) -> tuple[Segments, Scores]:
        """Return bars and their scores, of which there are none where records are missing."""
        width = detector.bar_width or "1m"
        if detector.reads == "severities":
            told = opinions.get(width, {}).items()
            rare, raw = ({name: pair[i] for name, pair in told} for i in (0, 1))
            segments = replace(segments, severities=rare, scores=raw)
        if detector.uses_features:
            segments = self._features.added(segments, width, learn=learn)
        scores = self._logics[detector.id].score(segments, learn=learn)
        if segments.after_break is not None:
            scores.score[segments.after_break] = np.nan
        return segments, scores

    def _judge(self, detector: Detector, segments: Segments, scores: Scores) -> Verdicts:
        every = self._settings.keep_scores or detector.bar_width in self._together
        # Forced anomalies have a threshold and a severity to tell although they are no alarms.
        every = every or (scores.forced is not None and bool(scores.forced.any()))
        verdicts = self._calibrations[detector.id].judge(
            segments.rows, segments.starts, scores.score, segments.times, every=every
        )
        return verdicts if detector.least <= 0 else _only_of(verdicts, scores.score >= detector.least)

    def _alarm(self, judged: Judged, batch: BarBatch, index: int) -> Alarm:
        stream = Stream(self._settings.flow, self._settings.source, batch.batch.dataset)
        return alarm_of(judged, self._logics[judged.detector.id], stream, index)

    def _unfinished(
        self,
        detector: Detector,
        order: int,
        batch: BarBatch,
        windows: _Windows,
        opinions: _Opinions,
        outcome: Outcome,
    ) -> None:
        """Judge windows that are not over from what is known, and learn nothing.

        All windows of an instrument that stand in public are among them, so that what was told of it before
        is told anew, or taken back for good.
        """
        shown, least = windows
        segments, scores = self._scored(detector, shown, opinions, learn=False)
        verdicts = self._calibrations[detector.id].look(segments.row_of, scores.score, segments.times)
        verdicts = _only_of(verdicts, scores.score >= detector.least)
        verdicts = _of_note(verdicts, least)
        if detector.bar_width in self._together:
            opinions.setdefault(detector.bar_width or "", {})[detector.id] = verdicts.severity, scores.score
        judged = Judged(detector, order, segments, scores, verdicts, np.zeros(len(segments.items), np.int64))
        rows = {(detector.id, int(row)) for row in segments.rows}
        self._early.settle(sorted(rows), batch.names, outcome)
        ahead: Ahead = {}
        for i in judged.alarmed:
            alarm = self._alarm(judged, batch, int(i))
            anomaly, window = self._incidents.look(alarm, ahead), alarm.anomaly
            standing = self._incidents.latest(detector.id, alarm.row)
            if standing is not None and standing.id != anomaly.id:
                standing = None
            early = Early(
                anomaly.id, detector.name, window.key, window.instrument_id, window.ts_start, standing
            )  # fmt: skip
            self._early.tell((detector.id, alarm.row), anomaly, early, outcome)

    def _results(self, batch: BarBatch, outcome: Outcome, scores: list[ScoreTable]) -> list[Results]:
        source, flow = batch.batch, self._settings.flow
        tables = {width: bar_tables(batch, width) for width in self._settings.widths}
        results = [
            Results(
                f"{source.partition}/{source.shard}",
                source.shard,
                source.dataset,
                flow,
                bars=[table for width in self._settings.stored for table in tables[width]],
                anomalies=list(outcome.told.values()),
                deleted=outcome.deleted,
                taken_back=outcome.taken_back,
                early=list(outcome.early.values()),
                judged=[
                    (detector.name, table)
                    for detector in self._settings.detectors
                    if detector.bar_width is not None
                    for table in tables[detector.bar_width]
                ],
                late=late_table(batch),
                scores=scores,
                counters=batch.counters.get(source.shard, {}),
                seq=source.seq,
                credit=source.credit,
                clock=source.clock,
            )
        ]
        counted = {
            f"{source.partition}/{part}": counters
            for part, counters in batch.counters.items()
            if part != source.shard
        }
        if source.counters:
            counted[source.partition] = source.counters
        results += [
            Results(partition, source.shard, source.dataset, flow, counters=counters)
            for partition, counters in counted.items()
        ]
        return results


def _fitting(saved: dict[str, Any], detectors: Sequence[Detector]) -> dict[str, Any]:
    """Return a state without that of detectors that have another shape now; those begin anew."""
    shapes = saved.get("shapes", {})
    others = {d.id for d in detectors if shapes.get(d.id, d.shape) != d.shape}
    for name in sorted(others):
        _tell_of_another_shape(name)
    own = {
        part: {name: state for name, state in saved[part].items() if name not in others}
        for part in ("logics", "calibrations")
    }
    return {**saved, **own}


@cache
def _tell_of_another_shape(name: str) -> None:
    # Once, not for each shard.
    log.warning("%s has other settings than in the recovery store; it warms up anew", name)


def _only_of(verdicts: Verdicts, large: Array) -> Verdicts:
    """Return verdicts of which only some can be alarms."""
    return replace(verdicts, alarm=verdicts.alarm & large)


def _of_note(verdicts: Verdicts, least: Floats, most: Floats | None = None) -> Verdicts:
    """Return verdicts of which each can be an alarm only from a severity on; of most that is 0."""
    if not least.any():
        return verdicts
    severity = verdicts.severity if most is None else np.minimum(verdicts.severity, most)
    return _only_of(verdicts, (least == 0) | (severity >= least))
