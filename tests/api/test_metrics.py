"""Metrics as Prometheus reads them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from connectors.sqlite import SqliteWriter

make: Any = import_module("tests.connectors.made_results")
serving: Any = import_module("tests.api.serving")


def scraped(folder: Path) -> dict[tuple[Any, ...], float]:
    """Return the value of each metric by its name and labels."""
    answer = serving.client(folder).get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_counters_and_what_is_stored(tmp_path: Path) -> None:
    for partition, source, records in (("a", "", 1500), ("b", "", 20), ("a", "paper", 7)):
        with SqliteWriter(tmp_path / "results.db", source) as writer:
            counters = {"records": records, "undefined-price": 2}
            writer.write([make.results(partition=partition, counters=counters)])
    with SqliteWriter(tmp_path / "results.db") as writer:
        anomalies = [make.anomaly(1), make.anomaly(2), make.anomaly(3, detector="block_trade")]
        late = {"late_records": 3}
        writer.write([make.results(bars=[make.bars(1, 2)], anomalies=anomalies, counters=late)])
    found = scraped(tmp_path)
    assert found == {
        ("tapewatch_records_total", "market", ""): 1520,
        ("tapewatch_records_total", "market", "paper"): 7,
        ("tapewatch_late_records_total", "market", ""): 3,
        ("tapewatch_late_records_total", "market", "paper"): 0,
        ("tapewatch_undefined_price_total", "market", ""): 4,
        ("tapewatch_undefined_price_total", "market", "paper"): 2,
        ("tapewatch_stored_bars",): 2,
        ("tapewatch_stored_anomalies", "high_volume"): 2,
        ("tapewatch_stored_anomalies", "block_trade"): 1,
        ("tapewatch_stored_reviews",): 0,
        ("tapewatch_newest_event_timestamp_seconds",): (make.MONDAY + 4 * 60_000_000_000) / 1e9,
        ("tapewatch_flow_running",): 0,
    }


def test_before_anything_was_counted(tmp_path: Path) -> None:
    assert scraped(tmp_path) == {
        ("tapewatch_records_total", "market", ""): 0,
        ("tapewatch_late_records_total", "market", ""): 0,
        ("tapewatch_stored_bars",): 0,
        ("tapewatch_stored_reviews",): 0,
        ("tapewatch_flow_running",): 0,
    }
