"""What a store remembers is what it would answer, also when something was written since."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import elastic_transport
import pytest

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.sqlite import SqliteWriter
from connectors.store_elasticsearch import ElasticsearchStore
from connectors.store_memory import Memory
from connectors.store_sqlite import SqliteStore
from tapewatch.errors import UserError
from tapewatch.settings_elasticsearch import ElasticsearchSettings

make: Any = import_module("tests.connectors.made_results")


def test_the_same_is_asked_once_until_something_is_written(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with SqliteWriter(path) as writer, SqliteStore(path, remember=True) as store:
        writer.write([make.results(anomalies=[make.anomaly(1)])])
        asked: list[str] = []
        store._connection.set_trace_callback(asked.append)
        first = store.anomalies()
        first[0]["reason"] = "changed by who asked"
        again = store.anomalies()
        assert len([query for query in asked if "FROM anomalies" in query]) == 1
        assert again[0]["reason"] == make.anomaly(1).reason
        writer.write([make.results(anomalies=[make.anomaly(1, revision=2), make.anomaly(2)])])
        assert [row["revision"] for row in store.anomalies()] == [1, 2]
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("DELETE FROM anomalies")
        assert store.anomalies() == []


def test_an_answer_that_comes_late_does_not_outlive_its_version() -> None:
    memory = Memory[str]()
    before = memory.at(1)
    memory.at(2)
    assert before.answer("?", lambda: "old") == "old"
    assert memory.now.answer("?", lambda: "new") == "new"


def test_the_least_asked_go_first_and_large_ones_are_not_kept() -> None:
    memory = Memory[int](most=2)
    for question in ("a", "b", "a", "c"):
        memory.now.answer(question, lambda: 1)
    assert [memory.now.answer(question, lambda: 2) for question in ("a", "c", "b")] == [1, 1, 2]
    assert [memory.now.answer("d", partial(int, n), lambda found: found < 9) for n in (9, 8, 7)] == [9, 8, 8]


def test_elasticsearch_forgets_when_it_is_told_to_look_again(
    elasticsearch_settings: ElasticsearchSettings,
) -> None:
    client = connect(elasticsearch_settings)
    create(client, elasticsearch_settings)
    writer = BulkWriter(client, elasticsearch_settings)

    def write(**parts: Any) -> None:
        writer.write([make.results(**parts)])
        writer.refresh()

    with ElasticsearchStore(elasticsearch_settings, remember=True) as store:
        store.look_again()
        assert store.anomalies() == []
        write(anomalies=[make.anomaly(1)])
        assert store.anomalies() == []
        changes: list[tuple[dict[str, Any], list[int]]] = [
            ({}, [1]),
            ({"anomalies": [make.anomaly(1, revision=2)]}, [2]),
            ({"anomalies": [make.anomaly(2)]}, [1, 2]),
            ({"deleted": [make.anomaly(1).id]}, [1]),
        ]
        for parts, wanted in changes:
            write(**parts)
            store.look_again()
            assert [row["revision"] for row in store.anomalies()] == wanted
    client.close()


def test_what_elasticsearch_was_prepared_for_is_not_asked_again(
    elasticsearch_settings: ElasticsearchSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(elasticsearch_settings)
    create(client, elasticsearch_settings)
    writer = BulkWriter(client, elasticsearch_settings)
    writer.write([make.results(anomalies=[make.anomaly(1)], bars=[make.bars(1, 2, 3)])])
    writer.refresh()
    client.close()
    requests: list[str] = []
    perform = elastic_transport.Transport.perform_request

    def counted(transport: Any, method: str, target: str, **rest: Any) -> Any:
        requests.append(target)
        return perform(transport, method, target, **rest)

    monkeypatch.setattr(elastic_transport.Transport, "perform_request", counted)
    with (
        ElasticsearchStore(elasticsearch_settings) as plain,
        ElasticsearchStore(elasticsearch_settings, remember=True) as store,
    ):
        requests.clear()
        plain.prepare(plain.span, plain.anomalies)
        assert requests == []
        store.look_again()
        store.prepare(store.span, store.bar_keys, store.anomalies, store.totals)
        assert len(requests) == 6  # of the span two: its milliseconds came with the look
        answers = store.span(), store.bar_keys(), store.anomalies(), store.totals(), store.counts()
        assert len(requests) == 6
        assert answers == (
            plain.span(), plain.bar_keys(), plain.anomalies(), plain.totals(), plain.counts()
        )  # fmt: skip
        assert answers[1] == ["SPY"]
        with pytest.raises(UserError, match="`order` must be one of"):
            store.prepare(store.span, partial(store.anomalies, order="best"))
