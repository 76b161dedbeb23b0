"""The read side: what it finds, in which order, and that it only reads."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sqlite import SqliteWriter
from connectors.store_questions import cursor
from connectors.store_sqlite import SqliteStore
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS
from tapewatch.errors import UserError
from tapewatch.records import MINUTE, SECOND
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")


def written(path: Path, **parts: Any) -> Path:
    with SqliteWriter(path) as writer:
        writer.write([make.results(**parts)])
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.db"


def test_without_a_file_it_says_to_run_the_flow(path: Path) -> None:
    with pytest.raises(
        UserError, match=r"no results at `sinks.sqlite.path` .*results.db; run the flow first"
    ):
        SqliteStore(path)
    assert not path.exists()
    path.touch()
    with pytest.raises(UserError, match="is an empty database; `tapewatch init sqlite`"):
        SqliteStore(path)
    path.write_text("no database at all, but text")
    with pytest.raises(UserError, match="is not a SQLite database"):
        SqliteStore(path)
    with pytest.raises(UserError, match="is a directory"):
        SqliteStore(path.parent)


def test_an_empty_store_has_nothing(path: Path) -> None:
    SqliteWriter(path).close()
    with SqliteStore(path) as store:
        assert store.worst() == store.bars("SPY", "1m") == store.series() == store.by_detector() == []
        assert store.counters() == []
        assert store.totals() == {}
        assert store.span() is None
        assert set(store.counts().values()) == {0}
        assert store.rates() == {
            "records": 0, "ts_first": None, "ts_last": None, "records_per_second": None, "anomalies_per_day": None,
        }  # fmt: skip


def test_documents_have_the_contracts_names(path: Path) -> None:
    written(path, anomalies=[make.anomaly()], bars=[make.bars(100)])
    with SqliteStore(path) as store:
        (anomaly,), (bar,) = store.worst(), store.bars("SPY", "1m")
    assert tuple(anomaly) == ANOMALY_FIELDS
    assert tuple(bar) == BAR_FIELDS
    assert anomaly["contributions"] == {"volume": 0.75, "trades": 0.25}
    assert bar["final"] is True


PLACES = st.tuples(
    st.sampled_from(["SPY", "QQQ"]),
    st.sampled_from(["high_volume", "block_trade"]),
    st.integers(0, 5),
    st.sampled_from([10.0, 50.0, 90.0]),
)


@settings(max_examples=tried(25), deadline=None)
@given(
    st.lists(PLACES, max_size=12),
    st.none() | st.sampled_from(["SPY", "QQQ", "IBM"]),
    st.none() | st.sampled_from(["high_volume", "block_trade"]),
    st.none() | st.sampled_from([10.0, 50.5]),
    st.none() | st.integers(0, 6),
    st.none() | st.integers(0, 6),
    st.integers(0, 14),
    st.sampled_from(["newest", "oldest", "worst"]),
)
def test_filters_are_what_they_say(
    tmp_path_factory: pytest.TempPathFactory,
    places: list[tuple[str, str, int, float]],
    key: str | None,
    detector: str | None,
    least: float | None,
    first: int | None,
    last: int | None,
    limit: int,
    order: str,
) -> None:
    path = written(
        tmp_path_factory.mktemp("filters") / "results.db",
        anomalies=[
            make.anomaly(
                number, key=place[0], detector=place[1], ts_event=make.MONDAY + place[2], severity=place[3]
            )
            for number, place in enumerate(places)
        ],
    )
    start = None if first is None else make.MONDAY + first
    end = None if last is None else make.MONDAY + last
    wanted = [
        (f"{number:032x}", place[2], place[3])
        for number, place in enumerate(places)
        if key in (None, place[0])
        and detector in (None, place[1])
        and (least is None or place[3] >= least)
        and (first is None or place[2] >= first)
        and (last is None or place[2] < last)
    ]
    sign = -1 if order == "newest" else 1
    wanted.sort(key=lambda w: (-w[2] if order == "worst" else 0, sign * w[1], w[0]))
    with SqliteStore(path) as store:
        found = store.anomalies(
            key=key, detector=detector, min_severity=least, start=start, end=end, limit=limit, order=order
        )
        rest = store.anomalies(
            key=key, detector=detector, min_severity=least, start=start, end=end, order=order,
            after=cursor(found[-1]) if found else None,
        )  # fmt: skip
    assert [row["id"] for row in found + rest] == [w[0] for w in wanted]
    assert len(found) == min(limit, len(wanted))


def test_an_order_there_is_not_is_refused(path: Path) -> None:
    SqliteWriter(path).close()
    with (
        SqliteStore(path) as store,
        pytest.raises(UserError, match="one of newest, oldest, worst, was 'best'"),
    ):
        store.anomalies(order="best")


def test_bars_are_the_last_of_a_range_in_order(path: Path) -> None:
    written(
        path,
        bars=[make.bars(*range(1, 11)), make.bars(99, 98, key="QQQ"), make.bars(7, 8, width="1s")],
    )
    minute = [make.MONDAY + n * MINUTE for n in range(11)]
    with SqliteStore(path) as store:
        assert [bar["volume"] for bar in store.bars("SPY", "1m", limit=3)] == [8, 9, 10]
        found = store.bars("SPY", "1m", start=minute[2], end=minute[5])
        assert [bar["volume"] for bar in found] == [3, 4, 5]
        assert [bar["volume"] for bar in store.bars("SPY", "1s")] == [7, 8]
        assert store.bars("IBM", "1m") == []


def test_series_and_span(path: Path) -> None:
    tables = [make.bars(1, 2, 3, key=key, first=first) for first, key in enumerate(["SPY", "AIG", "Z", "B"])]
    written(path, bars=[*tables, make.bars(5, width="1s")])
    with SqliteStore(path) as store:
        found = [(row["key"], row["width"], row["ts_first"], row["ts_last"]) for row in store.series()]
        assert found == [
            ("AIG", "1m", make.MONDAY + MINUTE, make.MONDAY + 4 * MINUTE),
            ("B", "1m", make.MONDAY + 3 * MINUTE, make.MONDAY + 6 * MINUTE),
            ("SPY", "1m", make.MONDAY, make.MONDAY + 3 * MINUTE),
            ("SPY", "1s", make.MONDAY, make.MONDAY + SECOND),
            ("Z", "1m", make.MONDAY + 2 * MINUTE, make.MONDAY + 5 * MINUTE),
        ]
        assert store.span() == (make.MONDAY, make.MONDAY + 6 * MINUTE)
    written(path, anomalies=[make.anomaly(100)])
    with SqliteStore(path) as store:
        assert store.span() == (make.MONDAY, make.MONDAY + 101 * MINUTE)


def test_totals_and_rates(path: Path) -> None:
    with SqliteWriter(path) as writer:
        for partition, records in (("a", 600), ("b", 1200)):
            results = make.results(partition=partition, counters={"records": records, "late": 1})
            writer.write([results, results])
        writer.write(
            [make.results(bars=[make.bars(*[1] * 30)], anomalies=[make.anomaly(1), make.anomaly(2)])]
        )
    with SqliteStore(path) as store:
        assert store.totals() == {"late": 2, "records": 1800}
        assert [row["partition"] for row in store.counters()] == ["a", "a", "b", "b"]
        rates = store.rates()
        assert rates["records_per_second"] == pytest.approx(1.0)
        assert rates["anomalies_per_day"] == pytest.approx(96)


def test_by_detector(path: Path) -> None:
    written(
        path,
        anomalies=[
            make.anomaly(1, severity=20.0),
            make.anomaly(2, severity=80.0),
            make.anomaly(3, detector="block_trade", severity=99.0),
        ],
    )
    with SqliteStore(path) as store:
        assert store.by_detector() == [
            {"detector": "high_volume", "anomalies": 2, "max_severity": 80.0, "ts_last": make.MONDAY + 3 * MINUTE},
            {"detector": "block_trade", "anomalies": 1, "max_severity": 99.0, "ts_last": make.MONDAY + 4 * MINUTE},
        ]  # fmt: skip


def test_it_cannot_write(path: Path) -> None:
    written(path, anomalies=[make.anomaly()])
    with SqliteStore(path) as store, pytest.raises(sqlite3.OperationalError, match="readonly"):
        store._connection.execute("DELETE FROM anomalies")


def test_threads_may_share_it(path: Path) -> None:
    written(path, bars=[make.bars(*range(1, 200))])
    failures: list[BaseException] = []

    def read(store: SqliteStore) -> None:
        try:
            for _ in range(50):
                assert len(store.bars("SPY", "1m")) == 199
        except BaseException as error:
            failures.append(error)

    with SqliteStore(path) as store:
        threads = [threading.Thread(target=read, args=(store,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


QUESTIONS = {
    "a key": {"key": "SPY"},
    "a detector": {"detector": "high_volume"},
    "times": {"start": 0, "end": 2**60},
    "a key's times": {"key": "SPY", "start": 0},
    "worst": {"order": "worst"},
    "newest": {},
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_questions_about_anomalies_use_an_index(name: str, path: Path) -> None:
    written(path, anomalies=[make.anomaly()])
    asked: list[str] = []
    with SqliteStore(path) as store:
        store._connection.set_trace_callback(asked.append)
        store.anomalies(**QUESTIONS[name])  # type: ignore[arg-type]
        store._connection.set_trace_callback(None)
    with closing(sqlite3.connect(path)) as connection:
        plan = " ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {asked[0]}"))
    assert "USING INDEX anomalies_" in plan


def test_lanes_hold_the_worst_of_each_key_and_step(path: Path) -> None:
    found = [
        make.anomaly(1, severity=60.0, reason="lesser"),
        make.anomaly(2, severity=70.0, reason="worse"),
        make.anomaly(61, severity=55.0),
        make.anomaly(3, severity=90.0, key="QQQ"),
        make.anomaly(4, severity=20.0, key="IWM"),
    ]
    written(path, anomalies=found)
    hour, monday = 60 * MINUTE, make.MONDAY
    with SqliteStore(path) as store:
        rows = store.lanes(monday, monday + 24 * hour, hour, min_severity=50)
        assert [
            (row["key"], row["ts_start"] - monday, row["severity"], row["anomalies"]) for row in rows
        ] == [
            ("QQQ", 0, 90.0, 1),
            ("SPY", 0, 70.0, 2),
            ("SPY", hour, 55.0, 1),
        ]
        assert rows[1]["reason"] == "worse"
        assert [row["key"] for row in store.lanes(monday, monday + 24 * hour, hour, limit=1)] == ["QQQ"]
        assert store.lanes(monday, monday, hour) == []
