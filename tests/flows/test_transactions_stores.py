"""Payments into Elasticsearch and Kafka, in a run that is killed and resumed: what SQLite holds of a whole one.

Reviews come from the store, or from a topic, and must act as those of a file do.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import confluent_kafka as ck
import orjson
import pytest

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.store import Store
from connectors.store_elasticsearch import ElasticsearchStore
from connectors.store_sqlite import SqliteStore
from connectors.transaction_writer import write_transactions
from tapewatch.documents import PAYMENT_FIELDS, PROFILE_FIELDS, rfc3339
from tapewatch.records import DAY
from tests.connectors.made_payments import payments, simulated
from tests.flows.test_transactions import finish, start

kafka: Any = import_module("tests.connectors.kafka_broker")
_KILLED_AFTER_LINES = 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("payments")
    write_transactions(place / "p.jsonl.zst", simulated())
    return place


def reviews() -> list[dict[str, Any]]:
    """Return a word on each injected anomaly, two days later, and on some others."""
    times = payments().times.tolist()
    return [
        {"transaction_id": name, "label": int(bool(kind)), "reviewed_at": ts + 2 * DAY}
        for number, (name, kind, ts) in enumerate(zip(payments().ids, simulated().kinds, times, strict=True))
        if kind or number % 50 == 0
    ]


@pytest.fixture(scope="module")
def usual(folder: Path) -> Iterator[Store]:
    """Return what a run with reviews from a file, in one go, writes to SQLite."""
    lines = ["transaction_id,label,reviewed_at"]
    lines += [f"{row['transaction_id']},{row['label']},{row['reviewed_at']}" for row in reviews()]
    (folder / "reviews.csv").write_text("\n".join(lines) + "\n")
    assert finish(start(folder, "usual.db", FEEDBACK__REVIEWS=str(folder / "reviews.csv"))) == (0, "")
    with SqliteStore(folder / "usual.db") as store:
        yield store


def killed_and_resumed(
    folder: Path, name: str, feedback: dict[str, str], brokers: str = "", **sinks: str
) -> list[dict[str, Any]]:
    """Run the flow, kill it, go on with it, and return the lines that the second run wrote on stdout."""
    settings = {f"FEEDBACK__{key}": value for key, value in feedback.items()}
    settings["SOURCE__BATCH_RECORDS"] = "60"
    recovery = folder / f"recovery-{name}"
    recovery.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(recovery), "1"], check=True)
    flags = ("-r", str(recovery), "-s", "0", "-b", "0")
    plain = {f"SINKS__{key}": value for key, value in sinks.items()}
    plain |= {"KAFKA__BROKERS": brokers, "TRANSACTIONS__KAFKA__BROKERS": brokers} if brokers else {}
    plain["SINKS__KINDS"] = f'["{name}", "stdout"]'
    process = start(folder, "unused.db", *flags, plain=plain, **settings)
    assert process.stdout is not None
    for _ in range(_KILLED_AFTER_LINES):
        assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=280)
    process = start(folder, "unused.db", *flags, plain=plain, **settings)
    out, told = process.communicate(timeout=280)
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
    client = connect(place)
    create(client, place)
    writer = BulkWriter(client, place)
    writer.write_documents("reviews", reviews())
    writer.refresh()
    client.close()
    lines = killed_and_resumed(
        folder, "elasticsearch", {"STORE": "true"},
        ELASTICSEARCH__URL=place.url, ELASTICSEARCH__INDEX_PREFIX=place.index_prefix,
    )  # fmt: skip
    with ElasticsearchStore(place) as store:
        assert anomalies(store) == anomalies(usual) != []
        assert set(anomalies(store)[0]) > set(PAYMENT_FIELDS)
        assert store.profiles(limit=1000) == usual.profiles(limit=1000) != []
        assert store.counters() == usual.counters()
        assert store.totals()["reviews"] > 100
        assert store.transactions(limit=1000) != []
    kinds = {line["document"] for line in lines}
    assert kinds == {"anomaly", "profile"}


def test_a_reader_of_the_topics_ends_with_what_sqlite_holds(folder: Path, usual: Store, broker: Any) -> None:
    topic, profiles, said = broker.topic(2), broker.topic(2), broker.topic(3)
    producer = ck.Producer({"bootstrap.servers": broker.address})
    for row in reviews():
        producer.produce(said, orjson.dumps(row), row["transaction_id"].encode())
    producer.flush(30)
    killed_and_resumed(
        folder, "kafka", {"TOPIC": said}, broker.address, KAFKA__TOPIC=topic, KAFKA__PROFILES_TOPIC=profiles
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
        assert {name: document.get(name) for name in PROFILE_FIELDS} == {**row, **times, "state": None}
    assert not last
