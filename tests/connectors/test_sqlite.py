"""The embedded store: what is written, once or often, in whatever order, and where it cannot be."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import sqlite_schema
from connectors.sqlite import SqliteWriter
from connectors.store_sqlite import SqliteStore
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS, SCORE_FIELDS, Results, anomaly_row
from tapewatch.errors import UserError
from tapewatch.late_rows import LATE_FIELDS
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def table(path: Path, name: str, *, but: str = "") -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        cursor = connection.execute(f"SELECT * FROM {name}")  # noqa: S608
        names = [column[0] for column in cursor.description]
        return sorted(
            (tuple(v for n, v in zip(names, row, strict=True) if n != but) for row in cursor), key=repr
        )


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    return {name: table(path, name, but="detected_at") for name in sqlite_schema.TABLES}


def columns(path: Path, name: str) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [row[1] for row in connection.execute(f"PRAGMA table_info({name})")]


def test_columns_bear_the_documents_names(path: Path) -> None:
    SqliteWriter(path).close()
    assert tuple(columns(path, "anomalies")[: len(ANOMALY_FIELDS)]) == ANOMALY_FIELDS
    assert tuple(columns(path, "bars")) == BAR_FIELDS
    assert tuple(columns(path, "scores")) == SCORE_FIELDS
    assert tuple(columns(path, "late")) == LATE_FIELDS
    assert columns(path, "reviews") == [
        "anomaly_id", "transaction_id", "label", "reviewer", "notes", "reviewed_at",
    ]  # fmt: skip


def test_what_is_written_is_there(path: Path) -> None:
    anomaly = make.anomaly()
    with SqliteWriter(path, source="paper") as writer:
        new = writer.write(
            [
                make.results(
                    anomalies=[anomaly],
                    bars=[make.bars(100, 200)],
                    scores=[make.scores(1.5)],
                    counters={"records": 5},
                )
            ]
        )
    assert new == 1
    assert [row[: len(ANOMALY_FIELDS)] for row in table(path, "anomalies")] == [anomaly_row(anomaly)]
    start = make.MONDAY
    assert table(path, "bars")[0] == (
        "SPY", 7, "XSIM.TAPE", "1m", start, start + 60_000_000_000, 10.0, 12.0, 9.0, 11.0,
        100, 2, 10.5, 100, 0, 100, 1,
    )  # fmt: skip
    assert table(path, "scores") == [
        ("market", "high_volume", "SPY", 7, start, start + 60_000_000_000, 1.5, 4.0, 15.0)
    ]
    assert table(path, "counters") == [("market", "paper", "day", "records", 5)]


def test_what_ohlcv_cannot_tell_is_null(path: Path) -> None:
    with SqliteWriter(path) as writer:
        writer.write([make.results(bars=[make.bars(100, detailed=False)])])
    assert table(path, "bars")[0][10:] == (100, None, None, None, None, None, 1)


def test_late_records_are_kept_and_told_again_change_nothing(path: Path) -> None:
    for _ in range(2):
        with SqliteWriter(path) as writer:
            writer.write([make.results(late=make.late(100, 200))])
            writer.write([make.results(late=make.late(100, clock=11))])
    clock, event = make.MONDAY + 600_000_000_000, make.MONDAY + 540_000_000_000
    assert table(path, "late")[:2] == [
        ("SPY", 7, "XSIM.TAPE", clock, 0, 95, event, event + 5, 10.0, 100, "B", 3),
        ("SPY", 7, "XSIM.TAPE", clock, 1, 95, event - 1, event + 4, 10.0, 200, "B", 3),
    ]
    assert len(table(path, "late")) == 3


def test_undefined_numbers_are_null(path: Path) -> None:
    with SqliteWriter(path) as writer:
        writer.write([make.results(anomalies=[make.anomaly(expected=float("nan"))])])
    with SqliteStore(path) as store:
        assert store.anomalies()[0]["expected"] is None


def test_an_anomaly_keeps_when_it_was_first_detected(path: Path) -> None:
    first = make.anomaly(detected_at=make.MONDAY + 5)
    later = replace(first, revision=2, severity=99.0, detected_at=make.MONDAY + 9, reason="More.")
    with SqliteWriter(path) as writer:
        assert writer.write([make.results(anomalies=[first])]) == 1
        assert writer.write([make.results(anomalies=[later])]) == 0
    with SqliteStore(path) as store:
        (row,) = store.anomalies()
    assert (row["revision"], row["severity"], row["reason"]) == (2, 99.0, "More.")
    assert row["detected_at"] == first.detected_at


def test_an_anomaly_without_a_time_of_detection_gets_one(path: Path) -> None:
    before = time.time_ns()
    with SqliteWriter(path) as writer:
        writer.write([make.results(anomalies=[make.anomaly(detected_at=0)])])
    with SqliteStore(path) as store:
        assert before <= store.anomalies()[0]["detected_at"] <= time.time_ns()


def test_what_is_taken_back_is_gone(path: Path) -> None:
    one, two = make.anomaly(1), make.anomaly(2)
    with SqliteWriter(path) as writer:
        writer.write([make.results(anomalies=[one, two])])
        writer.write([make.results(deleted=[one.id, "f" * 32])])
        with SqliteStore(path) as store:
            assert [row["id"] for row in store.anomalies()] == [two.id]
        # Within a batch the results count in their order, and deletions come first within one.
        writer.write([make.results(anomalies=[one]), make.results(deleted=[one.id])])
        writer.write(
            [make.results(deleted=[two.id], anomalies=[replace(two, revision=2, detected_at=2**62)])]
        )
    with SqliteStore(path) as store:
        assert [(row["id"], row["revision"], row["detected_at"]) for row in store.anomalies()] == [
            (two.id, 2, two.detected_at)
        ]


def test_an_unfinished_bar_never_replaces_a_finished_one(path: Path) -> None:
    with SqliteWriter(path) as writer:
        for volume, final in ((100, False), (50, False), (120, False), (150, True), (130, False)):
            writer.write([make.results(bars=[make.bars(volume, final=final)])])
            with SqliteStore(path) as store:
                (bar,) = store.bars("SPY", "1m")
            expected = {50: (100, False), 130: (150, True)}.get(volume, (volume, final))
            assert (bar["volume"], bar["final"]) == expected


@st.composite
def histories(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw descriptions of batches in which everything of one name has one content."""
    batches = []
    for _ in range(draw(st.integers(1, 8))):
        minutes = draw(st.lists(st.integers(0, 5), max_size=3))
        batches.append(
            {
                "anomalies": draw(st.lists(st.integers(0, 6), max_size=3)),
                "finished": minutes,
                "open": [
                    (m, draw(st.integers(1, 99))) for m in draw(st.lists(st.integers(0, 5), max_size=2))
                ],
                "scores": [(m, draw(st.integers(-3, 3))) for m in minutes],
                "records": draw(st.integers(0, 100)),
            }
        )
    return batches


def described(batch: dict[str, Any]) -> Results:
    results: Results = make.results(
        anomalies=[make.anomaly(number, detected_at=0) for number in batch["anomalies"]],
        bars=[make.bars(100 + minute, first=minute) for minute in batch["finished"]]
        + [make.bars(volume, first=minute, final=False) for minute, volume in batch["open"]],
        scores=[make.scores(float(score), first=minute) for minute, score in batch["scores"]],
        counters={"records": batch["records"]},
    )
    return results


@settings(max_examples=tried(30), deadline=None)
@given(histories(), st.randoms(use_true_random=False), st.data())
def test_any_order_and_repetition_gives_the_same_tables(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[dict[str, Any]],
    random: Any,
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("orders")
    plain, mixed = folder / "plain.db", folder / "mixed.db"
    with SqliteWriter(plain) as writer:
        for batch in batches:
            writer.write([described(batch)])
    again = batches + data.draw(st.lists(st.sampled_from(batches), max_size=6))
    random.shuffle(again)
    with SqliteWriter(mixed) as writer:
        while again:
            count = data.draw(st.integers(1, len(again)))
            writer.write([described(batch) for batch in again[:count]])
            again = again[count:]
    assert contents(plain) == contents(mixed)


@settings(max_examples=tried(30), deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=15), st.integers(0, 14))
def test_told_again_from_any_place_on_gives_the_same_anomalies(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, bool]], crash: int
) -> None:
    """As after a crash: everything since the last snapshot is written a second time."""
    folder = tmp_path_factory.mktemp("crash")
    history = [
        make.results(deleted=[make.anomaly(number).id])
        if delete
        else make.results(anomalies=[make.anomaly(number, revision=step)])
        for step, (number, delete) in enumerate(steps)
    ]
    for name, parts in (("plain", [history]), ("crashed", [history[: crash + 1], history[crash // 2 :]])):
        with SqliteWriter(folder / f"{name}.db") as writer:
            for part in parts:
                for results in part:
                    writer.write([results])
    assert contents(folder / "plain.db") == contents(folder / "crashed.db")


def refused(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        SqliteWriter(path)
    return str(caught.value)


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x" * 5000)
    assert "no directory" in refused(tmp_path / "none" / "results.db")
    assert "no directory" in refused(tmp_path / "file" / "results.db")
    assert "is a directory" in refused(tmp_path)
    assert "is not a SQLite database" in refused(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "x" * 5000
    (tmp_path / "link").symlink_to(tmp_path / "none" / "results.db")
    assert str(tmp_path / "link") in refused(tmp_path / "link")
    assert "must be the name of a file" in refused(tmp_path / "nul\0.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    assert "permissions" in refused(tmp_path / "results.db")


def test_odd_names_are_names(tmp_path: Path) -> None:
    for name in (":memory:", "a?mode=ro", "100%#.db", "naïve name.db"):
        SqliteWriter(tmp_path / name).close()
        assert (tmp_path / name).stat().st_size > 0
        with SqliteStore(tmp_path / name) as store:
            assert store.counts()["bars"] == 0


def test_a_database_of_another_program_is_left_alone(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE photos (name TEXT)")
        connection.commit()
    before = path.read_bytes()
    assert "of another program" in refused(path)
    with pytest.raises(UserError, match="of another program"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_another_version_is_refused_with_what_to_do(path: Path) -> None:
    SqliteWriter(path).close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(UserError) as caught:
        SqliteStore(path)
    for line in (refused(path), str(caught.value)):
        assert "schema version 7" in line
        assert f"version {sqlite_schema.SCHEMA_VERSION}" in line
        assert "move the file away" in line


def test_a_full_disk_writes_nothing_and_says_so(path: Path) -> None:
    with SqliteWriter(path) as writer:
        writer.write([make.results(anomalies=[make.anomaly(1)])])
        pages = writer._connection.execute("PRAGMA page_count").fetchone()[0]
        writer._connection.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(UserError, match="the disk is full; make room"):
            writer.write([make.results(anomalies=[make.anomaly(n) for n in range(5000)])])
        with SqliteStore(path) as store:
            assert store.counts()["anomalies"] == 1
        writer._connection.execute("PRAGMA max_page_count = 1000000")
        assert writer.write([make.results(anomalies=[make.anomaly(2)])]) == 1


def test_a_damaged_file_is_told(path: Path) -> None:
    with SqliteWriter(path) as writer:
        writer.write([make.results(bars=[make.bars(*range(1, 5000))])])
    damaged = bytearray(path.read_bytes())
    damaged[4096:] = b"\xa5" * (len(damaged) - 4096)
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"is damaged; `tapewatch restore`"), SqliteWriter(path) as writer:
        writer.write([make.results(bars=[make.bars(*range(1, 5000))])])
    with pytest.raises(UserError, match="is damaged"), SqliteStore(path) as store:
        store.counts()


def test_a_file_that_is_gone_is_told(path: Path) -> None:
    with SqliteWriter(path) as writer:
        path.unlink()
        with pytest.raises(UserError, match="removed or replaced"):
            writer.write([make.results(anomalies=[make.anomaly(1)])])
