"""The one judging step of a shard: all detectors, their calibration, episodes and incidents, in one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.bars import BarBatch
from operators.calibrate import Calibration, Verdicts
from operators.detector import Detector, Logic, Scores, Segments, segments_of_bars
from operators.incidents import Alarm, Incidents
from tapewatch.documents import Anomaly, BarTable, Results, ScoreTable, anomaly_id
from tapewatch.records import HOUR, Array, Int64s
from tapewatch.settings import WIDTHS, Width

STATE_VERSION = 1
_LEAST_FORCED = 50.0


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
        saved = resume or {"logics": {}, "calibrations": {}}
        self._logics: dict[str, Logic] = {
            d.name: d.build(saved["logics"].get(d.name)) for d in settings.detectors
        }
        self._calibrations = {
            d.name: Calibration(d.scale, settings.budget, saved["calibrations"].get(d.name))
            for d in settings.detectors
        }
        self._incidents: Incidents = saved.get("incidents") or Incidents(HOUR)
        #: Ids told of windows that were not over, by (detector, row).
        self._early: dict[tuple[str, int], list[str]] = dict(saved.get("early", {}))

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "version": STATE_VERSION,
            "logics": {name: logic.snapshot() for name, logic in self._logics.items()},
            "calibrations": {name: c.snapshot() for name, c in self._calibrations.items()},
            "incidents": self._incidents.copy(),
            "early": {key: list(ids) for key, ids in self._early.items()},
        }

    def on_batch(self, batch: BarBatch) -> list[Results]:
        """Judge what a batch brought; the first of the results acknowledges it."""
        told: dict[str, Anomaly] = {}
        deleted: list[str] = []
        scores: list[ScoreTable] = []
        alarms: list[Alarm] = []
        settled: list[tuple[str, int]] = []
        for order, detector in enumerate(self._settings.detectors):
            if detector.bar_width is None:
                alarms += self._records(detector, order, batch, scores)
                continue
            closed = batch.closed.get(detector.bar_width)
            if closed is not None and len(closed):
                alarms += self._bars(detector, order, batch, closed, scores)
                settled += [(detector.name, int(row)) for row in np.unique(closed["row"])]
        for alarm in sorted(alarms, key=lambda a: (a.row, a.known, not a.width_ns, a.place, a.order)):
            told.update({anomaly.id: anomaly for anomaly in self._incidents.add(alarm)})
        self._settle(settled, told, deleted)
        for order, detector in enumerate(self._settings.detectors):
            shown = batch.open.get(detector.bar_width or "")
            if shown is not None and len(shown.bars):
                self._unfinished(detector, order, batch, shown.bars, told, deleted)
        return self._results(batch, list(told.values()), deleted, scores)

    def _records(
        self, detector: Detector, order: int, batch: BarBatch, kept: list[ScoreTable]
    ) -> list[Alarm]:
        source = batch.batch
        if source.kind != "trades" or not len(source.records):
            return []
        segments = Segments(batch.rows, source.starts, source.records, source.times, batch.names)
        scores = self._logics[detector.name].score(segments)
        verdicts = self._judge(detector, segments, scores)
        if self._settings.keep_scores:
            ts = source.records["ts_event"].astype(np.int64)
            kept.append(_score_table(detector, segments, scores, verdicts, ts, ts + 1))
        return [
            self._alarm(detector, order, batch, segments, scores, verdicts, int(i), int(batch.reached[i]))
            for i in np.flatnonzero(verdicts.alarm)
        ]

    def _bars(
        self, detector: Detector, order: int, batch: BarBatch, bars: Array, kept: list[ScoreTable]
    ) -> list[Alarm]:
        segments = segments_of_bars(bars, batch.names)
        scores = self._logics[detector.name].score(segments)
        verdicts = self._judge(detector, segments, scores)
        width = WIDTHS[detector.bar_width or "1m"]
        if self._settings.keep_scores:
            kept.append(
                _score_table(detector, segments, scores, verdicts, segments.times, segments.times + width)
            )
        known = segments.times + width + self._settings.lateness_ns
        return [
            self._alarm(detector, order, batch, segments, scores, verdicts, int(i), int(known[i]))
            for i in np.flatnonzero(verdicts.alarm | (False if scores.forced is None else scores.forced))
        ]

    def _judge(self, detector: Detector, segments: Segments, scores: Scores) -> Verdicts:
        return self._calibrations[detector.name].judge(
            segments.rows, segments.starts, scores.score, segments.times, every=self._settings.keep_scores
        )

    def _unfinished(
        self,
        detector: Detector,
        order: int,
        batch: BarBatch,
        bars: Array,
        told: dict[str, Anomaly],
        deleted: list[str],
    ) -> None:
        """Judge windows that are not over from what is known, and learn nothing."""
        segments = segments_of_bars(bars, batch.names)
        scores = self._logics[detector.name].score(segments, learn=False)
        verdicts = self._calibrations[detector.name].look(segments.row_of, scores.score)
        rows = {(detector.name, int(row)) for row in segments.rows}
        self._settle(sorted(rows), told, deleted)
        alarmed = verdicts.alarm | (False if scores.forced is None else scores.forced)
        for i in np.flatnonzero(alarmed):
            alarm = self._alarm(detector, order, batch, segments, scores, verdicts, int(i), 0)
            anomaly = self._incidents.look(alarm)
            told[anomaly.id] = anomaly
            self._early.setdefault((detector.name, alarm.row), []).append(anomaly.id)
            if anomaly.id in deleted:
                deleted.remove(anomaly.id)

    def _settle(
        self, places: Sequence[tuple[str, int]], told: dict[str, Anomaly], deleted: list[str]
    ) -> None:
        """Take back what was told of unfinished windows, as it is told anew or turned out as nothing."""
        for place in places:
            for name in self._early.pop(place, ()):
                if name in told:
                    continue
                standing = self._incidents.latest(*place)
                if standing is not None and standing.id == name:
                    told[name] = standing
                else:
                    deleted.append(name)

    def _alarm(
        self,
        detector: Detector,
        order: int,
        batch: BarBatch,
        segments: Segments,
        scores: Scores,
        verdicts: Verdicts,
        index: int,
        known: int,
    ) -> Alarm:
        item = segments.items[index]
        row = int(segments.rows[np.searchsorted(segments.starts, index, "right") - 1])
        key = batch.names[row]
        width = 0 if detector.bar_width is None else WIDTHS[detector.bar_width]
        if width:
            start, end = int(item["ts_start"]), int(item["ts_start"]) + width
            place: tuple[int | str, ...] = (start,)
        else:
            start = int(item["ts_event"])
            end = start + 1
            side = bytes(item["side"]).decode("latin-1")
            # Of equal records the first opens an episode and the others, being no later, are part of it: the
            # ordinal of what opens one is always 0.
            place = (start, start, int(item["price"]), int(item["size"]), side, 0)
        score, threshold = float(scores.score[index]), float(verdicts.threshold[index])
        forced = scores.forced is not None and bool(scores.forced[index])
        explained = self._logics[detector.name].explain(item, key, scores, index, threshold)
        if not (np.isfinite(score) and np.isfinite(threshold)):
            score, threshold = explained.observed / max(explained.expected, 1e-300), 1.0
        severity = float(np.nan_to_num(verdicts.severity[index]))
        if forced:
            severity = max(severity, _LEAST_FORCED)
        instrument_id = int(item["instrument_id"])
        settings = self._settings
        name = anomaly_id(settings.flow, settings.source, detector.name, key, instrument_id, *place)
        anomaly = Anomaly(
            id=name,
            incident=name,
            revision=1,
            flow=settings.flow,
            detector=detector.name,
            dataset=batch.batch.dataset,
            publisher_id=0 if width else int(item["publisher_id"]),
            instrument_id=instrument_id,
            key=key,
            symbol=key,
            ts_event=end if width else start,
            ts_start=start,
            ts_end=end,
            severity=round(severity, 3),
            score=score,
            threshold=threshold,
            observed=explained.observed,
            expected=explained.expected,
            reason=explained.reason,
            contributions=explained.contributions,
        )
        return Alarm(row, known, 0 if width else index, order, anomaly, detector.gap_ns, width)

    def _results(
        self, batch: BarBatch, told: list[Anomaly], deleted: list[str], scores: list[ScoreTable]
    ) -> list[Results]:
        source, flow = batch.batch, self._settings.flow
        tables = []
        for width in self._settings.stored:
            parts = [
                (batch.closed.get(width), None),
                *([(w.bars, w.final)] if (w := batch.open.get(width)) else []),
            ]
            for bars, final in parts:
                if bars is not None and len(bars):
                    over = np.ones(len(bars), bool) if final is None else final
                    keys = [batch.names[row] for row in bars["row"].tolist()]
                    tables.append(BarTable(width, WIDTHS[width], keys, bars, over))
        name = f"{source.partition}/{source.shard}"
        results = [
            Results(name, source.shard, source.dataset, flow, tables, told, deleted, scores, batch.counters,
                    source.seq, source.credit)
        ]  # fmt: skip
        if source.counters:
            results.append(
                Results(source.partition, source.shard, source.dataset, flow, counters=source.counters)
            )
        return results


def _score_table(
    detector: Detector, segments: Segments, scores: Scores, verdicts: Verdicts, start: Int64s, end: Int64s
) -> ScoreTable:
    known = np.flatnonzero(np.isfinite(scores.score) & np.isfinite(verdicts.threshold))
    return ScoreTable(
        detector.name,
        [segments.names[row] for row in segments.row_of[known].tolist()],
        segments.items["instrument_id"][known],
        start[known],
        end[known],
        scores.score[known],
        verdicts.threshold[known],
        verdicts.severity[known],
    )
