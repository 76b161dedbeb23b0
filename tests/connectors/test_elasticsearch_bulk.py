"""Bulk requests through all that may go wrong: nothing lost, nothing doubled, and the hopeless set aside."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.elasticsearch_bulk import REQUEST_BYTES, BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.elasticsearch_waiting import ServerAwayError
from connectors.sqlite import SqliteWriter
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.records import DAY

make: Any = import_module("tests.connectors.made_results")
server: Any = import_module("tests.elasticsearch_server")
proxies: Any = import_module("tests.elasticsearch_proxy")


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    log.addHandler(caplog.handler)
    yield caplog
    log.removeHandler(caplog.handler)


@contextmanager
def through(place: Any, plan: Callable[[int, bytes], str]) -> Iterator[tuple[Any, BulkWriter, list[float]]]:
    """Give a proxy, a writer that goes through it, and the pauses that it makes."""
    client = connect(place)
    create(client, place)
    client.close()
    proxy = proxies.Proxy(place.url, plan)
    behind = place.model_copy(update={"url": proxy.url})
    pauses: list[float] = []
    client = connect(behind)
    yield proxy, BulkWriter(client, behind, "paper", pause=pauses.append), pauses
    client.close()
    proxy.close()


def batches() -> list[list[Any]]:
    """Return results as a flow brings them, with all that may follow on what came before."""
    made = []
    for n in range(6):
        made.append(
            make.results(
                anomalies=[make.anomaly(m, severity=50.0 + n) for m in range(n, n + 4)],
                deleted=[make.anomaly(n - 1).id] if n % 3 == 2 else [],
                bars=[
                    make.bars(*range(10 + n, 20 + n), first=5 * n, final=n % 2 == 0),
                    make.bars(n, day=n % 2),
                ],
                scores=[make.scores(*(float((7 * n + m) % 5) for m in range(20)), first=3 * n)],
                late=make.late(n, 7, clock=10 + n),
                early=[make.early(make.anomaly(n + 3))],
                judged=[("high_volume", make.bars(1, first=n))],
                counters={"records": 100 * n},
            )
        )
    return [made[:2], made[2:3], made[3:]]


FAULTS = ["429", "503", "429 items", "lost", "cut", "nonsense", "hang up", "429 items"]


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_whatever_goes_wrong_nothing_is_lost_or_doubled(
    first: int, elasticsearch_settings: Any, tmp_path: Path
) -> None:
    def plan(number: int, body: bytes) -> str:
        return "pass" if number % 3 == 2 else FAULTS[(first + number) % len(FAULTS)]

    with through(elasticsearch_settings, plan) as (proxy, writer, pauses), SqliteWriter(tmp_path / "results.db", "paper") as sqlite:  # fmt: skip
        for batch in batches():
            writer.write(batch)
            sqlite.write(batch)
        assert FAULTS[first] in proxy.told
        assert pauses
    for kind, (ours, theirs) in server.compared(elasticsearch_settings, tmp_path / "results.db").items():
        assert theirs
        assert ours == theirs, kind


def test_requests_are_of_bounded_size_and_one_that_is_too_large_is_cut(elasticsearch_settings: Any) -> None:
    def plan(number: int, body: bytes) -> str:
        return "413" if len(body) > 50_000 else "pass"

    results = [make.results(bars=[make.bars(*range(4000), width="1s")])]
    with through(elasticsearch_settings, lambda number, body: "pass") as (proxy, writer, pauses):
        writer.write(results)
        assert len(proxy.sizes) >= 1
        assert max(proxy.sizes) <= REQUEST_BYTES
    assert len(server.documents(elasticsearch_settings, "bars")) == 4000
    with through(elasticsearch_settings, plan) as (proxy, writer, pauses):
        writer.write([make.results(bars=[make.bars(*range(4000), key="QQQ", width="1s")])])
        assert max(s for s, what in zip(proxy.sizes, proxy.told, strict=True) if what == "pass") <= 50_000
        assert not pauses
    assert len(server.documents(elasticsearch_settings, "bars")) == 8000


def test_many_documents_are_several_requests(elasticsearch_settings: Any) -> None:
    with through(elasticsearch_settings, lambda number, body: "pass") as (proxy, writer, _):
        writer.write([make.results(bars=[make.bars(*range(9000), width="1s")])])
        assert len(proxy.sizes) > 1
        assert REQUEST_BYTES // 2 < max(proxy.sizes) <= REQUEST_BYTES


def test_documents_that_are_never_taken_are_set_aside_with_the_reason(
    elasticsearch_settings: Any, logged: pytest.LogCaptureFixture
) -> None:
    poison = make.anomaly(1, publisher_id=2**63, detected_at=0)
    results = [make.results(anomalies=[poison, make.anomaly(2)], bars=[make.bars(1, 2)])]
    with through(elasticsearch_settings, lambda number, body: "429 items" if number % 2 else "pass") as (
        _,
        writer,
        _,
    ):
        writer.write(results)
        writer.write(results)
    assert [d["id"] for d in server.documents(elasticsearch_settings, "anomalies").values()] == [
        make.anomaly(2).id
    ]
    assert len(server.documents(elasticsearch_settings, "bars")) == 2
    (letter,) = server.documents(elasticsearch_settings, "dead-letters").values()
    assert (letter["index"], letter["document_id"]) == (
        f"{elasticsearch_settings.index_prefix}-anomalies-2024.06.03", poison.id,
    )  # fmt: skip
    assert letter["error"] == "document_parsing_exception"
    assert "publisher_id" in letter["reason"]
    assert orjson.loads(letter["document"])["publisher_id"] == 2**63
    lines = [record.getMessage() for record in logged.records if record.levelno == logging.ERROR]
    assert len(lines) == 2
    assert "refused 1 documents, the first for document_parsing_exception" in lines[0]


def test_a_document_larger_than_any_request_is_set_aside_in_part(elasticsearch_settings: Any) -> None:
    with through(elasticsearch_settings, lambda number, body: "413" if len(body) > 30_000 else "pass") as (
        _,
        writer,
        _,
    ):
        writer.write([make.results(anomalies=[make.anomaly(1, reason="x" * 40_000), make.anomaly(2)])])
    assert len(server.documents(elasticsearch_settings, "anomalies")) == 1
    (letter,) = server.documents(elasticsearch_settings, "dead-letters").values()
    assert letter["error"] == "too_large"
    assert len(letter["document"]) == 10_000


def test_pauses_grow_to_a_limit_and_are_told_seldom(
    elasticsearch_settings: Any, logged: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        clock[0] += seconds

    with through(elasticsearch_settings, lambda number, body: "503" if number < 20 else "pass") as (
        _,
        writer,
        pauses,
    ):
        writer._pause = pause
        monkeypatch.setattr("connectors.elasticsearch_waiting.time.monotonic", lambda: clock[0])
        writer.write(batches()[0])
        monkeypatch.undo()
    assert pauses[:7] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0]
    assert set(pauses[6:]) == {5.0}
    told = [record.getMessage() for record in logged.records]
    assert len(told) == 4
    assert "answered 503: injected: a made-up 503; trying again for 2 s so far, the flow waits" in told[0]
    assert told[-1].endswith("takes documents again after 76 s")


def test_a_run_that_is_to_stop_waits_only_so_long(
    elasticsearch_settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    client = connect(elasticsearch_settings)
    create(client, elasticsearch_settings)
    proxy = proxies.Proxy(elasticsearch_settings.url, lambda number, body: "503")
    behind = elasticsearch_settings.model_copy(update={"url": proxy.url})

    def pause(seconds: float) -> None:
        clock[0] += seconds

    writer = BulkWriter(connect(behind), behind, stopping=lambda: clock[0] > 1060, pause=pause)
    monkeypatch.setattr("connectors.elasticsearch_waiting.time.monotonic", lambda: clock[0])
    with pytest.raises(ServerAwayError, match="the run was to stop, and its last results are not written"):
        writer.write(batches()[0])
    assert 1070 <= clock[0] <= 1090
    monkeypatch.undo()
    proxy.close()
    client.close()


def test_a_cluster_that_is_full_is_a_refusal_and_not_a_dead_letter(elasticsearch_settings: Any) -> None:
    client = connect(elasticsearch_settings)
    create(client, elasticsearch_settings)
    limit = "cluster.max_shards_per_node"
    taken = client.cluster.health()["active_shards"]
    client.cluster.put_settings(persistent={limit: max(taken, 1)})
    try:
        with pytest.raises(
            UserError, match=r"refuses to write to .*-bars-2024.06.03: .* maximum .* shards open"
        ):
            BulkWriter(client, elasticsearch_settings).write([make.results(bars=[make.bars(1)])])
    finally:
        client.cluster.put_settings(persistent={limit: None})
    assert server.documents(elasticsearch_settings, "dead-letters") == {}
    client.close()


def test_an_index_that_is_blocked_for_a_while_is_waited_for(elasticsearch_settings: Any) -> None:
    client = connect(elasticsearch_settings)
    create(client, elasticsearch_settings)
    writer = BulkWriter(client, elasticsearch_settings)
    writer.write([make.results(bars=[make.bars(1)])])
    index = f"{elasticsearch_settings.index_prefix}-bars-2024.06.03"
    # As Elasticsearch itself does when a disk is nearly full.
    client.indices.put_settings(index=index, settings={"index.blocks.read_only_allow_delete": True})
    writing = threading.Thread(target=writer.write, args=([make.results(bars=[make.bars(2, first=1)])],))
    writing.start()
    writing.join(0.7)
    assert writing.is_alive()
    client.indices.put_settings(index=index, settings={"index.blocks.read_only_allow_delete": None})
    writing.join(30)
    assert not writing.is_alive()
    assert len(server.documents(elasticsearch_settings, "bars")) == 2
    client.close()


def test_another_program_is_refused_at_once(elasticsearch_settings: Any) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        do_PUT = do_POST

        def log_message(self, format: str, *args: object) -> None:
            return

    other = HTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=other.serve_forever, args=(0.05,), daemon=True).start()
    place = elasticsearch_settings.model_copy(update={"url": f"http://127.0.0.1:{other.server_port}"})
    with pytest.raises(UserError, match="is another program than Elasticsearch"):
        BulkWriter(connect(place), place).write([make.results(bars=[make.bars(1)])])
    other.shutdown()
    other.server_close()


def test_the_day_of_an_anomaly_taken_back_need_not_be_known(elasticsearch_settings: Any) -> None:
    client = connect(elasticsearch_settings)
    create(client, elasticsearch_settings)
    writer = BulkWriter(client, elasticsearch_settings)
    days = [make.anomaly(n, ts_event=make.MONDAY + n * DAY) for n in range(4)]
    writer.write([make.results(anomalies=days)])
    writer.write([make.results(deleted=[days[1].id, days[3].id, "f" * 32])])
    assert sorted(server.documents(elasticsearch_settings, "anomalies")) == [days[0].id, days[2].id]
    client.close()
