"""Emptying, pruning, saving and bringing back the store, also while somebody writes."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from connectors import sqlite_schema, sqlite_upkeep
from connectors.sqlite import SqliteWriter
from connectors.sqlite_upkeep import backup, create, prune, restore, wipe
from connectors.store_sqlite import SqliteStore
from tapewatch.errors import UserError
from tapewatch.records import DAY

make: Any = import_module("tests.connectors.made_results")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return a store with 3 anomalies, 5 bars, 2 scores, a counter, a review and a profile."""
    path = tmp_path / "results.db"
    with SqliteWriter(path) as writer:
        writer.write(
            [
                make.results(
                    anomalies=[make.anomaly(n) for n in range(3)],
                    bars=[make.bars(1, 2, 3, 4, 5)],
                    early=[make.early(make.anomaly(2))],
                    late=make.late(1, 2, 3, 4),
                    scores=[make.scores(1.0, 2.0)],
                    counters={"records": 15},
                )
            ]
        )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO reviews VALUES (?, NULL, 1, 'me', '', 5)", (make.anomaly(0).id,))
        connection.execute("INSERT INTO profiles (user_id) VALUES ('u')")
        connection.execute("INSERT INTO judges VALUES ('', 'p', 1, 5, 9, '[]')")
        connection.commit()
    return path


FULL = {
    "anomalies": 3, "bars": 5, "scores": 2, "profiles": 1, "reviews": 1, "late": 4, "counters": 1, "provisional": 1,
    "judges": 1,
}  # fmt: skip


def counts(path: Path) -> dict[str, int]:
    with SqliteStore(path) as store:
        return store.counts()


@contextmanager
def writing(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Let another process write three bars with every anomaly, from number 100 on, and say so."""
    code = f"""
import sys
sys.path[:0] = [{str(Path(__file__).parent)!r}]
import made_results as make
from pathlib import Path
from connectors.sqlite import SqliteWriter
writer = SqliteWriter(Path({str(path)!r}))
for number in range(100, 10**9):
    writer.write([make.results(anomalies=[make.anomaly(number)], bars=[make.bars(1, 2, 3, first=3 * number)])])
    print(number, flush=True)
"""
    root = Path(sqlite_schema.__file__).parents[1]
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root)
    assert process.stdout is not None
    process.stdout.readline()
    drain = threading.Thread(target=process.stdout.read)
    drain.start()
    try:
        yield process
        assert process.poll() is None, "the writer ended"
    finally:
        process.kill()
        drain.join()
        process.wait()
        process.stdout.close()


def test_create_is_safe_to_repeat(tmp_path: Path, path: Path) -> None:
    assert create(tmp_path / "new.db")
    assert not create(tmp_path / "new.db")
    assert not create(path)
    assert counts(path) == FULL


def test_wipe_keeps_what_people_made(path: Path) -> None:
    assert wipe(path) == {"anomalies": 3, "bars": 5, "scores": 2, "late": 4, "counters": 1}
    assert counts(path) == dict.fromkeys(FULL, 0) | {"reviews": 1, "profiles": 1, "judges": 1}
    assert set(wipe(path).values()) == {0}


def test_wipe_gives_the_room_back(path: Path) -> None:
    with SqliteWriter(path) as writer:
        writer.write([make.results(bars=[make.bars(*range(1, 20_000))])])
    before = path.stat().st_size
    wipe(path)
    assert path.stat().st_size < before / 10


def test_wipe_beside_a_writer(path: Path) -> None:
    with writing(path):
        wipe(path)
        wipe(path)
    found = counts(path)
    assert found["bars"] == 3 * found["anomalies"]


@pytest.mark.parametrize("days", [0, 1, 3, 10**6])
def test_prune_is_by_the_day_of_the_event(tmp_path: Path, days: int) -> None:
    path = tmp_path / "results.db"
    with SqliteWriter(path) as writer:
        writer.write([make.results(late=make.late(1, 2, day=d)) for d in range(5)])
        writer.write(
            [make.results(profiles=[make.profile(f"u{d}", last=make.MONDAY + d * DAY)]) for d in range(5)]
        )
        writer.write(
            [
                make.results(
                    early=[make.early(make.anomaly(4))],
                    anomalies=[make.anomaly(d, ts_event=make.MONDAY + d * DAY + edge) for edge in (0,) for d in range(5)],
                    bars=[make.bars(1, 2, day=d, key=key) for d in range(5) for key in ("SPY", "QQQ")],
                )
            ]
        )  # fmt: skip
    now = make.MONDAY + 4 * DAY + 5
    kept = min(days + 1, 5)
    gone = 5 - kept
    assert prune(path, days, now) == {
        "anomalies": gone, "bars": 4 * gone, "scores": 0, "late": 2 * gone, "profiles": gone
    }  # fmt: skip
    assert counts(path)["provisional"] == 1
    with SqliteStore(path) as store:
        assert [row["ts_event"] for row in store.anomalies(order="oldest")] == [
            make.MONDAY + d * DAY for d in range(5 - kept, 5)
        ]
        assert min(bar["ts_start"] for bar in store.bars("QQQ", "1m")) == make.MONDAY + (5 - kept) * DAY
    assert set(prune(path, days, now).values()) == {0}


def test_prune_keeps_reviews_and_counters_and_profiles_without_a_time(path: Path) -> None:
    assert prune(path, 0, make.MONDAY + DAY) == {
        "anomalies": 3, "bars": 5, "scores": 2, "late": 4, "profiles": 0,
    }  # fmt: skip
    assert counts(path) == dict.fromkeys(FULL, 0) | {"reviews": 1, "profiles": 1, "judges": 1, "counters": 1}


def test_prune_refuses(path: Path) -> None:
    with pytest.raises(UserError, match="at least 0, was -1"):
        prune(path, -1, make.MONDAY)
    with pytest.raises(UserError, match="no results at"):
        prune(path.with_name("none.db"), 1, make.MONDAY)
    assert not path.with_name("none.db").exists()


def test_a_backup_brings_all_back(path: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.db"
    assert backup(path, saved) == saved.stat().st_size
    wipe(path)
    with SqliteWriter(path) as writer, SqliteStore(path) as reader:
        assert restore(path, saved) == FULL
        # Whoever had it open sees the new content and goes on.
        assert reader.counts() == FULL
        assert writer.write([make.results(anomalies=[make.anomaly(50)])]) == 1
    assert counts(path) == FULL | {"anomalies": 4}
    assert counts(saved) == FULL
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["results.db", "saved.db"]


def test_a_backup_can_be_restored_where_nothing_is(path: Path, tmp_path: Path) -> None:
    backup(path, tmp_path / "saved.db")
    assert restore(tmp_path / "new.db", tmp_path / "saved.db") == FULL
    assert counts(tmp_path / "new.db") == FULL


def test_backups_beside_a_writer_are_of_one_moment(path: Path, tmp_path: Path) -> None:
    last = 0
    with writing(path):
        for number in range(5):
            saved = tmp_path / f"saved{number}.db"
            backup(path, saved)
            found = counts(saved)
            assert found["bars"] - FULL["bars"] == 3 * (found["anomalies"] - FULL["anomalies"])
            assert found["anomalies"] >= last
            last = found["anomalies"]
            with closing(sqlite3.connect(saved)) as connection:
                assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert last > FULL["anomalies"]


def test_restore_beside_a_writer(path: Path, tmp_path: Path) -> None:
    backup(path, tmp_path / "saved.db")
    with writing(path), SqliteStore(path) as store:
        for _ in range(5):
            restore(path, tmp_path / "saved.db")
            found = store.counts()
            assert found["bars"] - FULL["bars"] == 3 * (found["anomalies"] - FULL["anomalies"])


def test_a_backup_never_replaces_a_file(path: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.write_text("precious")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for target in (there, path, tmp_path, tmp_path / "dangling"):
        with pytest.raises(UserError, match="exists already"):
            backup(path, target)
    assert there.read_text() == "precious"
    with pytest.raises(UserError, match="is no directory"):
        backup(path, tmp_path / "none" / "saved.db")
    with pytest.raises(UserError, match="no results at"):
        backup(tmp_path / "none.db", tmp_path / "saved.db")
    assert not (tmp_path / "saved.db").exists()


def junk(tmp_path: Path, path: Path) -> dict[str, Path]:
    """Return files that are no backups."""
    files = {
        name: tmp_path / name
        for name in ("empty", "text", "cut", "flipped", "foreign", "newer", "less", "trigger")
    }
    files["empty"].touch()
    files["text"].write_text("SQLite format 3\0 is how they begin" * 200)
    for name in ("cut", "flipped", "newer", "less", "trigger"):
        backup(path, files[name])
    whole = files["cut"].read_bytes()
    files["cut"].write_bytes(whole[: len(whole) // 2])
    files["flipped"].write_bytes(whole[:4096] + bytes(b ^ 0xFF for b in whole[4096:8192]) + whole[8192:])
    for name, statement in {
        "foreign": "CREATE TABLE photos (name TEXT)",
        "newer": f"PRAGMA user_version = {sqlite_schema.SCHEMA_VERSION + 1}",
        "less": "ALTER TABLE bars RENAME COLUMN volume TO amount",
        "trigger": "CREATE TRIGGER t AFTER INSERT ON bars BEGIN DELETE FROM anomalies; END",
    }.items():
        with closing(sqlite3.connect(files[name])) as connection:
            connection.execute(statement)
            connection.commit()
    return files | {"missing": tmp_path / "missing", "directory": tmp_path}


def test_junk_is_refused_and_changes_nothing(path: Path, tmp_path: Path) -> None:
    for name, file in junk(tmp_path, path).items():
        with pytest.raises(UserError) as caught:
            restore(path, file)
        assert str(file) in str(caught.value), name
        assert "\n" not in str(caught.value)
        assert counts(path) == FULL, name
    with pytest.raises(UserError, match="onto itself"):
        restore(path, path)


def test_a_damaged_store_can_be_brought_back(path: Path, tmp_path: Path) -> None:
    saved = tmp_path / "saved.db"
    backup(path, saved)
    whole = path.read_bytes()
    for damage in (
        b"\xa5" * len(whole),
        whole[:4096] + b"\xa5" * (len(whole) - 4096),
        whole[: len(whole) // 2],
    ):
        path.write_bytes(damage)
        assert restore(path, saved) == FULL
        assert counts(path) == FULL
        create(path)
        with SqliteWriter(path) as writer:
            assert writer.write([make.results(anomalies=[make.anomaly(50)])]) == 1


def test_restore_does_not_wait_for_ever(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backup(path, tmp_path / "saved.db")
    for module in (sqlite_schema, sqlite_upkeep):
        monkeypatch.setattr(module, "BUSY_SECONDS", 0.3)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="locked by another program"):
            restore(path, tmp_path / "saved.db")
        other.execute("ROLLBACK")
    assert counts(path) == FULL
