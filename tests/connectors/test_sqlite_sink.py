"""The store as a sink of a flow: what is acknowledged is written, what is not written is not acknowledged."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import pytest
from bytewax.testing import cluster_main, run_main

from connectors.sqlite_sink import SqliteSink
from connectors.store_sqlite import SqliteStore
from tapewatch import stopping
from tapewatch.documents import Results
from tapewatch.errors import UserError
from tests.connectors.sink_flow import flow_of

make: Any = import_module("tests.connectors.made_results")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_flow_writes_all_and_acknowledges_each(tmp_path: Path, workers: int) -> None:
    path, done, new = tmp_path / "results.db", list[int](), list[int]()
    items = [
        (f"day/{n % 3}", make.results(seq=n, anomalies=[make.anomaly(n % 8)], bars=[make.bars(5, first=n)]))
        for n in range(20)
    ]
    sink = SqliteSink(path, lambda results: done.append(results.seq), new.append, source="paper")
    flow = flow_of(items, sink)
    if workers == 1:
        run_main(flow)  # type: ignore[no-untyped-call]
    else:
        cluster_main(flow, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]
    assert sorted(done) == list(range(20))
    assert sum(new) == 8
    with SqliteStore(path) as store:
        assert (store.counts()["anomalies"], store.counts()["bars"]) == (8, 20)


def test_without_callbacks(tmp_path: Path) -> None:
    flow = flow_of([("a", make.results(anomalies=[make.anomaly()]))], SqliteSink(tmp_path / "results.db"))
    run_main(flow)  # type: ignore[no-untyped-call]
    with SqliteStore(tmp_path / "results.db") as store:
        assert len(store.worst()) == 1


def test_what_is_acknowledged_is_in_the_store(tmp_path: Path) -> None:
    path = tmp_path / "results.db"

    def check(results: Results) -> None:
        with SqliteStore(path) as store:
            assert {row["id"] for row in store.anomalies()} >= {a.id for a in results.anomalies}

    partition = SqliteSink(path, check).build_part("out", "sqlite", None)
    for n in range(5):
        partition.write_batch([make.results(anomalies=[make.anomaly(n)])])
    assert partition.snapshot() is None  # type: ignore[func-returns-value]
    partition.close()


@pytest.fixture
def aborted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines with which the process would have ended."""
    lines = list[str]()

    def abort(line: str) -> NoReturn:
        lines.append(line)
        raise SystemExit(1)

    monkeypatch.setattr(stopping, "abort", abort)
    return lines


def test_a_batch_that_is_not_written_is_not_acknowledged_and_ends_the_run(
    tmp_path: Path, aborted: list[str]
) -> None:
    path, done = tmp_path / "results.db", list[Results]()
    partition = SqliteSink(path, done.append).build_part("out", "sqlite", None)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("DROP TABLE bars")
        with pytest.raises(SystemExit):
            partition.write_batch([make.results(anomalies=[make.anomaly()], bars=[make.bars(1)])])
        assert done == []
        assert len(aborted) == 1
        assert "failed: no such table" in aborted[0]
        assert other.execute("SELECT count(*) FROM anomalies").fetchone() == (0,)
    partition.close()


def test_a_place_that_cannot_be_written_any_more_ends_the_run(tmp_path: Path, aborted: list[str]) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    sink = SqliteSink(folder / "results.db")
    sink.build_part("out", "sqlite", None).close()
    shutil.rmtree(folder)
    with pytest.raises(SystemExit):
        sink.build_part("out", "sqlite", None)
    assert "is no directory" in aborted[0]


def test_a_place_that_cannot_be_written_is_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no directory"):
        SqliteSink(tmp_path / "gone" / "results.db")


def test_all_goes_to_one_partition(tmp_path: Path) -> None:
    sink = SqliteSink(tmp_path / "results.db")
    assert sink.list_parts() == ["sqlite"]
    assert {sink.part_fn(key) for key in ("a", "b/1", "")} == {0}
