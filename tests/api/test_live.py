"""The stream: what comes into the store while one listens."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.websockets import WebSocketDisconnect

from api import live
from connectors.sqlite import SqliteWriter
from connectors.stdout import documents

make: Any = import_module("tests.connectors.made_results")
serving: Any = import_module("tests.api.serving")


def write(folder: Path, **parts: Any) -> list[dict[str, Any]]:
    """Write results and return their documents as another sink tells them."""
    results = make.results(**parts)
    with SqliteWriter(folder / "results.db") as writer:
        writer.write([results])
    return list(documents(results))


def test_documents_come_as_they_are_written(tmp_path: Path) -> None:
    write(tmp_path, anomalies=[make.anomaly(1)], bars=[make.bars(1)])
    with serving.client(tmp_path) as client, client.websocket_connect(serving.STREAM) as stream:
        (bar,) = write(tmp_path, bars=[make.bars(2, first=1, final=False)])
        assert stream.receive_json() == bar
        told = write(tmp_path, bars=[make.bars(3, first=1)], anomalies=[make.anomaly(2)])
        assert sorted((stream.receive_json() for _ in told), key=str) == sorted(told, key=str)
        (grown,) = write(tmp_path, anomalies=[make.anomaly(2, revision=2)])
        assert stream.receive_json() == grown
        (scored,) = write(tmp_path, scores=[make.scores(2.5)])
        assert stream.receive_json() == scored
        write(tmp_path, deleted=[make.anomaly(2).id])
        assert stream.receive_json() == {"document": "deleted", "id": make.anomaly(2).id}


def test_what_a_client_says_is_passed_over(tmp_path: Path) -> None:
    with serving.client(tmp_path) as client, client.websocket_connect(serving.STREAM) as stream:
        stream.send_text("{")
        stream.send_bytes(b"\xff")
        told = write(tmp_path, anomalies=[make.anomaly(number) for number in range(3)])
        assert [stream.receive_json() for _ in told] == told


def test_there_are_no_more_than_so_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MOST_STREAMS", 1)
    with serving.client(tmp_path) as client:
        with client.websocket_connect(serving.STREAM) as first:
            with (
                client.websocket_connect(serving.STREAM) as second,
                pytest.raises(WebSocketDisconnect) as ended,
            ):
                second.receive_json()
            assert (ended.value.code, ended.value.reason) == (1013, "there are 1 streams already")
            (told,) = write(tmp_path, anomalies=[make.anomaly(1)])
            assert first.receive_json() == told
        with client.websocket_connect(serving.STREAM) as next_one:
            (told,) = write(tmp_path, anomalies=[make.anomaly(2)])
            assert next_one.receive_json() == told
