"""The two stores with the same content, filled once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.store_elasticsearch import ElasticsearchStore
from connectors.store_sqlite import SqliteStore
from tests.connectors.made_stores import Both, fill, parts


@pytest.fixture(scope="session")
def filled(
    _plain_elasticsearch: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Path, Any]]:
    _plain_elasticsearch.start()
    path = tmp_path_factory.mktemp("both") / "results.db"
    with _plain_elasticsearch.settings() as place:
        fill(path, place, parts())
        yield _plain_elasticsearch, path, place


@pytest.fixture
def both(filled: tuple[Any, Path, Any]) -> Iterator[Both]:
    server, path, place = filled
    server.start()
    with SqliteStore(path) as sqlite, ElasticsearchStore(place) as elasticsearch:
        yield Both(sqlite, elasticsearch)


@pytest.fixture(scope="session")
def bare(
    _plain_elasticsearch: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Path, Any]]:
    _plain_elasticsearch.start()
    path = tmp_path_factory.mktemp("empty") / "results.db"
    with _plain_elasticsearch.settings() as place:
        fill(path, place, [])
        yield _plain_elasticsearch, path, place


@pytest.fixture
def empty(bare: tuple[Any, Path, Any]) -> Iterator[Both]:
    server, path, place = bare
    server.start()
    with SqliteStore(path) as sqlite, ElasticsearchStore(place) as elasticsearch:
        yield Both(sqlite, elasticsearch)
