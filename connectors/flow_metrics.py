"""What a flow's own process tells Prometheus, from nothing but what is safely written.

All of it is done once per batch and anomaly, when a sink acknowledges; nothing here sees a record.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from connectors.counter_metrics import counter_metrics
from connectors.severity_metrics import SeverityMetrics
from connectors.timed_source import Batch
from tapewatch.documents import Anomaly, Results

#: Anomalies of which it is remembered that they were counted, the latest told.
_MOST_REMEMBERED = 16_384
#: Batches whose way is timed; the credit lets far fewer out.
_MOST_UNDER_WAY = 1_024
_LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
_BATCH = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class FlowMetrics(Collector):
    """Counts what one sink acknowledges, and is collected with a registry.

    Parameters
    ----------
    registry
        Where the metrics are registered.
    flow, source
        Names of the flow and of its stream.
    consumers
        How many `Results` acknowledge each batch.
    live
        Whether the tape's times are those of the clock on the wall.
    """

    def __init__(
        self, registry: CollectorRegistry, flow: str, source: str, consumers: int, *, live: bool
    ) -> None:
        self._flow, self._source, self._consumers, self._live = flow, source, consumers, live
        self._lock = threading.Lock()
        self._resumed = False
        #: By partition: what was counted so far, and what runs before this one had counted of it.
        self._counters: dict[str, dict[str, int]] = {}
        self._before: dict[str, dict[str, int]] = {}
        #: Detector by anomaly, the latest told last.
        self._told: OrderedDict[str, str] = OrderedDict()
        #: When each batch was handed on, and how many have yet to acknowledge it.
        self._under_way: OrderedDict[tuple[str, int], tuple[float, int]] = OrderedDict()
        self._clock = 0
        words = "Severity (0 to 100) of each anomaly as it was first told."
        self._of_anomalies = SeverityMetrics("tapewatch_anomaly_severity", words, "anomalies")
        words = "Severity (0 to 100) of each window or trade that was scored, with `sinks.scores`."
        self._of_scores = SeverityMetrics("tapewatch_score_severity", words, "scores")
        self._anomalies = Counter(
            "tapewatch_anomalies", "Anomalies told, each once however it grew.", ["detector"],
            registry=registry,
        )  # fmt: skip
        self._withdrawn = Counter(
            "tapewatch_withdrawn_anomalies",
            "Anomalies told of an unfinished window that turned out to be none.",
            ["detector"],
            registry=registry,
        )
        self._seconds = Histogram(
            "tapewatch_batch_seconds",
            "From the source to the acknowledgement of the last part of a batch.",
            buckets=_BATCH,
            registry=registry,
        )
        self._last = Gauge(
            "tapewatch_last_acknowledged_timestamp_seconds",
            "When results were last acknowledged; at first, when the process started.",
            registry=registry,
        )
        self._last.set_to_current_time()
        self._latency = Histogram(
            "tapewatch_event_to_result_seconds",
            "From the latest event of a batch that led to results until they were stored.",
            buckets=_LATENCY,
            registry=registry if live else None,
        )
        registry.register(self)

    def resumed(self) -> None:
        """Note that the source goes on where another run was, so that totals begin with what that counted.

        Counters of a process begin at 0; what it found in the first batch of each partition counts as before.
        """
        self._resumed = True

    def handed(self, batch: Batch) -> None:
        """Note that the source hands on a batch now."""
        if batch.credit:
            with self._lock:
                self._under_way[batch.credit, batch.seq] = time.perf_counter(), self._consumers
                if len(self._under_way) > _MOST_UNDER_WAY:
                    self._under_way.popitem(last=False)

    def acknowledged(self, results: Results) -> None:
        """Count what is written now."""
        self._last.set_to_current_time()
        with self._lock:
            if results.partition not in self._before:
                self._before[results.partition] = dict(results.counters) if self._resumed else {}
            self._counters.setdefault(results.partition, {}).update(results.counters)
            self._clock = max(self._clock, results.clock)
            for name in results.deleted:
                self._withdraw(name)
            for anomaly in results.anomalies:
                self._tell(anomaly)
            for table in results.scores:
                self._of_scores.add(table.detector, table.severities, results.clock)
            self._time(results)
        if self._live and results.clock and (results.anomalies or results.scores or _bars(results)):
            self._latency.observe(max(time.time() - results.clock / 1e9, 0.0))

    def _tell(self, anomaly: Anomaly) -> None:
        known = anomaly.id in self._told
        self._told[anomaly.id] = anomaly.detector
        self._told.move_to_end(anomaly.id)
        if known:
            return
        if len(self._told) > _MOST_REMEMBERED:
            self._told.popitem(last=False)
        self._anomalies.labels(anomaly.detector).inc()
        self._of_anomalies.add(anomaly.detector, np.array([anomaly.severity], np.float64), anomaly.ts_event)

    def _withdraw(self, name: str) -> None:
        detector = self._told.pop(name, None)
        if detector is not None:
            self._withdrawn.labels(detector).inc()

    def _time(self, results: Results) -> None:
        place = results.credit, results.seq
        if place not in self._under_way:
            return
        begun, missing = self._under_way[place]
        if missing > 1:
            self._under_way[place] = begun, missing - 1
        else:
            del self._under_way[place]
            self._seconds.observe(time.perf_counter() - begun)

    def describe(self) -> Iterable[Metric]:
        """Return nothing: which counters there are is known when they are read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield what is kept here rather than in metrics of the library."""
        with self._lock:
            rows = [
                (name, self._flow, self._source, value - self._before[partition].get(name, 0))
                for partition, counters in self._counters.items()
                for name, value in counters.items()
            ]
            severities = [self._of_anomalies.histogram(), self._of_scores.histogram()]
            drift = GaugeMetricFamily(
                "tapewatch_severity_drift_ratio",
                "Jensen-Shannon divergence (0 to 1) of the latest severities from those before.",
                labels=["detector", "of"],
            )
            for each in (self._of_anomalies, self._of_scores):
                each.drifts(drift)
            clock = self._clock
        yield from counter_metrics(rows, [(self._flow, self._source)])
        yield from severities
        yield drift
        yield GaugeMetricFamily(
            "tapewatch_acknowledged_event_timestamp_seconds",
            "The latest event time of all batches that were acknowledged, 0 at first.",
            clock / 1e9,
        )


def _bars(results: Results) -> bool:
    return any(len(table.bars) for table in results.bars)
