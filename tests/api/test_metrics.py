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
        ("tapewatch_dead_letters_total", "market", ""): 0,
        ("tapewatch_dead_letters_total", "market", "paper"): 0,
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
        ("tapewatch_dead_letters_total", "market", ""): 0,
        ("tapewatch_stored_bars",): 0,
        ("tapewatch_stored_reviews",): 0,
        ("tapewatch_flow_running",): 0,
    }


def test_what_people_say_of_each_detector(tmp_path: Path) -> None:
    with SqliteWriter(tmp_path / "results.db") as writer:
        found = [make.anomaly(number) for number in (1, 2, 3)]
        writer.write([make.results(anomalies=[*found, make.anomaly(4, detector="block_trade")])])
    client = serving.client(tmp_path)
    said = [(1, 1, "a"), (2, 0, "a"), (3, 1, "a"), (3, 0, "b"), (2, 1, "a")]
    for second, (number, label, reviewer) in enumerate(said):
        review = {
            "anomaly_id": f"{number:032x}", "label": label, "reviewer": reviewer,
            "reviewed_at": f"2024-06-04T00:00:{second:02d}Z",
        }  # fmt: skip
        assert client.post("/api/reviews", json=review).status_code < 300
    metrics = scraped(tmp_path)
    # The newest word of each person counts, and each person's.
    assert metrics["tapewatch_reviewed_anomalies", "high_volume", "confirmed"] == 3
    assert metrics["tapewatch_reviewed_anomalies", "high_volume", "false_alarm"] == 1
    assert metrics["tapewatch_precision_ratio", "high_volume"] == 0.75
    assert ("tapewatch_precision_ratio", "block_trade") not in metrics
    assert metrics["tapewatch_stored_reviews",] == 5
