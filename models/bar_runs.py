"""Detectors at work on the bars of one instrument, as the judging step has them: scores and severities."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from operators.calibrate import Calibration
from operators.detector import Detector, segments_of_bars
from operators.shared_features import SharedFeatures
from tapewatch.records import Array, Floats
from tapewatch.settings import WIDTHS

#: Bars that are judged at once; how many makes no difference to what comes out.
_BATCH = 4_096


@dataclass(frozen=True, slots=True)
class Run:
    """What one detector says of some bars; every array has shape ``(n,)``."""

    score: Floats
    severity: Floats
    alarm: Array


def run(detectors: Sequence[Detector], bars: Array, budget: float = 1.0) -> dict[str, Run]:
    """Return what each detector of minute bars, and the ensemble, says of the bars of one instrument.

    Parameters
    ----------
    detectors
        Those that read minute bars or severities, in the order in which the flow has them.
    bars
        dtype `tapewatch.documents.BAR`, in order.
    budget
        Alarms of each detector a day.
    """
    logics = {d.id: d.build(None) for d in detectors}
    calibrations = {
        d.id: Calibration(d.scale, budget * d.share, d.gap_ns + WIDTHS[d.bar_width or "1m"])
        for d in detectors
    }
    features = SharedFeatures(["1m"], ["1m"])
    parts: dict[str, list[tuple[Floats, Floats, Array]]] = {d.id: [] for d in detectors}
    for at in range(0, len(bars), _BATCH):
        plain = features.added(segments_of_bars(bars[at : at + _BATCH], [""]), "1m", learn=True)
        severities: dict[str, Floats] = {}
        raw: dict[str, Floats] = {}
        for detector in detectors:
            segments = plain
            if detector.reads == "severities":
                segments = replace(plain, severities=severities, scores=raw)
            scores = logics[detector.id].score(segments)
            told = calibrations[detector.id].judge(
                segments.rows, segments.starts, scores.score, segments.times, every=True
            )
            if detector.reads == "bars":
                severities[detector.id], raw[detector.id] = told.severity, scores.score
            alarm = told.alarm & (scores.score >= detector.least) if detector.least > 0 else told.alarm
            parts[detector.id].append((scores.score, told.severity, alarm))
    return {
        name: Run(*(np.concatenate(arrays) for arrays in zip(*some, strict=True)))
        for name, some in parts.items()
    }
