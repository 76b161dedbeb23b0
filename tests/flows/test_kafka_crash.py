"""Kills and restarts lose and double nothing: of the flow, of the broker, of one process of a cluster."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

runs: Any = import_module("tests.flows.kafka_runs")
kafka: Any = import_module("tests.connectors.kafka_broker")

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]
_RECORDS = 20_000
SETTINGS = {**runs.SETTINGS, "source__batch_records": "400"}


@pytest.fixture(scope="module")
def tape(trades: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = write(
        tmp_path_factory.mktemp("tape") / "tape.dbn", trades(8, count=_RECORDS, instruments=12)
    )
    return path


@pytest.fixture(scope="module")
def wanted(
    tape: Path, run_market: Flow, tables: Tables, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("file")
    assert run_market(folder, [tape], **SETTINGS).returncode == 0
    return tables(folder / "results.db")


def recovery(folder: Path, partitions: int = 2) -> tuple[str, ...]:
    (folder / "rec").mkdir()
    command = [sys.executable, "-m", "bytewax.recovery", "rec", str(partitions)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return ("-r", "rec", "-s", "0", "-b", "0")


def kill(*running: subprocess.Popen[str]) -> None:
    for process in running:
        process.kill()
    for process in running:
        process.communicate()


def same(results: dict[str, list[Any]], wanted: dict[str, list[Any]]) -> None:
    for name, rows in runs.without_final(wanted).items():
        assert runs.without_final(results)[name] == rows, name


def told(broker: Any, topic: str) -> list[tuple[Any, ...]]:
    """Return what a reader of the topic of anomalies ends with."""
    kept = kafka.latest(broker.messages(topic)).values()
    return sorted((a["id"], a["incident"], a["revision"], a["severity"], a["reason"]) for a in kept)


def stored(results: dict[str, list[Any]]) -> list[tuple[Any, ...]]:
    return sorted((row[0], row[1], row[2], row[13], row[18]) for row in results["anomalies"])


def test_which_columns_are_compared(wanted: dict[str, list[Any]]) -> None:
    from tapewatch.documents import ANOMALY_FIELDS

    assert [ANOMALY_FIELDS[at] for at in (0, 1, 2, 13, 18)] == [
        "id", "incident", "revision", "severity", "reason",
    ]  # fmt: skip
    assert len(wanted["anomalies"]) > 30


@pytest.mark.parametrize(
    ("encoding", "workers", "partitions", "seed"), [("json", "1", 1, 1), ("dbn", "2", 3, 2)]
)
def test_kills_at_random_moments_change_nothing(
    encoding: str, workers: str, partitions: int, seed: int, tape: Path, wanted: dict[str, list[Any]],
    broker: Any, start_market: Start, tables: Tables, tmp_path: Path,
) -> None:  # fmt: skip
    topic, found = broker.topic(partitions), broker.topic(2)
    messages = list(runs.messages_of(tape, encoding, piece=500))
    options = ("-w", workers, *recovery(tmp_path))
    given = broker.settings(topic, **SETTINGS, sinks__kinds=["sqlite", "kafka"], sinks__kafka__topic=found)
    rng = np.random.default_rng(seed)
    parts = np.array_split(np.arange(len(messages)), 6)
    for number in range(5):
        running = start_market(tmp_path, [], *options, **given)
        before = runs.counted(tmp_path)
        broker.produce(topic, *(messages[at] for at in parts[number]))
        if number:
            # The first one dies wherever it is, the others once they have come further.
            runs.until(lambda before=before: runs.counted(tmp_path) > before, running)
        time.sleep(rng.uniform(0, 0.5))
        kill(running)
    broker.produce(topic, *(messages[at] for at in parts[5]))
    assert runs.run_until(start_market, tmp_path, _RECORDS, *options, **given) == [""]
    results = tables(tmp_path / "results.db")
    same(results, wanted)
    assert told(broker, found) == stored(results)
    assert broker.count(f"{topic}.dead") == 0


def test_graceful_stops_change_nothing_and_the_topic_follows(
    tape: Path, wanted: dict[str, list[Any]], broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    """Each stop tells of unfinished windows, of which some turn out as nothing."""
    topic, found = broker.topic(1), broker.topic(1)
    messages = list(runs.messages_of(tape, "dbn", piece=300))
    options = recovery(tmp_path)
    given = broker.settings(topic, **SETTINGS, sinks__kinds=["sqlite", "kafka"], sinks__kafka__topic=found)
    done = 0
    for part in np.array_split(np.arange(len(messages)), 6):
        broker.produce(topic, *(messages[at] for at in part))
        done += sum(len(messages[at][1]) // 48 for at in part)
        assert runs.run_until(start_market, tmp_path, done, *options, **given) == [""]
        assert told(broker, found) == stored(tables(tmp_path / "results.db"))
    same(tables(tmp_path / "results.db"), wanted)
    assert any(message.value() is None for message in broker.messages(found))


def test_a_broker_killed_and_restarted_changes_nothing(
    tape: Path, wanted: dict[str, list[Any]], broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    topic, found = broker.topic(2), broker.topic(1)
    messages = list(runs.messages_of(tape, "json"))
    given = broker.settings(topic, **SETTINGS, sinks__kinds=["sqlite", "kafka"], sinks__kafka__topic=found)
    running = start_market(tmp_path, [], *recovery(tmp_path), **given)
    half = len(messages) // 2
    broker.produce(topic, *messages[:half])
    runs.until(lambda: runs.counted(tmp_path) > 1_000, running)
    broker.stop("-9")
    time.sleep(2)
    broker.start()
    rest = threading.Thread(target=broker.produce, args=(topic, *messages[half:]))
    rest.start()
    runs.until(lambda: runs.counted(tmp_path) >= _RECORDS, running)
    rest.join()
    (said,) = runs.stop(running)
    assert "Traceback" not in said
    results = tables(tmp_path / "results.db")
    same(results, wanted)
    assert told(broker, found) == stored(results)


def test_one_process_of_two_is_killed_and_the_cluster_restarted(
    tape: Path, wanted: dict[str, list[Any]], broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    topic = broker.topic(4)
    messages = list(runs.messages_of(tape, "dbn", piece=500))
    options = recovery(tmp_path)
    given = broker.settings(topic, **SETTINGS)

    def cluster() -> list[subprocess.Popen[str]]:
        addresses = runs.addresses(2)
        return [start_market(tmp_path, [], "-i", str(i), "-a", addresses, *options, **given) for i in (0, 1)]

    running = cluster()
    broker.produce(topic, *messages[: len(messages) // 2])
    runs.until(lambda: runs.counted(tmp_path) > 3_000, *running)
    running[1].kill()
    # The other one cannot go on alone.
    running[0].wait(280)
    kill(*running)
    broker.produce(topic, *messages[len(messages) // 2 :])
    running = cluster()
    runs.until(lambda: runs.counted(tmp_path) >= _RECORDS, *running)
    runs.stop(*running)
    same(tables(tmp_path / "results.db"), wanted)
