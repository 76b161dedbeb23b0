"""The commands on results as a person meets them, and the doctor."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.sqlite import SqliteWriter
from connectors.store_sqlite import SqliteStore
from tests.forked_python import tapewatch

make: Any = import_module("tests.connectors.made_results")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in os.environ:
        if variable.upper().startswith("TAPEWATCH_"):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("TAPEWATCH_SINKS__SQLITE__PATH", "mine.db")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def done(*arguments: str) -> str:
    ended = tapewatch(*arguments)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def refused(*arguments: str) -> str:
    ended = tapewatch(*arguments)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert line.startswith("tapewatch: ")
    return line


def fill(place: Path) -> None:
    with SqliteWriter(place / "mine.db") as writer:
        results = make.results(
            anomalies=[make.anomaly(1), make.anomaly(2, detector="block_trade", severity=float("nan"))],
            bars=[make.bars(1, 2, 3)],
            counters={"records": 1500, "late_records": 2},
        )
        writer.write([results])


def test_init_is_safe_to_repeat(place: Path) -> None:
    assert "mine.db: made" in done("init", "sqlite")
    fill(place)
    assert "was there already" in done("init", "sqlite")
    with SqliteStore(place / "mine.db") as store:
        assert store.counts()["anomalies"] == 2


@pytest.mark.parametrize("target", ["opensearch", "users", "SQLITE"])
def test_init_of_something_else_is_refused(target: str, place: Path) -> None:
    line = refused("init", target)
    assert "must be one of elasticsearch, kibana, sqlite" in line
    assert target in line
    assert list(place.iterdir()) == []


def test_stats(place: Path) -> None:
    fill(place)
    text = done("stats")
    for part in (
        "2 anomalies",
        "3 bars",
        "1,500 records",
        "2 late_records",
        "high_volume: 1",
        "block_trade: 1",
    ):
        assert part in text
    assert "2024-06-03T00:00:00.000000000Z to 2024-06-03T00:03:00.000000000Z" in text
    found = orjson.loads(done("stats", "--json"))
    assert found["counts"]["bars"] == 3
    assert found["counters"] == {"late_records": 2, "records": 1500}
    assert found["rates"]["ts_last"] == "2024-06-03T00:03:00.000000000Z"
    assert found["lag_seconds"] > 0
    assert {row["detector"] for row in found["detectors"]} >= {"high_volume", "block_trade"}


def test_stats_of_an_empty_store() -> None:
    done("init", "sqlite")
    assert "0 anomalies" in done("stats")
    assert orjson.loads(done("stats", "--json"))["lag_seconds"] is None


def test_commands_without_a_store_say_to_run_the_flow(place: Path) -> None:
    for command in (["stats"], ["stats", "--json"], ["prune", "--days", "1"], ["backup", "saved.db"]):
        line = refused(*command)
        assert "mine.db" in line
        assert "run the flow first" in line
    assert list(place.iterdir()) == []


def test_reset_asks_for_yes(place: Path) -> None:
    fill(place)
    assert "tapewatch reset --yes" in refused("reset")
    with SqliteStore(place / "mine.db") as store:
        assert store.counts()["anomalies"] == 2
    assert "2 anomalies, 3 bars" in done("reset", "--yes")
    with SqliteStore(place / "mine.db") as store:
        assert set(store.counts().values()) == {0}


def test_prune(place: Path) -> None:
    fill(place)
    assert "Removed 0 anomalies, 0 bars" in done("prune", "--days", "100000")
    assert "Removed 2 anomalies, 3 bars" in done("prune", "--days", "0")
    for days in ("-1", "x", "1.5"):
        line = refused("prune", "--days", days)
        assert [word for word in ("--days", "a whole number from 0", repr(days)) if word not in line] == []
    assert "--days" in refused("prune")


def test_backup_and_restore(place: Path) -> None:
    fill(place)
    assert "saved.db" in done("backup", "saved.db")
    assert "exists already" in refused("backup", "saved.db")
    done("reset", "--yes")
    assert "2 anomalies, 3 bars" in done("restore", "saved.db")
    (place / "junk.db").write_text("junk")
    assert "junk.db" in refused("restore", "junk.db")
    with SqliteStore(place / "mine.db") as store:
        assert store.counts()["anomalies"] == 2


def test_another_version_is_refused_by_all(place: Path) -> None:
    fill(place)
    with closing(sqlite3.connect(place / "mine.db")) as connection:
        connection.execute("PRAGMA user_version = 9")
    for command in (
        ["stats"], ["init", "sqlite"], ["reset", "--yes"], ["prune", "--days", "1"], ["backup", "b.db"], ["doctor"],
    ):  # fmt: skip
        assert "schema version 9" in refused(*command)


def test_the_doctor_is_content(place: Path) -> None:
    text = done("doctor")
    assert "failure" not in text
    for check in ("python", "libraries", "settings", "detectors", "files", "results", "disk"):
        assert f"ok       {check}: " in text
    assert "python -m bytewax.recovery" in text
    assert list(place.iterdir()) == []


def test_the_doctor_names_what_is_wrong(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sick(**settings: str) -> str:
        with monkeypatch.context() as patch:
            for name, value in settings.items():
                patch.setenv(f"TAPEWATCH_{name.upper()}", value)
            ended = tapewatch("doctor")
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        failures = [text for text in ended.stdout.splitlines() if text.startswith("failure")]
        assert failures[0].partition(": ")[2] in line
        return line

    assert "sinks.bars" in sick(sinks__bars='["2m"]')
    assert "none.dbn" in sick(source__paths='["none.dbn"]')
    (place / "text.dbn").write_text("hello")
    assert "text.dbn" in sick(source__paths='["text.dbn"]')
    (place / "text.csv.zst").write_text("hello")
    assert "text.csv.zst" in sick(source__paths='["text.csv.zst"]')
    assert "detectors.ufo" in sick(detectors__ufo__enabled="true")
    assert "nowhere" in sick(sinks__sqlite__path="nowhere/results.db")
    assert "text.dbn" in sick(sinks__sqlite__path="text.dbn")
