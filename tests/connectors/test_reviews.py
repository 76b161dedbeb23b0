"""Reviews are written into the store that is read."""

from __future__ import annotations

from dataclasses import asdict, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.reviews import write_review
from connectors.sqlite import SqliteWriter
from connectors.sqlite_reviews import Review
from connectors.store import open_results
from tapewatch.errors import UserError
from tapewatch.settings import Settings

make: Any = import_module("tests.connectors.made_results")

REVIEW = Review(f"{1:032x}", 1, "ana", None, make.MONDAY + 1)


def check(settings: Settings) -> None:
    for review in (REVIEW, REVIEW, replace(REVIEW, label=0, reviewed_at=make.MONDAY + 2)):
        assert write_review(settings, review)
    assert not write_review(settings, replace(REVIEW, anomaly_id="f" * 32))
    with open_results(settings) as store:
        labels = [row["label"] for row in store.reviews()]
        (first,) = store.reviews(label=1)
        assert store.anomalies(reviewed=True)[0]["id"] == REVIEW.anomaly_id
    assert labels == [0, 1]
    assert first == asdict(REVIEW) | {"transaction_id": None}


def test_into_sqlite(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with SqliteWriter(path) as writer:
        writer.write([make.results(anomalies=[make.anomaly(1)])])
    check(Settings(sinks={"kinds": ["stdout", "sqlite"], "sqlite": {"path": str(path)}}))


def test_into_elasticsearch(elasticsearch_settings: Any) -> None:
    place = elasticsearch_settings
    client = connect(place)
    create(client, place)
    writer = BulkWriter(client, place)
    writer.write([make.results(anomalies=[make.anomaly(1)])])
    writer.refresh()
    client.close()
    check(Settings(sinks={"kinds": ["elasticsearch"], "elasticsearch": place}))


def test_a_server_that_is_away_is_told_of() -> None:
    nowhere = {"url": "http://127.0.0.1:9"}
    with pytest.raises(UserError, match="does not answer"):
        write_review(Settings(sinks={"kinds": ["elasticsearch"], "elasticsearch": nowhere}), REVIEW)
