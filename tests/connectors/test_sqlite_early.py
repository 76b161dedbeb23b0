"""What is told early and never taken back, because the run is killed, does not outlast the window it hangs on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sqlite import SqliteWriter
from connectors.sqlite_schema import TABLES
from tapewatch.documents import Anomaly, Results
from tapewatch.records import SECOND
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")
judge: Any = import_module("tests.operators.test_judge")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def contents(path: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return all tables, without the time of detection and, of marks, what stands without them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE anomalies SET detected_at = 0")
        connection.execute("UPDATE provisional SET standing = NULL")
        return {name: sorted(connection.execute(f"SELECT * FROM {name}"), key=repr) for name in TABLES}  # noqa: S608


def ids(path: Path, table: str = "anomalies") -> set[str]:
    with closing(sqlite3.connect(path)) as connection:
        return {row[0] for row in connection.execute(f"SELECT id FROM {table}")}  # noqa: S608


def told_early(number: int, **changes: Any) -> Results:
    anomaly = make.anomaly(number, **changes)
    results: Results = make.results(anomalies=[anomaly], early=[make.early(anomaly)])
    return results


def judged(first: int, *volumes: int, **parts: Any) -> Results:
    """Return what judging consecutive minutes from ``first`` on leads to."""
    results: Results = make.results(judged=[("high_volume", make.bars(*volumes, first=first))], **parts)
    return results


def again(path: Path, *several: Results, source: str = "") -> None:
    """Write as a process of its own."""
    with SqliteWriter(path, source) as writer:
        for results in several:
            writer.write([results])


def test_a_window_that_turns_out_as_nothing_takes_its_anomaly_along(path: Path) -> None:
    kept, gone = make.anomaly(4).id, make.anomaly(5).id
    again(path, told_early(4), told_early(5))
    assert ids(path, "provisional") == {kept, gone}
    again(path, judged(0, 1, 1, 1, 1))
    assert ids(path) == {kept, gone}
    again(path, judged(5, 1, 1))
    assert ids(path) == ids(path, "provisional") == {kept}
    again(path, judged(4, 1, anomalies=[make.anomaly(4, severity=99.0)]))
    assert ids(path) == {kept}
    assert ids(path, "provisional") == set()
    again(path, judged(4, 1, 1))
    assert ids(path) == {kept}


@pytest.mark.parametrize(
    "other",
    [
        {"flow": "transactions"},
        {"judged": [("block_trade", make.bars(1, first=5))]},
        {"judged": [("high_volume", make.bars(1, first=5, key="QQQ"))]},
        {"judged": [("high_volume", make.bars(1, first=5, day=1))]},
    ],
)
def test_other_windows_take_nothing_along(other: dict[str, Any], path: Path) -> None:
    again(path, told_early(5))
    again(path, make.results(**{"judged": [("high_volume", make.bars(1, first=5))], **other}))
    again(path, judged(5, 1), source="another")
    assert ids(path) == {make.anomaly(5).id}


def test_what_stood_before_comes_back(path: Path) -> None:
    """A standing anomaly that an unfinished window made grow."""
    standing: Anomaly = make.anomaly(3, contributions={"volume": 0.1, "trades": 0.9}, score=1 / 3)
    grown = make.anomaly(3, ts_end=standing.ts_end + 60 * SECOND, revision=2, severity=99.0)
    again(path, make.results(anomalies=[standing]))
    before = contents(path)
    mark = make.early(make.anomaly(4), standing)
    again(
        path,
        make.results(
            anomalies=[grown],
            early=[type(mark)(standing.id, mark.detector, mark.key, 7, mark.ts_start, standing)],
        ),
    )
    assert contents(path)["anomalies"] != before["anomalies"]
    again(path, judged(3, 1))
    assert contents(path)["anomalies"] != before["anomalies"]
    again(path, judged(4, 1))
    assert contents(path) == before


def test_what_is_told_for_good_before_its_window_is_judged_again_stays(path: Path) -> None:
    again(path, told_early(5))
    again(path, make.results(anomalies=[make.anomaly(5)]), judged(5, 1))
    assert ids(path) == {make.anomaly(5).id}


def test_a_failed_write_settles_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    again(path, told_early(5))
    with SqliteWriter(path) as writer:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("ALTER TABLE provisional RENAME TO aside")
            with pytest.raises(import_module("tapewatch.errors").UserError):
                writer.write([judged(5, 1)])
            other.execute("ALTER TABLE aside RENAME TO provisional")
        assert ids(path) == {make.anomaly(5).id}
        writer.write([judged(5, 1)])
        assert ids(path) == set()


runs = st.lists(
    st.fixed_dictionaries(
        {
            "records": st.integers(1, 1500),
            "feeds": st.integers(1, 12),
            "ends": st.booleans(),
            "snapshots": st.sampled_from(["none", "before the end", "all"]),
        }
    ),
    max_size=5,
)


@settings(max_examples=tried(60), deadline=None)
@given(
    case=judge.cases,
    lateness_ns=judge.lateness,
    cuts=judge.cut,
    runs=runs,
    fresh=st.booleans(),
)
def test_runs_killed_after_what_they_told_and_before_their_snapshot_leave_nothing(
    line: Any, tapes: Any, trades: Any, tmp_path: Path, case: Any, lateness_ns: int, cuts: list[int], runs: Any, fresh: bool
) -> None:  # fmt: skip
    """Each run sees as much of a growing file as there is, may reach its end, and forgets some of what it told.

    The last run sees all; it goes on from the last snapshot or, without a recovery store, begins anew.
    """
    for old in tmp_path.iterdir():
        old.unlink()
    records = trades(**case)
    chosen = judge.judging(lateness_ns, SYM1=400.0)
    wanted = line(chosen, 2)
    with SqliteWriter(tmp_path / "wanted.db") as writer:
        wanted.store = Sink(writer)
        for tape in tapes(records, cuts):
            wanted.feed(tape)
        wanted.end()
    # What is on disk of the run: its state, and how many records it has read.
    saved, done = line(chosen, 2).snapshot(), 0
    for run in [*runs, {"records": len(records), "feeds": 10**6, "ends": True, "snapshots": "all"}]:
        last = run["feeds"] == 10**6
        if last and fresh:
            saved, done = line(chosen, 2).snapshot(), 0
        found = line(chosen, 2)
        found.resume(saved)
        until = max(done, min(run["records"], len(records)))
        with SqliteWriter(tmp_path / "found.db") as writer:
            found.store = Sink(writer)
            seen = done
            clock = int(records["ts_recv"][:seen].max(initial=0))
            parts = tapes(records[seen:until], [cut - seen for cut in cuts if cut > seen])
            for tape in parts[: run["feeds"]]:
                seen += len(tape.records)
                found.feed(import_module("dataclasses").replace(tape, clock=max(clock, tape.clock)))
            if run["snapshots"] == "before the end":
                saved, done = found.snapshot(), seen
            if run["ends"]:
                found.end()
            if run["snapshots"] == "all":
                saved, done = found.snapshot(), seen
    assert contents(tmp_path / "found.db") == contents(tmp_path / "wanted.db")


class Sink:
    """What a `Line` writes to, written to the embedded store."""

    def __init__(self, writer: SqliteWriter) -> None:
        self._writer = writer

    def write(self, results: Results) -> None:
        self._writer.write([results])
