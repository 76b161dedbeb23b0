"""``GET /metrics``: what the flows counted and the store holds, for Prometheus."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from fastapi import APIRouter
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector
from starlette.responses import Response

from api.flow_process import FlowProcess
from api.store import opened
from tapewatch.settings import Settings

#: Counters that are told of as 0 before anything was counted, so that an alert on them can be written.
_ALWAYS = {
    "records": "Records that were read.",
    "late_records": "Records that came after their window had closed; they are in no bar.",
}


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
            detectors, span = store.by_detector(), store.span()
        yield from _counted([(row["name"], row["flow"], row["source"], row["value"]) for row in counters])
        yield GaugeMetricFamily("tapewatch_stored_bars", "Bars in the store.", counts["bars"])
        anomalies = GaugeMetricFamily(
            "tapewatch_stored_anomalies", "Anomalies in the store.", labels=["detector"]
        )
        for row in detectors:
            anomalies.add_metric([row["detector"]], row["anomalies"])
        yield anomalies
        yield GaugeMetricFamily("tapewatch_stored_reviews", "Reviews in the store.", counts["reviews"])
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


def _counted(rows: list[tuple[str, str, str, int]]) -> Iterator[Metric]:
    """Yield one counter per name, summed over partitions, by flow and source.

    >>> [metric.samples[0].value for metric in _counted([("records", "market", "", 2)] * 2)]
    [0, 4]
    """
    sums: dict[str, dict[tuple[str, str], int]] = {name: {} for name in _ALWAYS}
    for name, flow, source, value in rows:
        by_flow = sums.setdefault(name, {})
        by_flow[flow, source] = by_flow.get((flow, source), 0) + value
    flows = {("market", "")} if not rows else {(flow, source) for _, flow, source, _ in rows}
    for name, by_flow in sorted(sums.items()):
        words = name.replace("_", " ")
        family = CounterMetricFamily(
            f"tapewatch_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}",
            _ALWAYS.get(name, f"What the flows counted as {words}."),
            labels=["flow", "source"],
        )
        for labels in sorted(flows if name in _ALWAYS else by_flow):
            family.add_metric(list(labels), by_flow.get(labels, 0))
        yield family


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
