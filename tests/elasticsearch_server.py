"""A real Elasticsearch for tests: one at a time, and a prefix of its own for each test."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import KINDS, alias
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS, SCORE_FIELDS, rfc3339, to_json
from tapewatch.late_rows import LATE_FIELDS
from tapewatch.settings_elasticsearch import ElasticsearchSettings
from tests.ports import free_port

COUNTER_FIELDS = ("flow", "source", "partition", "name", "value")
MARK_FIELDS = ("id", "flow", "source", "detector", "key", "instrument_id", "ts_start", "standing")
_prefixes = count(1)
_up: list[Server] = []


class Server:
    """A server on a free port of the loopback interface, with TLS and users if ``secured``."""

    def __init__(self, scripts: Path, *, secured: bool = False) -> None:
        self._scripts = scripts
        self.port = free_port(beside=[100])  # the second is for other nodes
        self.secured = secured
        self.url = f"http{'s' if secured else ''}://127.0.0.1:{self.port}"
        services = os.environ.get("SERVICES_DIR", "/var/tmp/tapewatch-services")  # noqa: S108 - as the scripts say
        self.ca_certs = Path(services) / "elasticsearch" / f"run-{self.port}" / "config" / "certs" / "ca.pem"

    def _run(self, script: str, *arguments: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
        done = subprocess.run(
            [str(self._scripts / script), *arguments],
            env={**kept, "ES_PORT": str(self.port), "ES_SECURITY": str(int(self.secured))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=280,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(done.stdout[-2000:])

    def start(self) -> None:
        """Start it, or go on with it, and stop another one that is up."""
        if self in _up:
            return
        while _up:
            _up[0].stop()
        self._run("start.sh")
        _up.append(self)

    def stop(self, *, hard: bool = False) -> None:
        """Stop it; its data stay."""
        if self in _up:
            _up.remove(self)
            self._run("stop.sh", *(["-9"] if hard else []))

    def remove(self) -> None:
        """Stop it and delete its data."""
        if self in _up:
            _up.remove(self)
        self._run("stop.sh", "-9", "--wipe")

    @contextmanager
    def settings(self, **changes: Any) -> Iterator[ElasticsearchSettings]:
        """Give settings with a prefix of their own, and delete what was made under it at the end."""
        who = {}
        if self.secured:
            who = {"username": "hub", "password": SecretStr("hub-secret"), "ca_certs": str(self.ca_certs)}
        prefix = f"test{os.getpid()}-{next(_prefixes)}"
        made = ElasticsearchSettings(**{"url": self.url, "index_prefix": prefix, **who, **changes})
        try:
            yield made
        finally:
            if self in _up:
                forget(made)


def running(*, secured: bool) -> Iterator[Server]:
    """Yield a server that can be started, and remove it at the end; skip where there are no scripts for it."""
    folder = os.environ.get("TAPEWATCH_TEST_DATA")
    scripts = Path(folder or "/").resolve().parent / "services" / "elasticsearch"
    if not folder or not scripts.is_dir():
        reason = "beside TAPEWATCH_TEST_DATA there are no scripts that start Elasticsearch"
        if os.environ.get("TAPEWATCH_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    server = Server(scripts, secured=secured)
    yield server
    server.remove()


def forget(settings: ElasticsearchSettings) -> None:
    """Delete all indices and templates of a prefix."""
    client = connect(settings)
    indices = ",".join(client.indices.get(index=f"{settings.index_prefix}-*", features="aliases"))
    if indices:
        client.indices.delete(index=indices)
    client.options(ignore_status=404).indices.delete_index_template(
        name=",".join(alias(settings.index_prefix, kind) for kind in KINDS)
    )
    client.close()


def documents(settings: ElasticsearchSettings, kind: str) -> dict[str, dict[str, Any]]:
    """Return all documents of a kind by their ids, as they were written."""
    from elasticsearch.helpers import scan

    client = connect(settings)
    index = f"{alias(settings.index_prefix, kind)}-*"
    client.indices.refresh(index=index)
    found = {hit["_id"]: hit["_source"] for hit in scan(client, index=index, size=5000)}
    client.close()
    return found


def compared(settings: ElasticsearchSettings, path: Path) -> dict[str, tuple[list[Any], list[Any]]]:
    """Return what Elasticsearch and a SQLite store hold of each kind, as sorted documents to be equal."""
    fields = {
        "anomalies": ANOMALY_FIELDS,
        "bars": BAR_FIELDS,
        "scores": SCORE_FIELDS,
        "late": LATE_FIELDS,
        "counters": COUNTER_FIELDS,
        "provisional": MARK_FIELDS,
    }
    found = {}
    with closing(sqlite3.connect(path)) as connection:
        for kind, names in fields.items():
            rows = connection.execute(f"SELECT {', '.join(names)} FROM {kind}").fetchall()  # noqa: S608
            theirs = [_document(kind, names, row) for row in rows]
            ours = list(documents(settings, kind).values())
            found[kind] = (_sorted(ours), _sorted(theirs))
    return found


def _document(kind: str, names: tuple[str, ...], row: tuple[Any, ...]) -> dict[str, Any]:
    if kind not in ("counters", "provisional"):
        return to_json(names, row)
    # These have no moment of their own.
    found = dict(zip(names, row, strict=True))
    return {name: rfc3339(value) if name == "ts_start" else value for name, value in found.items()}


def _sorted(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for document in found:
        document.pop("detected_at", None)
    return sorted(found, key=lambda document: orjson.dumps(document, option=orjson.OPT_SORT_KEYS))
