"""The embedded store among several: writers that are killed or wait, readers beside them."""

from __future__ import annotations

import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from connectors import sqlite_schema
from connectors.sqlite import SqliteWriter
from connectors.store_sqlite import SqliteStore
from tapewatch.errors import UserError

make: Any = import_module("tests.connectors.made_results")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        SqliteWriter(path)
    return str(caught.value)


_WRITE_FOREVER = """
import sys
sys.path[:0] = [{tests!r}]
import made_results as make
from pathlib import Path
from connectors.sqlite import SqliteWriter
writer = SqliteWriter(Path({path!r}))
for number in range(10**9):
    writer.write([make.results(anomalies=[make.anomaly(number)], bars=[make.bars(1, 2, 3, first=3 * number)],
                               counters={{"batches": number + 1}})])
    print(number, flush=True)
"""


def writing(path: Path) -> subprocess.Popen[str]:
    """Start a process that writes one anomaly, three bars and a counter per transaction, and says so."""
    code = _WRITE_FOREVER.format(tests=str(Path(__file__).parent), path=str(path))
    root = Path(sqlite_schema.__file__).parents[1]
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)


def test_a_killed_writer_leaves_whole_transactions(path: Path) -> None:
    for _ in range(3):
        process = writing(path)
        assert process.stdout is not None
        last = 0
        for _ in range(30):
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        said = process.stdout.read().split()
        process.wait()
        process.stdout.close()
        last = int(said[-1]) if said else last
        with SqliteStore(path) as store:
            counts, totals = store.counts(), store.totals()
        # What was said to be written is there, and nothing is there in part.
        assert totals["batches"] >= last + 1
        assert counts["anomalies"] * 3 == counts["bars"]
        assert counts["anomalies"] == totals["batches"]
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_readers_and_the_writer_do_not_wait_for_each_other(path: Path) -> None:
    process = writing(path)
    assert process.stdout is not None
    try:
        process.stdout.readline()
        with SqliteStore(path) as store, closing(sqlite3.connect(path)) as slow:
            slow.execute("BEGIN")
            held = slow.execute("SELECT count(*) FROM anomalies").fetchone()
            seen = set[int]()
            until = time.monotonic() + 200
            while len(seen) <= 10 and time.monotonic() < until:
                counts = store.counts()
                seen.add(counts["anomalies"])
                assert counts["bars"] == 3 * counts["anomalies"]
                # The writer goes on behind the back of a reader that holds on to its snapshot.
                int(process.stdout.readline())
            assert slow.execute("SELECT count(*) FROM anomalies").fetchone() == held
            assert len(seen) > 10
            # Nor do readers wait while somebody is writing, here until they have read.
            with closing(sqlite3.connect(path, timeout=200, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                other.execute("DELETE FROM anomalies")
                assert store.counts()["anomalies"] >= max(seen)
                other.execute("ROLLBACK")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_processes_may_make_the_store_at_once(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_make, args=(path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    with SqliteStore(path) as store:
        assert set(store.counts().values()) == {0}


def _make(path: Path) -> None:
    SqliteWriter(path).close()


def test_two_writers_take_turns(path: Path) -> None:
    def write(first: int) -> None:
        with SqliteWriter(path) as writer:
            for number in range(first, first + 50):
                writer.write([make.results(anomalies=[make.anomaly(number)])])

    threads = [threading.Thread(target=write, args=(first,)) for first in (0, 1000, 2000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with SqliteStore(path) as store:
        assert store.counts()["anomalies"] == 150


def locking(path: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(path, timeout=200, isolation_level=None, check_same_thread=False))


def test_a_lock_is_waited_for_and_then_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_schema, "BUSY_SECONDS", 200.0)
    with SqliteWriter(path) as writer, locking(path) as other:
        other.execute("BEGIN IMMEDIATE")
        release = threading.Timer(0.3, other.execute, ("COMMIT",))
        release.start()
        assert writer.write([make.results(anomalies=[make.anomaly(1)])]) == 1
        release.join()
    monkeypatch.setattr(sqlite_schema, "BUSY_SECONDS", 1.0)
    with SqliteWriter(path) as writer, locking(path) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="locked by another program for more than 1 s"):
            writer.write([make.results(anomalies=[make.anomaly(2)])])
        assert "locked by another program" in refused(path)
        other.execute("ROLLBACK")
        assert writer.write([make.results(anomalies=[make.anomaly(2)])]) == 1
