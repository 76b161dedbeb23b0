"""Severities by detector as metrics: a histogram, and how they drift."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily

from connectors.severity_drift import Drift
from tapewatch.records import Array, Floats

#: Upper ends of the histogram's buckets; 50, 75 and 90 divide the bands of risk.
_ENDS = np.array([10.0, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 95, 97.5, 99, 100])


@dataclass(slots=True)
class _OfDetector:
    counts: Array = field(default_factory=lambda: np.zeros(len(_ENDS), np.int64))
    total: float = 0.0
    drift: Drift = field(default_factory=Drift)


class SeverityMetrics:
    """Counts severities; whoever uses it from several threads holds a lock.

    Parameters
    ----------
    name, words
        The histogram's name, and what it says of itself.
    of
        What has these severities, a label of the drift.
    """

    def __init__(self, name: str, words: str, of: str) -> None:
        self._name, self._words, self._of = name, words, of
        self._detectors: dict[str, _OfDetector] = {}

    def add(self, detector: str, severities: Floats, clock: int) -> None:
        """Count severities (0 to 100, NaN ones are passed over) that became known at a clock, ns."""
        known = severities[np.isfinite(severities)]
        if not len(known):
            return
        mine = self._detectors.setdefault(detector, _OfDetector())
        places = np.minimum(np.searchsorted(_ENDS, known), len(_ENDS) - 1)
        mine.counts += np.bincount(places, minlength=len(_ENDS))
        mine.total += float(known.sum())
        mine.drift.add(known, clock)

    def histogram(self) -> HistogramMetricFamily:
        """Return the histogram by detector."""
        family = HistogramMetricFamily(self._name, self._words, labels=["detector"])
        for detector, mine in sorted(self._detectors.items()):
            below = np.cumsum(mine.counts).tolist()
            buckets = [(str(end), count) for end, count in zip(_ENDS.tolist(), below, strict=True)]
            family.add_metric([detector], [*buckets, ("+Inf", below[-1])], mine.total)
        return family

    def drifts(self, family: GaugeMetricFamily) -> None:
        """Add the drift of each detector that has enough severities, with the labels detector and of."""
        for detector, divergence in self._divergences():
            family.add_metric([detector, self._of], divergence)

    def _divergences(self) -> Iterator[tuple[str, float]]:
        for detector, mine in sorted(self._detectors.items()):
            divergence = mine.drift.divergence
            if divergence is not None:
                yield detector, divergence
