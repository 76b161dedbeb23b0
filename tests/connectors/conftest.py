"""The two stores with the same content, filled once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors.store_elasticsearch import ElasticsearchStore
from connectors.store_sqlite import SqliteStore
from tests.connectors.made_stores import Both, fill, parts


def _stores(server: Any, path: Path, some: list[Any]) -> Iterator[tuple[Any, Path, Any]]:
    server.start()
    with server.settings() as place:
        fill(path, place, some)
        yield server, path, place


def _opened(stores: tuple[Any, Path, Any]) -> Iterator[Both]:
    server, path, place = stores
    server.start()
    with SqliteStore(path) as sqlite, ElasticsearchStore(place) as elasticsearch:
        yield Both(sqlite, elasticsearch)


@pytest.fixture(scope="session")
def filled(
    _plain_elasticsearch: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Path, Any]]:
    yield from _stores(_plain_elasticsearch, tmp_path_factory.mktemp("both") / "results.db", parts())


@pytest.fixture
def both(filled: tuple[Any, Path, Any]) -> Iterator[Both]:
    yield from _opened(filled)


@pytest.fixture(scope="session")
def bare(
    _plain_elasticsearch: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Path, Any]]:
    yield from _stores(_plain_elasticsearch, tmp_path_factory.mktemp("empty") / "results.db", [])


@pytest.fixture
def empty(bare: tuple[Any, Path, Any]) -> Iterator[Both]:
    yield from _opened(bare)
