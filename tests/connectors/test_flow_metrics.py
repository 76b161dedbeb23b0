"""What a flow's process counts: what was acknowledged, once."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from connectors.flow_metrics import FlowMetrics
from connectors.timed_source import TimedSource
from tapewatch.records import MINUTE

make: Any = import_module("tests.connectors.made_results")


@dataclass(frozen=True)
class Sent:
    """A batch as far as its way is timed."""

    credit: str
    seq: int


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> FlowMetrics:
    return FlowMetrics(registry, "market", "paper", 2, live=True)


def told(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"tapewatch_{name}", labels)


def counter(registry: CollectorRegistry, name: str) -> float | None:
    return told(registry, f"{name}_total", flow="market", source="paper")


def test_all_begins_at_nothing(metrics: FlowMetrics, registry: CollectorRegistry) -> None:
    assert [counter(registry, name) for name in ("records", "late_records", "dead_letters")] == [0, 0, 0]
    assert told(registry, "batch_seconds_count") == told(registry, "event_to_result_seconds_count") == 0
    since = time.time() - (told(registry, "last_acknowledged_timestamp_seconds") or 0)
    assert 0 <= since < 600


def test_counters_are_totals_over_partitions(metrics: FlowMetrics, registry: CollectorRegistry) -> None:
    for partition, counters in (
        ("a", {"records": 5}), ("a/0", {"late_records": 1}), ("a/1", {"late_records": 2}), ("b", {"records": 7}),
        ("a", {"records": 9, "dead_letters": 3}), ("a", {"records": 9, "dead_letters": 3}), ("b", {}),
        ("a", {"zero-size": 4}),
    ):  # fmt: skip
        metrics.acknowledged(make.results(partition=partition, counters=counters))
    assert counter(registry, "records") == 16
    assert counter(registry, "late_records") == 3
    assert counter(registry, "dead_letters") == 3
    assert counter(registry, "zero_size") == 4


def test_a_run_that_goes_on_counts_from_its_first_batch_on(
    metrics: FlowMetrics, registry: CollectorRegistry
) -> None:
    metrics.resumed()
    metrics.acknowledged(make.results(partition="a", counters={"records": 500, "dead_letters": 2}))
    assert counter(registry, "records") == counter(registry, "dead_letters") == 0
    metrics.acknowledged(make.results(partition="b", counters={"records": 90}))
    metrics.acknowledged(make.results(partition="a", counters={"records": 510, "dead_letters": 2}))
    metrics.acknowledged(make.results(partition="b", counters={"records": 91, "dead_letters": 1}))
    assert counter(registry, "records") == 11
    assert counter(registry, "dead_letters") == 1


def test_an_anomaly_is_counted_once_however_it_grows(
    metrics: FlowMetrics, registry: CollectorRegistry
) -> None:
    first, second = make.anomaly(1, severity=60.0), make.anomaly(2, detector="block_trade", severity=99.5)
    grown = replace(first, revision=2, severity=80.0)
    for anomalies in ([first], [grown, second], [grown]):
        metrics.acknowledged(make.results(anomalies=anomalies))
    assert told(registry, "anomalies_total", detector="high_volume") == 1
    assert told(registry, "anomalies_total", detector="block_trade") == 1
    assert told(registry, "anomaly_severity_sum", detector="high_volume") == 60
    assert told(registry, "anomaly_severity_bucket", detector="high_volume", le="50.0") == 0
    assert told(registry, "anomaly_severity_bucket", detector="high_volume", le="60.0") == 1
    assert told(registry, "anomaly_severity_bucket", detector="block_trade", le="99.0") == 0
    assert told(registry, "anomaly_severity_bucket", detector="block_trade", le="+Inf") == 1


def test_what_is_taken_back_is_told(metrics: FlowMetrics, registry: CollectorRegistry) -> None:
    early = make.anomaly(1)
    metrics.acknowledged(make.results(anomalies=[early], early=[make.early(early)]))
    # The second is of a run before, which counted it.
    metrics.acknowledged(make.results(deleted=[early.id, "ff"]))
    metrics.acknowledged(make.results(deleted=[early.id]))
    assert told(registry, "withdrawn_anomalies_total", detector="high_volume") == 1
    metrics.acknowledged(make.results(anomalies=[early]))
    assert told(registry, "anomalies_total", detector="high_volume") == 2


def test_what_is_remembered_is_bounded(
    metrics: FlowMetrics, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.flow_metrics._MOST_REMEMBERED", 50)
    monkeypatch.setattr("connectors.flow_metrics._MOST_UNDER_WAY", 50)
    for number in range(200):
        metrics.handed(Sent("memory:0", number))
        metrics.acknowledged(make.results(anomalies=[make.anomaly(number), make.anomaly(0)]))
    # The one that is told all the time is not forgotten.
    assert told(registry, "anomalies_total", detector="high_volume") == 200
    assert len(metrics._told) == len(metrics._under_way) == 50


def test_severities_of_all_scores_and_their_drift(metrics: FlowMetrics, registry: CollectorRegistry) -> None:
    for number in range(60):
        scores = make.scores(*([1.0] * 15 if number < 40 else [9.0] * 15), float("nan"))
        for _ in range(2):
            metrics.acknowledged(make.results(scores=[scores], clock=make.MONDAY + number * 5 * MINUTE))
    assert told(registry, "score_severity_count", detector="high_volume") == 60 * 30
    assert told(registry, "score_severity_sum", detector="high_volume") == 40 * 30 * 10 + 20 * 30 * 90
    assert told(registry, "severity_drift_ratio", detector="high_volume", of="scores") == pytest.approx(
        _divergence_of_shares(9 / 49), abs=1e-9
    )
    assert told(registry, "severity_drift_ratio", detector="high_volume", of="anomalies") is None


def _divergence_of_shares(share: float) -> float:
    """Return the divergence of what is all in one bin from what has this share there, the rest in another."""
    middle = (1 + share) / 2
    first = -np.log2(middle)
    second = share * np.log2(share / middle) + (1 - share)
    return float(first + second) / 2


def test_seconds_of_a_batch_end_with_its_last_part(metrics: FlowMetrics, registry: CollectorRegistry) -> None:
    metrics.handed(Sent("memory:0", 3))
    metrics.handed(Sent("", 3))
    metrics.acknowledged(make.results(shard=0, seq=3, credit="memory:0"))
    metrics.acknowledged(make.results(shard=0, seq=3, credit="memory:1"))
    metrics.acknowledged(make.results(counters={"records": 3}))
    assert told(registry, "batch_seconds_count") == 0
    time.sleep(0.01)
    metrics.acknowledged(make.results(shard=1, seq=3, credit="memory:0"))
    assert told(registry, "batch_seconds_count") == 1
    assert 0.01 <= (told(registry, "batch_seconds_sum") or 0) < 600
    metrics.acknowledged(make.results(shard=1, seq=3, credit="memory:0"))
    assert told(registry, "batch_seconds_count") == 1


def test_latency_is_that_of_results_and_of_live_tapes(
    metrics: FlowMetrics, registry: CollectorRegistry
) -> None:
    clock = time.time_ns() - 2_000_000_000
    metrics.acknowledged(make.results(clock=clock))
    assert told(registry, "event_to_result_seconds_count") == 0
    metrics.acknowledged(make.results(clock=clock, bars=[make.bars(5)]))
    metrics.acknowledged(make.results(clock=time.time_ns() + 10**12, anomalies=[make.anomaly(1)]))
    assert told(registry, "event_to_result_seconds_count") == 2
    assert 2 <= (told(registry, "event_to_result_seconds_sum") or 0) < 600
    assert (told(registry, "acknowledged_event_timestamp_seconds") or 0) > clock / 1e9 + 900
    files = CollectorRegistry()
    FlowMetrics(files, "market", "", 1, live=False).acknowledged(
        make.results(clock=clock, bars=[make.bars(5)])
    )
    assert told(files, "event_to_result_seconds_count") is None


class _Part:
    def __init__(self) -> None:
        self.closed = False

    def next_batch(self) -> list[Sent]:
        return [Sent("memory:0", 1), Sent("memory:0", 2)]

    def next_awake(self) -> None:
        return None

    def snapshot(self) -> str:
        return "here"

    def close(self) -> None:
        self.closed = True


class _Source:
    def __init__(self) -> None:
        self.part = _Part()

    def list_parts(self) -> list[str]:
        return ["a"]

    def build_part(self, step_id: str, for_part: str, resume_state: object) -> _Part:
        return self.part


def test_a_timed_source_is_the_source() -> None:
    handed: list[Any] = []
    resumed: list[str] = []
    source: Any = _Source()
    timed = TimedSource[Sent](source, handed.append, lambda: resumed.append("yes"))
    assert timed.list_parts() == ["a"]
    part = timed.build_part("step", "a", None)
    assert resumed == []
    assert part.next_batch() == handed == [Sent("memory:0", 1), Sent("memory:0", 2)]
    assert part.next_awake() is None
    assert part.snapshot() == "here"
    part.close()
    assert source.part.closed
    timed.build_part("step", "a", "here")
    assert resumed == ["yes"]
