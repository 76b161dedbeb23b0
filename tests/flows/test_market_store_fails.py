"""A results database that fails in the midst of a run: one line, status 1, and nothing lost on resuming."""

from __future__ import annotations

import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.flows.gated import GATED, allow
from tests.flows.test_market_crash import records_written, recovery, until_further

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]
SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "5",
    "sinks__bars": ["1s", "1m"],
    "source__batch_records": "150",
    "detectors__high_volume__baseline_windows": "10",
    "detectors__high_volume__width": "10s",
}
RECOVERY = ["-r", "rec", "-s", "0", "-b", "0"]
#: What is read before something happens to the store, and all there is.
SOME, ALL = 750, 1 << 40


@pytest.fixture(scope="module")
def tape(trades: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = write(tmp_path_factory.mktemp("tape") / "day.dbn", trades(5, count=6_000, days=2))
    return path


@pytest.fixture(scope="module")
def wanted(
    tape: Path, run_market: Flow, tables: Tables, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    folder = tmp_path_factory.mktemp("plain")
    assert run_market(folder, [tape], **SETTINGS).returncode == 0
    results = tables(folder / "results.db")
    assert results["anomalies"]
    return results


@pytest.fixture(autouse=True)
def _recovered(tmp_path: Path) -> None:
    recovery(tmp_path)


def begun(running: subprocess.Popen[str], folder: Path) -> Path:
    """Wait until all that may be read is in the results, or the run has ended, and return their database."""
    path = folder / "results.db"
    end = time.monotonic() + 200
    while running.poll() is None and records_written(folder) < SOME:
        assert time.monotonic() < end
        time.sleep(0.01)
    return path


def failed(running: subprocess.Popen[str]) -> str:
    """Return the one line of a run that ended with status 1."""
    out, errors = running.communicate(timeout=280)
    assert running.returncode == 1, errors
    assert out == ""
    assert errors.count("\n") == 1, errors
    assert errors.startswith("tapewatch: the results database ") or "results.db" in errors
    assert "with a recovery store (-r) the run goes on" in errors
    return errors


def full(path: Path) -> Callable[[], object]:
    """Do nothing: the disk of the patched run is full, that of the next is not."""
    return lambda: None


def locked(path: Path) -> Callable[[], object]:
    other = sqlite3.connect(path, timeout=60, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other.close


def renamed(path: Path) -> Callable[[], object]:
    """Take a table away, as another program might."""

    def alter(statement: str) -> None:
        with closing(sqlite3.connect(path, timeout=60)) as other:
            other.execute(statement)

    alter("ALTER TABLE bars RENAME TO theirs")
    return lambda: alter("ALTER TABLE theirs RENAME TO bars")


def removed(path: Path) -> Callable[[], object]:
    """Move the file aside with its log; it is put back later."""
    names = [path.with_name(f"results.db{suffix}") for suffix in ("", "-wal")]
    for name in names:
        name.rename(name.with_name(f"away-{name.name}"))
    path.with_name("results.db-shm").unlink()

    def put_back() -> None:
        for name in names:
            name.with_name(f"away-{name.name}").rename(name)

    return put_back


def log_removed(path: Path) -> Callable[[], object]:
    wal, away = path.with_name("results.db-wal"), path.with_name("away")
    wal.rename(away)

    def put_back() -> None:
        wal.unlink(missing_ok=True)
        away.rename(wal)

    return put_back


def damaged(path: Path) -> Callable[[], object]:
    """Overwrite everything but the first page; it is brought back as the user would, from a copy."""
    with closing(sqlite3.connect(path, timeout=60, isolation_level=None)) as other:
        while True:
            other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            other.execute("BEGIN IMMEDIATE")
            if not path.with_name("results.db-wal").stat().st_size:
                break
            other.execute("ROLLBACK")
        whole = path.read_bytes()
        with path.open("r+b") as file:
            file.seek(4096)
            file.write(b"\xa5" * (len(whole) - 4096))
        # A change of the first page lets the writer forget the others.
        (version,) = other.execute("PRAGMA user_version").fetchone()
        other.execute(f"PRAGMA user_version = {version}")
        other.execute("COMMIT")

    def bring_back() -> None:
        for suffix in ("-wal", "-shm"):
            path.with_name(f"results.db{suffix}").unlink(missing_ok=True)
        path.write_bytes(whole)

    return bring_back


_FEWER_PAGES = """
import connectors.sqlite as s
opened = s.open_for_writing
def limited(path):
    connection = opened(path)
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    return connection
s.open_for_writing = limited
"""
_READ_ONLY_LATER = """
import connectors.sqlite as s
write = s.SqliteWriter._write_anomalies
def limited(writer, results):
    new = write(writer, results)
    writer._connection.execute("PRAGMA query_only = 1")
    return new
s.SqliteWriter._write_anomalies = limited
"""
_IMPATIENT = "import connectors.sqlite_schema as s\ns.BUSY_SECONDS = 1.0\n"

FAILURES: dict[str, tuple[str, Callable[[Path], Callable[[], object]], str]] = {
    "the disk is full": (_FEWER_PAGES, full, "the disk is full; make room"),
    "it became read-only": (_READ_ONLY_LATER, full, "cannot be written; check the permissions"),
    "another writer keeps the lock": (_IMPATIENT, locked, "locked by another program for more than 1 s; end that"),
    "a table is gone": ("", renamed, "no such table"),
    "it was moved away": ("", removed, "was removed or replaced"),
    "its log was moved away": ("", log_removed, "results.db-wal was removed or replaced"),
    "it is damaged": ("", damaged, "is damaged; `tapewatch restore`"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILURES)
def test_a_store_that_fails_is_one_line_and_nothing_is_lost(
    name: str, tape: Path, wanted: dict[str, Any], start_market: Start, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:  # fmt: skip
    patch, spoil, said = FAILURES[name]
    allow(tmp_path, SOME)
    running = start_market(tmp_path, [tape], *RECOVERY, patch=patch + GATED, **SETTINGS)
    mend = spoil(begun(running, tmp_path))
    allow(tmp_path, ALL)
    assert said in failed(running)
    mend()
    ended = run_market(tmp_path, [tape], *RECOVERY, **SETTINGS)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert tables(tmp_path / "results.db") == wanted


def test_a_file_that_may_grow_no_more_is_one_line(
    tape: Path, wanted: dict[str, Any], start_market: Start, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    """Without a recovery store, which would be the first to grow too large, and is Bytewax's own."""
    patch = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000))\n"
    line = failed(start_market(tmp_path, [tape], patch=patch, **SETTINGS))
    assert "full; make room" in line or "look after the disk" in line
    assert run_market(tmp_path, [tape], **SETTINGS).returncode == 0
    assert tables(tmp_path / "results.db") == wanted


def test_a_writer_that_holds_the_lock_for_a_while_is_waited_for(
    tape: Path, wanted: dict[str, Any], start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    allow(tmp_path, SOME)
    patient = "import connectors.sqlite_schema as s\ns.BUSY_SECONDS = 250.0\n"
    running = start_market(tmp_path, [tape], patch=patient + GATED, **SETTINGS)
    path = begun(running, tmp_path)
    for part in (2, 3, 4):
        before = records_written(tmp_path)
        release = locked(path)
        allow(tmp_path, part * SOME)
        time.sleep(0.7)
        assert running.poll() is None
        assert records_written(tmp_path) == before
        release()
        until_further(running, tmp_path, before)
    allow(tmp_path, ALL)
    assert running.communicate(timeout=280) == ("", "")
    assert running.returncode == 0
    assert tables(path) == wanted


def test_a_store_that_is_replaced_by_another_is_one_line(
    tape: Path, start_market: Start, tmp_path: Path
) -> None:
    allow(tmp_path, SOME)
    running = start_market(tmp_path, [tape], patch=GATED, **SETTINGS)
    path = begun(running, tmp_path)
    with closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE something (x)")
    (tmp_path / "other.db").replace(path)
    allow(tmp_path, ALL)
    assert "was removed or replaced" in failed(running)
    with closing(sqlite3.connect(path)) as other:
        assert [row[0] for row in other.execute("SELECT name FROM sqlite_master")] == ["something"]
