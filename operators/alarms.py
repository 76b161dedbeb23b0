"""From what a detector and its calibration say of some items to alarms and kept scores."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from operators.calibrate import Verdicts
from operators.detector import Detector, Logic, Scores, Segments
from operators.incidents import Alarm
from tapewatch.documents import Anomaly, ScoreTable, anomaly_id
from tapewatch.records import Array, Int64s
from tapewatch.settings import WIDTHS

_LEAST_FORCED = 50.0


@dataclass(frozen=True, slots=True)
class Judged:
    """What one detector says of some items of a shard.

    Attributes
    ----------
    order
        Place of the detector among those at work.
    known
        Event time at which each item could be told, int64 ns, shape ``(n,)``.
    place
        Of records: place of the record that decided in its batch, int64, shape ``(n,)``.
    """

    detector: Detector
    order: int
    segments: Segments
    scores: Scores
    verdicts: Verdicts
    known: Int64s
    place: Int64s | None = None

    @property
    def width_ns(self) -> int:
        """Width of the windows, 0 for records."""
        return 0 if self.detector.bar_width is None else WIDTHS[self.detector.bar_width]

    @property
    def alarmed(self) -> Array:
        """Indices of the items that are anomalies."""
        alarm, forced = self.verdicts.alarm, self.scores.forced
        return np.flatnonzero(alarm if forced is None else alarm | forced)


@dataclass(frozen=True, slots=True)
class Stream:
    """What all anomalies of a batch have in common; see the contract's documents."""

    flow: str
    source: str
    dataset: str


def alarm_of(judged: Judged, logic: Logic, stream: Stream, index: int) -> Alarm:
    """Return the alarm of one item.

    Parameters
    ----------
    judged
        What the detector says of the items.
    logic
        The detector at work; it explains.
    stream
        What is being judged.
    index
        Which of the items.
    """
    detector, segments, scores = judged.detector, judged.segments, judged.scores
    item = segments.items[index]
    row = int(segments.rows[np.searchsorted(segments.starts, index, "right") - 1])
    key, width = segments.names[row], judged.width_ns
    if width:
        start, end = int(item["ts_start"]), int(item["ts_start"]) + width
        ts_event = end
        place: tuple[int | str, ...] = (start,)
    else:
        ts_event = int(item["ts_event"])
        since = ts_event if scores.since is None else int(scores.since[index])
        start, end = min(since, ts_event), ts_event + 1
        side = bytes(item["side"]).decode("latin-1")
        # Of equal records the first opens an episode and the others, being no later, are part of it: the
        # ordinal of what opens one is that of the detector's part.
        place = (start, ts_event, int(item["price"]), int(item["size"]), side, detector.ordinal)
    explained = logic.explain(item, key, scores, index, float(judged.verdicts.threshold[index]))
    score, threshold = float(scores.score[index]), float(judged.verdicts.threshold[index])
    if explained.threshold is not None:
        threshold = explained.threshold
    if not (math.isfinite(score) and math.isfinite(threshold)):
        score, threshold = explained.observed / max(explained.expected, 1e-300), 1.0
    severity = float(judged.verdicts.severity[index])
    severity = 0.0 if math.isnan(severity) else severity
    if scores.most is not None:
        severity = min(severity, float(scores.most[index]))
    if scores.forced is not None and bool(scores.forced[index]):
        severity = max(severity, _LEAST_FORCED if scores.least is None else float(scores.least[index]))
    instrument_id = int(item["instrument_id"])
    name = anomaly_id(stream.flow, stream.source, detector.name, key, instrument_id, *place)
    anomaly = Anomaly(
        id=name,
        incident=name,
        revision=1,
        flow=stream.flow,
        detector=detector.name,
        dataset=stream.dataset,
        publisher_id=0 if width else int(item["publisher_id"]),
        instrument_id=instrument_id,
        key=key,
        symbol=key,
        ts_event=ts_event,
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
    at = index if judged.place is None else int(judged.place[index])
    unit = detector.unit or ("windows" if width else "trades")
    return Alarm(
        row, int(judged.known[index]), 0 if width else at, judged.order, anomaly, detector.gap_ns, width,
        detector.id, unit,
    )  # fmt: skip


def score_table(judged: Judged) -> ScoreTable:
    """Return the scores of the items that have one."""
    segments, scores, verdicts = judged.segments, judged.scores, judged.verdicts
    known = np.flatnonzero(np.isfinite(scores.score) & np.isfinite(verdicts.threshold))
    start = segments.times if judged.width_ns else segments.items["ts_event"].astype(np.int64)
    return ScoreTable(
        judged.detector.name,
        [segments.names[row] for row in segments.row_of[known].tolist()],
        segments.items["instrument_id"][known],
        start[known],
        start[known] + (judged.width_ns or 1),
        scores.score[known],
        verdicts.threshold[known],
        verdicts.severity[known],
    )
