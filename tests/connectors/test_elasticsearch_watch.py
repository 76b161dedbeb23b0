"""Following the results in Elasticsearch: what comes, changes and goes is told, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.app import application
from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.elasticsearch_upkeep import wipe
from connectors.elasticsearch_watch import ElasticsearchWatch
from connectors.reviews import write_review
from connectors.sqlite_reviews import Review
from connectors.stdout import documents
from tapewatch.settings import Settings, load
from tapewatch.settings_elasticsearch import ElasticsearchSettings

make: Any = import_module("tests.connectors.made_results")
serving: Any = import_module("tests.api.serving")

Write = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def write(elasticsearch_settings: ElasticsearchSettings) -> Iterator[Write]:
    """Return a function that writes results and returns their documents as another sink tells them."""
    client = connect(elasticsearch_settings)
    create(client, elasticsearch_settings)
    writer = BulkWriter(client, elasticsearch_settings)

    def written(**parts: Any) -> list[dict[str, Any]]:
        results = make.results(**parts)
        writer.write([results])
        writer.refresh()
        return list(documents(results))

    yield written
    client.close()


def _sorted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(({**row, "detected_at": None} for row in rows), key=str)


def test_what_comes_changes_and_goes_is_told_once(
    elasticsearch_settings: ElasticsearchSettings, write: Write
) -> None:
    write(anomalies=[make.anomaly(1)], bars=[make.bars(1)])
    watch = ElasticsearchWatch(elasticsearch_settings)
    assert watch.changes() == []
    told = write(bars=[make.bars(2, 3, first=1, final=False)], anomalies=[make.anomaly(2), make.anomaly(3)])
    assert _sorted(watch.changes()) == _sorted(told)
    assert watch.changes() == []
    told = write(
        bars=[make.bars(2, first=1)], anomalies=[make.anomaly(2, revision=2)], scores=[make.scores(2.5)]
    )
    assert _sorted(watch.changes()) == _sorted(told)
    # The newest one is taken back: numbers fall, and nothing else is told again.
    write(deleted=[make.anomaly(2).id])
    assert watch.changes() == [{"document": "deleted", "id": make.anomaly(2).id}]
    told = write(anomalies=[make.anomaly(4)])
    assert _sorted(watch.changes()) == _sorted(told)
    assert watch.changes() == []
    watch.close()
    assert watch.changes() == []


def test_more_than_a_look_takes_comes_with_the_next_and_after_a_wipe_all(
    elasticsearch_settings: ElasticsearchSettings, write: Write
) -> None:
    watch = ElasticsearchWatch(elasticsearch_settings, most=2)
    told = write(anomalies=[make.anomaly(number) for number in range(5)])
    found = watch.changes()
    while watch.more:
        found += watch.changes()
    assert _sorted(found) == _sorted(told)
    wipe(elasticsearch_settings)
    (again,) = write(anomalies=[make.anomaly(1)])
    gone = [{"document": "deleted", "id": make.anomaly(n).id} for n in (0, 2, 3, 4)]
    assert _sorted(watch.changes()) == _sorted([*gone, again])
    watch.close()


def test_a_server_that_does_not_answer_is_waited_for() -> None:
    watch = ElasticsearchWatch(ElasticsearchSettings(url="http://127.0.0.1:1"))
    assert watch.changes() == []
    watch.close()


def _settings(place: ElasticsearchSettings) -> Settings:
    sinks = load().sinks.model_copy(update={"kinds": ["elasticsearch"], "elasticsearch": place})
    return load().model_copy(update={"sinks": sinks})


def test_the_api_serves_reviews_and_a_stream_without_a_database(
    elasticsearch_settings: ElasticsearchSettings,
    write: Write,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = _settings(elasticsearch_settings)
    write(anomalies=[make.anomaly(1)])
    for number in range(3):
        assert write_review(settings, Review(make.anomaly(1).id, 1, "ana", None, make.MONDAY + number))
    with TestClient(application(settings), base_url=serving.HOST) as client:
        first = client.get("/api/reviews?limit=2").json()
        second = client.get(f"/api/reviews?limit=2&cursor={first['next']}").json()
        rows = first["reviews"] + second["reviews"]
        assert [row["reviewed_at"][-4:] for row in rows] == ["002Z", "001Z", "000Z"]
        assert second["next"] is None
        with client.websocket_connect(serving.STREAM) as stream:
            (told,) = write(anomalies=[make.anomaly(2)])
            assert _sorted([stream.receive_json()]) == _sorted([told])
    assert list(tmp_path.iterdir()) == []
