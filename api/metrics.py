"""``GET /metrics``: what the flows counted and the store holds, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response

from api.flow_process import FlowProcess
from api.store import opened
from connectors.counter_metrics import counter_metrics
from tapewatch.settings import Settings


class StoreCollector(Collector):
    """Reads the metrics from the store whenever they are asked for.

    Parameters
    ----------
    settings
        Where the results are.
    process
        The flow that the server runs.
    """

    def __init__(self, settings: Settings, process: FlowProcess) -> None:
        self._settings, self._process = settings, process

    def describe(self) -> Iterable[Metric]:
        """Return nothing: which counters there are is known when they are read."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield each metric as it is now; `UserError` if the store cannot be read."""
        with opened(self._settings) as store:
            counters, counts = store.counters(), store.counts()
            detectors, span, verdicts = store.by_detector(), store.span(), store.verdicts()
        rows = [(row["name"], row["flow"], row["source"], row["value"]) for row in counters]
        yield from counter_metrics(rows, [] if rows else [("market", "")])
        yield GaugeMetricFamily("tapewatch_stored_bars", "Bars in the store.", counts["bars"])
        anomalies = GaugeMetricFamily(
            "tapewatch_stored_anomalies", "Anomalies in the store.", labels=["detector"]
        )
        for row in detectors:
            anomalies.add_metric([row["detector"]], row["anomalies"])
        yield anomalies
        yield GaugeMetricFamily("tapewatch_stored_reviews", "Reviews in the store.", counts["reviews"])
        yield from _reviewed(verdicts)
        if span is not None:
            yield GaugeMetricFamily(
                "tapewatch_newest_event_timestamp_seconds",
                "Time of the newest event in the store; the lag is how long ago that is.",
                span[1] / 1e9,
            )
        yield GaugeMetricFamily(
            "tapewatch_flow_running",
            "1 while a flow runs that the API started.",
            float(self._process.running),
        )


def _reviewed(verdicts: list[dict[str, Any]]) -> Iterator[Metric]:
    """Yield what reviews say of each detector's anomalies, and its precision by them.

    >>> rows = [{"detector": "block_trade", "confirmed": 3, "false_alarms": 1}] * 2
    >>> [[sample.value for sample in metric.samples] for metric in _reviewed(rows)]
    [[6, 2], [0.75]]
    """
    confirmed: Counter[str] = Counter()
    false_alarms: Counter[str] = Counter()
    for row in verdicts:
        confirmed[row["detector"]] += row["confirmed"]
        false_alarms[row["detector"]] += row["false_alarms"]
    reviews = GaugeMetricFamily(
        "tapewatch_reviewed_anomalies",
        "Verdicts of the newest reviews on a detector's anomalies, one of each person and anomaly.",
        labels=["detector", "verdict"],
    )
    precision = GaugeMetricFamily(
        "tapewatch_precision_ratio", "Share of these verdicts that confirm the anomaly.", labels=["detector"]
    )
    for detector in sorted(confirmed):
        reviews.add_metric([detector, "confirmed"], confirmed[detector])
        reviews.add_metric([detector, "false_alarm"], false_alarms[detector])
        total = confirmed[detector] + false_alarms[detector]
        if total:
            precision.add_metric([detector], confirmed[detector] / total)
    yield reviews
    yield precision


def metrics(settings: Settings, process: FlowProcess) -> APIRouter:
    """Return the route that Prometheus scrapes."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(settings, process))
    routes = APIRouter(tags=["service"])

    @routes.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    def scrape() -> Response:
        """Return all metrics in Prometheus' text format."""
        return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return routes
