"""Elasticsearch as a sink: the same as in SQLite whatever comes in whatever pieces, and safe when it says so."""

from __future__ import annotations

import threading
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from bytewax.testing import cluster_main, run_main
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import SCHEMA_VERSION, alias, create, ensure, template, versions
from connectors.elasticsearch_sink import ElasticsearchPartition, ElasticsearchSink
from connectors.sqlite import SqliteWriter
from tapewatch.documents import Results
from tapewatch.errors import UserError
from tests.connectors.sink_flow import flow_of

make: Any = import_module("tests.connectors.made_results")
server: Any = import_module("tests.elasticsearch_server")

NUMBERS = st.integers(0, 3)
PARTS = st.one_of(
    st.builds(
        lambda n, severity, contributions: {
            "anomalies": [make.anomaly(n, severity=severity, contributions=contributions)]
        },
        NUMBERS,
        st.sampled_from([10.0, 90.0, float("nan")]),
        st.sampled_from([{"volume": 1.0}, {"trades": 0.5, "volume": 0.5}]),
    ),
    st.builds(lambda n: {"deleted": [make.anomaly(n).id]}, NUMBERS),
    st.builds(
        lambda n, m: {"deleted": [make.anomaly(n).id], "anomalies": [make.anomaly(m)]}, NUMBERS, NUMBERS
    ),
    st.builds(
        lambda n, volume, final, day: {"bars": [make.bars(volume, first=n, final=final, day=day)]},
        NUMBERS,
        st.integers(0, 3),
        st.booleans(),
        st.integers(0, 1),
    ),
    st.builds(
        lambda n, score, threshold: {
            "scores": [
                replace(
                    made := make.scores(score, score, first=n),
                    ts_start=made.ts_start[[0, 0]],
                    ts_end=made.ts_end[[0, 0]],
                    thresholds=np.array([4.0 + threshold, 4.0]),
                )
            ]
        },
        NUMBERS,
        st.sampled_from([-1.5, -0.0, 0.0, 2.0, 2.0000000000000004]),
        st.sampled_from([0.0, 1.0]),
    ),
    st.builds(lambda n, size: {"late": make.late(size, 5, clock=10 + n)}, NUMBERS, st.integers(1, 3)),
    st.builds(
        lambda n, severity: {
            "anomalies": [told := make.anomaly(n, severity=severity)],
            "early": [make.early(told, make.anomaly(n, severity=1.0) if n % 2 else None)],
        },
        NUMBERS,
        st.sampled_from([20.0, 30.0]),
    ),
    st.builds(lambda n: {"judged": [("high_volume", make.bars(1, 1, first=n))]}, NUMBERS),
    st.builds(lambda value, partition: {"counters": {"records": value}, "partition": partition},
              st.integers(0, 3), st.sampled_from(["a", "b"])),
)  # fmt: skip


@settings(max_examples=10, deadline=None)
@given(
    parts=st.lists(PARTS, min_size=1, max_size=25),
    cuts=st.sets(st.integers(1, 24)),
    restarts=st.sets(st.integers(1, 8)),
    again=st.booleans(),
)
def test_whatever_is_written_in_whatever_pieces_is_what_sqlite_holds(
    elasticsearch: Any,
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[dict[str, Any]],
    cuts: set[int],
    restarts: set[int],
    *,
    again: bool,
) -> None:
    results = [make.results(**part) for part in parts]
    places = [0, *sorted(cuts), len(results)]
    pieces = [results[a:b] for a, b in pairwise(places)]
    # A resumed run repeats the end of what it had written, in the order of its making.
    pieces += pieces[-2:] if again else []
    path = tmp_path_factory.mktemp("sqlite") / "results.db"
    with elasticsearch.settings() as place:
        client = connect(place)
        create(client, place)
        writer, sqlite = BulkWriter(client, place, "paper"), SqliteWriter(path, "paper")
        for number, piece in enumerate(pieces):
            if number in restarts:
                sqlite.close()
                writer, sqlite = BulkWriter(client, place, "paper"), SqliteWriter(path, "paper")
            writer.write(piece)
            for one in piece:
                sqlite.write([one])
        sqlite.close()
        client.close()
        for kind, (ours, theirs) in server.compared(place, path).items():
            assert ours == theirs, kind


def test_mappings_are_strict_and_what_the_contract_says(elasticsearch_settings: Any) -> None:
    client = connect(elasticsearch_settings)
    create(client, elasticsearch_settings)
    BulkWriter(client, elasticsearch_settings).write(
        [
            make.results(
                anomalies=[make.anomaly()], bars=[make.bars(1)], scores=[make.scores(1.0)], counters={"n": 1}
            )
        ]
    )
    prefix = elasticsearch_settings.index_prefix
    found = client.indices.get(index=f"{prefix}-*")
    assert sorted(found) == [
        f"{prefix}-anomalies-2024.06.03", f"{prefix}-bars-2024.06.03", f"{prefix}-counters-all",
        f"{prefix}-scores-2024.06.03",
    ]  # fmt: skip
    for name, index in found.items():
        kind = name.removeprefix(f"{prefix}-").partition("-")[0]
        assert list(index["aliases"]) == [f"{prefix}-{kind}"]
        assert index["mappings"]["dynamic"] == "strict"
        wanted = template(prefix, kind)["template"]["mappings"]["properties"]
        assert index["mappings"]["properties"].keys() == wanted.keys()
    types = {
        n: f["type"] for n, f in found[f"{prefix}-anomalies-2024.06.03"]["mappings"]["properties"].items()
    }
    assert {types[name] for name in ("@timestamp", "ts_event", "ts_start", "ts_end", "detected_at")} == {
        "date_nanos"
    }
    assert {types[name] for name in ("id", "incident", "detector", "key", "symbol", "flow")} == {"keyword"}
    assert {types[name] for name in ("severity", "score", "threshold", "observed", "expected")} == {"double"}
    assert types["contributions"] == "flattened"
    client.close()


def test_templates_are_put_once_and_those_of_another_version_refused(elasticsearch_settings: Any) -> None:
    client = connect(elasticsearch_settings)
    assert versions(client, elasticsearch_settings) == {}
    ensure(client, elasticsearch_settings)
    assert set(versions(client, elasticsearch_settings).values()) == {SCHEMA_VERSION}
    assert create(client, elasticsearch_settings)[0] is False
    name = alias(elasticsearch_settings.index_prefix, "bars")
    client.indices.put_index_template(name=name, index_patterns=[f"{name}-*"], version=99, priority=200)
    for prepare in (ensure, create):
        with pytest.raises(
            UserError,
            match=rf"bars .*is of version 99, this program reads and writes version {SCHEMA_VERSION}",
        ):
            prepare(client, elasticsearch_settings)
    client.close()


def test_an_index_in_the_place_of_an_alias_is_refused(elasticsearch_settings: Any) -> None:
    client = connect(elasticsearch_settings)
    client.indices.create(index=alias(elasticsearch_settings.index_prefix, "bars"))
    with pytest.raises(UserError, match=r"has an index .*bars', which is to be an alias"):
        create(client, elasticsearch_settings)
    client.close()


def test_retention_without_ilm_says_what_to_run(elasticsearch: Any) -> None:
    with elasticsearch.settings(retention_days=30) as place:
        client = connect(place)
        assert create(client, place) == (
            True,
            "this server has no ILM: run `tapewatch prune --days 30` once a day",
        )
        client.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_a_flow_writes_all_and_acknowledges_each(workers: int, elasticsearch_settings: Any) -> None:
    done, new = list[int](), list[int]()
    items = [
        (f"day/{n % 3}", make.results(seq=n, anomalies=[make.anomaly(n % 8)], bars=[make.bars(5, first=n)]))
        for n in range(20)
    ]
    sink = ElasticsearchSink(elasticsearch_settings, lambda results: done.append(results.seq), new.append)
    flow = flow_of(items, sink)
    if workers == 1:
        run_main(flow)  # type: ignore[no-untyped-call]
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]
    assert sorted(done) == list(range(20))
    assert sum(new) == 8
    assert len(server.documents(elasticsearch_settings, "anomalies")) == 8
    assert len(server.documents(elasticsearch_settings, "bars")) == 20


class _Slow:
    """A writer that goes on when it is let."""

    def __init__(self) -> None:
        self.written: list[int] = []
        self.let = threading.Semaphore(0)
        self.failure: Exception | None = None

    def write(self, results: list[Results]) -> int:
        self.let.acquire()
        if self.failure is not None:
            raise self.failure
        self.written.append(len(results))
        return 0

    def refresh(self) -> None:
        return


def test_what_waits_is_bounded_and_grows_the_next_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.elasticsearch_sink._MOST_WAITING", 20)
    slow: Any = _Slow()
    partition = ElasticsearchPartition(slow, None, None)
    feeding = threading.Thread(target=lambda: partition.write_batch([make.results()] * 50))
    feeding.start()
    feeding.join(0.5)
    assert feeding.is_alive()
    assert partition._documents == 20
    for _ in range(100):
        slow.let.release()
    feeding.join(10)
    partition.snapshot()
    assert sum(slow.written) == 50
    assert max(slow.written) > 1
    partition.close()


def test_a_snapshot_waits_until_all_is_written_and_acknowledged() -> None:
    slow: Any = _Slow()
    done: list[Results] = []
    partition = ElasticsearchPartition(slow, done.append, None)
    partition.write_batch([make.results(), make.results()])
    taking = threading.Thread(target=partition.snapshot)
    taking.start()
    taking.join(0.2)
    assert taking.is_alive()
    assert done == []
    slow.let.release()
    slow.let.release()
    taking.join(10)
    assert not taking.is_alive()
    assert len(done) == 2
    partition.close()


def test_a_refusal_ends_the_process_and_acknowledges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class EndedError(Exception):
        pass

    def abort(line: str, status: int = 1) -> None:
        raise EndedError(line, status)

    monkeypatch.setattr("tapewatch.stopping.abort", abort)
    slow: Any = _Slow()
    slow.failure = UserError("the disk is full")
    done: list[Results] = []
    partition = ElasticsearchPartition(slow, done.append, None)
    partition.write_batch([make.results()])
    slow.let.release()
    with pytest.raises(EndedError, match="the disk is full; start again when that is cured") as caught:
        partition.snapshot()
    assert caught.value.args[1] == 1
    with pytest.raises(EndedError):
        partition.write_batch([make.results()])
    assert done == []
    partition.close()
