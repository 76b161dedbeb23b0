"""Payments into Elasticsearch and Kafka, in a run that is killed and resumed: what SQLite holds of a whole one."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.store import Store
from connectors.store_elasticsearch import ElasticsearchStore
from connectors.store_sqlite import SqliteStore
from connectors.transaction_writer import write_transactions
from tapewatch.documents import PAYMENT_FIELDS, PROFILE_FIELDS, rfc3339
from tests.connectors.made_payments import simulated
from tests.flows.test_transactions import finish, start

kafka: Any = import_module("tests.connectors.kafka_broker")
_KILLED_AFTER_LINES = 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("payments")
    write_transactions(place / "p.jsonl.zst", simulated())
    return place


@pytest.fixture(scope="module")
def usual(folder: Path) -> Iterator[Store]:
    assert finish(start(folder, "usual.db")) == (0, "")
    with SqliteStore(folder / "usual.db") as store:
        yield store


def killed_and_resumed(folder: Path, name: str, brokers: str = "", **sinks: str) -> list[dict[str, Any]]:
    """Run the flow, kill it, go on with it, and return the lines that the second run wrote on stdout."""
    recovery = folder / f"recovery-{name}"
    recovery.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(recovery), "1"], check=True)
    flags = ("-r", str(recovery), "-s", "0", "-b", "0")
    settings = {f"SINKS__{key}": value for key, value in sinks.items()}
    settings |= {"KAFKA__BROKERS": brokers} if brokers else {}
    settings["SINKS__KINDS"] = f'["{name}", "stdout"]'
    process = start(folder, "unused.db", *flags, plain=settings, SOURCE__BATCH_RECORDS="60")
    assert process.stdout is not None
    for _ in range(_KILLED_AFTER_LINES):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    process = start(folder, "unused.db", *flags, plain=settings, SOURCE__BATCH_RECORDS="60")
    out, told = process.communicate(timeout=120)
    assert (process.returncode, told) == (0, "")
    return [orjson.loads(line) for line in out.splitlines()]


def anomalies(store: Store) -> list[dict[str, Any]]:
    rows = store.anomalies(limit=10_000, order="oldest")
    for row in rows:
        del row["detected_at"]
    return rows


def test_elasticsearch_holds_what_sqlite_holds(
    folder: Path, usual: Store, elasticsearch_settings: Any
) -> None:
    place = elasticsearch_settings
    lines = killed_and_resumed(
        folder, "elasticsearch", ELASTICSEARCH__URL=place.url, ELASTICSEARCH__INDEX_PREFIX=place.index_prefix
    )
    with ElasticsearchStore(place) as store:
        assert anomalies(store) == anomalies(usual) != []
        assert set(anomalies(store)[0]) > set(PAYMENT_FIELDS)
        assert store.profiles(limit=1000) == usual.profiles(limit=1000) != []
        assert store.counters() == usual.counters()
        assert store.transactions(limit=1000) != []
    kinds = {line["document"] for line in lines}
    assert kinds == {"anomaly", "profile"}


def test_a_reader_of_the_topics_ends_with_what_sqlite_holds(folder: Path, usual: Store, broker: Any) -> None:
    topic, profiles = broker.topic(2), broker.topic(2)
    killed_and_resumed(
        folder, "kafka", KAFKA__TOPIC=topic, KAFKA__PROFILES_TOPIC=profiles, brokers=broker.address
    )
    found = kafka.latest(broker.messages(topic))
    wanted = {row["id"]: row for row in anomalies(usual)}
    assert set(found) == set(wanted)
    for name, document in found.items():
        told = {field: wanted[name][field] for field in (*PAYMENT_FIELDS, "key", "severity", "reason")}
        assert {field: document[field] for field in told} == told
    last = {message.key().decode(): orjson.loads(message.value()) for message in broker.messages(profiles)}
    for row in usual.profiles(limit=1000):
        times = {name: rfc3339(row[name]) for name in ("ts_first", "ts_last")}
        document = last.pop(row["user_id"])
        assert {name: document[name] for name in PROFILE_FIELDS} == {**row, **times}
    assert not last
