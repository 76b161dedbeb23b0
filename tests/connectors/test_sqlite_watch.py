"""Following a store: whoever applies what is told has what is in the store."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import sqlite_score_watch, sqlite_watch
from connectors.sqlite import SqliteWriter
from connectors.sqlite_upkeep import wipe
from connectors.sqlite_watch import SqliteWatch
from connectors.store_sqlite import SqliteStore
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS, SCORE_FIELDS, to_json
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")

Copy = dict[tuple[Any, ...], dict[str, Any]]


def contents(path: Path) -> Copy:
    """Return all bars, scores and anomalies as documents by what names them."""
    documents: list[dict[str, Any]] = []
    with SqliteStore(path) as store:
        for key, width in {(row["key"], row["width"]) for row in store.series()}:
            documents += [
                {"document": "bar", **to_json(BAR_FIELDS, tuple(row.values()))}
                for row in store.bars(key, width, limit=10_000)
            ]
    with SqliteStore(path) as store:
        documents += [
            {"document": "anomaly", **to_json(ANOMALY_FIELDS, tuple(row.values()))}
            for row in store.anomalies(limit=10_000)
        ]
    with contextlib.closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"SELECT {', '.join(SCORE_FIELDS)} FROM scores")  # noqa: S608
        documents += [{"document": "score", **to_json(SCORE_FIELDS, row)} for row in rows]
    return {name(document): document for document in documents}


def name(document: dict[str, Any]) -> tuple[Any, ...]:
    if document["document"] == "bar":
        series = ("key", "width", "dataset", "instrument_id", "ts_start")
        return tuple(document[field] for field in series)
    if document["document"] == "score":
        return tuple(document[field] for field in SCORE_FIELDS[:6])
    return ("anomaly", document["id"])


def apply(copy: Copy, told: list[dict[str, Any]]) -> None:
    for document in told:
        if document["document"] == "deleted":
            del copy[name(document)]
        else:
            assert copy.get(name(document)) != document, "told again without a change"
            copy[name(document)] = document


def caught_up(watch: SqliteWatch, copy: Copy) -> None:
    apply(copy, watch.changes())
    while watch.more:
        apply(copy, watch.changes())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def write(path: Path, **parts: Any) -> None:
    with SqliteWriter(path) as writer:
        writer.write([make.results(**parts)])


def test_what_was_there_is_not_told_and_what_comes_is(path: Path) -> None:
    write(path, anomalies=[make.anomaly(1)], bars=[make.bars(1, 2)])
    with SqliteWatch(path) as watch:
        assert watch.changes() == watch.changes() == []
        write(path, anomalies=[make.anomaly(2)], bars=[make.bars(3, first=2), make.bars(5, key="QQQ")])
        told = watch.changes()
        assert [document["document"] for document in told] == ["bar", "bar", "anomaly"]
        assert told[-1]["ts_event"] == "2024-06-03T00:03:00.000000000Z"
        assert told[-1]["contributions"] == {"volume": 0.75, "trades": 0.25}
        assert watch.changes() == []
        write(path, anomalies=[make.anomaly(2)], bars=[make.bars(3, first=2)])
        assert watch.changes() == [], "writing twice is writing once"


def trade_scores(key: str, minute: int, count: int, detector: str = "high_volume") -> Any:
    """Return scores of so many trades within a minute, one a second."""
    table = make.scores(*[2.0] * count, detector=detector, key=key)
    start = make.MONDAY + minute * make.MINUTE + (1 + np.arange(count)) * make.SECOND
    return replace(table, ts_start=start, ts_end=start + 1)


def test_scores_of_windows_come_behind_those_of_their_trades(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_score_watch, "_BACK", 5)
    write(path, scores=[make.scores(1.0, 2.0), trade_scores("SPY", 2, 3)])
    with SqliteWatch(path) as watch:
        assert watch.changes() == []
        write(path, scores=[trade_scores("SPY", 2, 40), trade_scores("SPY", 0, 9, "block_trade")])
        assert len(watch.changes()) == 37 + 9
        write(path, scores=[make.scores(1.0, 2.0, 3.0, 4.0)])
        told = watch.changes()
        assert [(row["document"], row["detector"], row["score"]) for row in told] == [
            ("score", "high_volume", 3.0), ("score", "high_volume", 4.0)
        ]  # fmt: skip
        write(path, scores=[make.scores(5.0, first=3)])
        assert [row["score"] for row in watch.changes()] == [5.0]
        write(path, scores=[make.scores(9.0)])
        assert watch.changes() == [], "what is long told is not looked at again"
    wipe(path)
    with SqliteWatch(path) as watch:
        write(path, scores=[make.scores(1.0)])
        assert len(watch.changes()) == 1


EVENTS = st.one_of(
    st.tuples(st.just("bars"), st.sampled_from(["SPY", "QQQ"]), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("anomaly"), st.integers(0, 6), st.integers(1, 3), st.just(0)),
    st.tuples(st.just("delete"), st.integers(0, 6), st.just(0), st.just(0)),
    st.tuples(st.just("scores"), st.sampled_from(["SPY", "QQQ"]), st.integers(1, 12), st.booleans()),
    st.tuples(st.just("look"), st.just(0), st.just(0), st.just(0)),
)


@settings(max_examples=tried(40), deadline=None)
@given(st.lists(EVENTS, max_size=30), st.integers(8, 11))
def test_whoever_applies_what_is_told_has_the_store(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[Any, ...]], most: int
) -> None:
    path = tmp_path_factory.mktemp("watch") / "results.db"
    minutes, scored = {"SPY": 1, "QQQ": 0}, {"SPY": 1}
    write(path, anomalies=[make.anomaly(number) for number in range(3)], bars=[make.bars(1)])
    write(path, scores=[make.scores(1.0)])
    copy = contents(path)
    with SqliteWatch(path, most) as watch:
        for kind, which, number, final in events:
            if kind == "bars":
                # An instrument's open windows are shown, then completed; then the next ones come.
                bars = make.bars(*range(number, 2 * number), key=which, first=minutes[which], final=final)
                write(path, bars=[bars])
                minutes[which] += number if final else 0
            elif kind == "scores":
                # Trades of a minute are scored, then the minute; and it again, higher.
                first = scored.get(which, 0)
                write(path, scores=[trade_scores(which, first, number)])
                write(path, scores=[make.scores(*range(1 + final), key=which, first=first)])
                scored[which] = first + final
            elif kind == "anomaly":
                write(path, anomalies=[make.anomaly(which, revision=number)])
            elif kind == "delete":
                write(path, deleted=[f"{which:032x}"])
            else:
                caught_up(watch, copy)
        caught_up(watch, copy)
        assert copy == contents(path)


def test_the_newest_thousand_are_watched(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_watch, "WATCHED_ANOMALIES", 5)
    monkeypatch.setattr(
        sqlite_watch, "_NEWEST_ANOMALIES", sqlite_watch._NEWEST_ANOMALIES.replace("1000", "5")
    )
    made = [make.anomaly(number) for number in range(20)]
    write(path, anomalies=made)
    copy = contents(path)
    with SqliteWatch(path, 3) as watch:
        write(path, deleted=[made[19].id, made[18].id])
        caught_up(watch, copy)
        assert copy == contents(path), "taking back the newest tells nothing of older ones"
        write(path, anomalies=[make.anomaly(number) for number in range(30, 45)])
        caught_up(watch, copy)
        assert copy == contents(path)
        write(path, anomalies=[replace(made[0], revision=2), make.anomaly(44, revision=2)])
        assert [document["id"] for document in watch.changes()] == [f"{44:032x}"]


def test_a_long_tape_is_told_piece_by_piece(path: Path) -> None:
    write(path, bars=[make.bars(1)])
    copy = contents(path)
    with SqliteWatch(path, 2) as watch:
        tapes = [make.bars(*range(1, 9), first=1), make.bars(*range(1, 6), key="QQQ")]
        write(path, bars=tapes, anomalies=[make.anomaly(number) for number in range(5)])
        looks = [watch.changes()]
        while watch.more:
            looks.append(watch.changes())
        for told in looks:
            apply(copy, told)
    assert copy == contents(path)
    assert max(sum(document["document"] == "bar" for document in told) for told in looks) <= 3


def test_a_look_costs_by_the_series_not_by_the_bars(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The instructions that SQLite carries out for a look do not grow with the tape."""
    steps = 0
    real = sqlite3.connect

    def counting() -> None:
        nonlocal steps
        steps += 1

    def counted(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*args, **kwargs)
        connection.set_progress_handler(counting, 10)
        return connection

    costs = []
    for length in (10, 5_000):
        write(path, bars=[make.bars(*range(1, length), key=key) for key in ("SPY", "QQQ", "IWM")])
        with monkeypatch.context() as patch:
            patch.setattr(sqlite3, "connect", counted)
            watch = SqliteWatch(path)
        with watch:
            watch.changes()
            write(path, counters={"records": length})
            steps = 0
            assert watch.changes() == []
            costs.append(steps)
    assert costs[1] <= 1.5 * costs[0]


def test_it_may_be_closed_in_the_middle_of_a_look(path: Path) -> None:
    """In a process of its own, as SQLite takes the process with it where a connection is closed in use."""
    tape = make.bars(*range(1, 3_000))
    write(path, bars=[replace(tape, keys=[f"S{number % 100}" for number in range(2_999)])])
    program = (
        "import sys, threading, time\n"
        "from pathlib import Path\n"
        "from connectors.sqlite_watch import SqliteWatch\n"
        "for number in range(150):\n"
        "    watch = SqliteWatch(Path(sys.argv[1]))\n"
        "    look = threading.Thread(target=watch.changes)\n"
        "    look.start()\n"
        "    time.sleep(0.0002 * (number % 10))\n"
        "    watch.close()\n"
        "    look.join()\n"
        "    assert watch.changes() == []\n"
    )
    subprocess.run([sys.executable, "-c", program, str(path)], check=True, timeout=280)


def test_results_that_are_wiped_and_written_anew_are_told(path: Path) -> None:
    write(path, anomalies=[make.anomaly(1), make.anomaly(2)], bars=[make.bars(1, 2, 3)])
    copy = contents(path)
    with SqliteWatch(path) as watch:
        wipe(path)
        caught_up(watch, copy)
        assert [row["document"] for row in copy.values()] == ["bar"] * 3, "bars are never told as deleted"
        write(path, anomalies=[make.anomaly(1)], bars=[make.bars(7, 8)])
        told = watch.changes()
        assert [document["document"] for document in told] == ["bar", "bar", "anomaly"]
        wipe(path)
        write(path, bars=[make.bars(4)])
        assert [document["volume"] for document in watch.changes() if document["document"] == "bar"] == [4]


def test_it_waits_for_a_store_and_follows_the_one_that_takes_its_place(path: Path, tmp_path: Path) -> None:
    with SqliteWatch(path) as watch:
        assert watch.changes() == []
        path.write_text("no database yet, but a text")
        assert watch.changes() == []
        path.unlink()
        write(path)
        SqliteWriter(path).close()
        assert watch.changes() == []
        write(path, anomalies=[make.anomaly(1)])
        assert len(watch.changes()) == 1

        other = tmp_path / "other.db"
        write(other, anomalies=[make.anomaly(5)])
        path.unlink()
        for suffix in ("-wal", "-shm"):
            Path(f"{path}{suffix}").unlink(missing_ok=True)
        other.rename(path)
        assert watch.changes() == []
        write(path, anomalies=[make.anomaly(6)])
        assert [document["id"] for document in watch.changes()] == [make.anomaly(6).id]
        assert not watch.more
