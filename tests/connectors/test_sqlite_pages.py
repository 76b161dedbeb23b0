"""Pages of anomalies: whatever is asked for, put together they are all of it, once, in order."""

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
from connectors.sqlite_pages import AnomalyFilter, Order, Place, anomaly_page
from tapewatch.documents import ANOMALY_FIELDS
from tapewatch.errors import UserError
from tapewatch.records import MINUTE

make: Any = import_module("tests.connectors.made_results")

KEYS, DETECTORS = ("SPY", "QQQ"), ("high_volume", "block_trade")
SEVERITIES = (10.0, 50.0, 99.9, float("nan"))
ORDERS: tuple[Order, ...] = ("newest", "oldest", "worst")
ANOMALIES = st.lists(
    st.tuples(
        st.sampled_from(KEYS), st.sampled_from(DETECTORS), st.integers(0, 4), st.sampled_from(SEVERITIES)
    ),
    max_size=25,
)
FILTERS = st.builds(
    AnomalyFilter,
    key=st.none() | st.sampled_from([*KEYS, "IWM"]),
    detector=st.none() | st.sampled_from(DETECTORS),
    min_severity=st.none() | st.sampled_from([0.0, 50.0, 99.95]),
    start=st.none() | st.integers(0, 6).map(lambda minute: make.MONDAY + minute * MINUTE),
    end=st.none() | st.integers(0, 6).map(lambda minute: make.MONDAY + minute * MINUTE),
)


def in_order(order: Order, row: dict[str, Any]) -> tuple[Any, ...]:
    severity = -1.0 if row["severity"] is None else row["severity"]
    return {
        "newest": (-row["ts_event"], row["id"]),
        "oldest": (row["ts_event"], row["id"]),
        "worst": (-severity, row["ts_event"], row["id"]),
    }[order]


def is_wanted(wanted: AnomalyFilter, row: dict[str, Any]) -> bool:
    return (
        (wanted.key is None or row["key"] == wanted.key)
        and (wanted.detector is None or row["detector"] == wanted.detector)
        and (
            wanted.min_severity is None
            or (row["severity"] is not None and row["severity"] >= wanted.min_severity)
        )
        and (wanted.start is None or row["ts_event"] >= wanted.start)
        and (wanted.end is None or row["ts_event"] < wanted.end)
    )


@settings(max_examples=60, deadline=None)
@given(ANOMALIES, FILTERS, st.sampled_from(ORDERS), st.integers(1, 7))
def test_pages_together_are_what_was_asked_for(
    tmp_path_factory: pytest.TempPathFactory,
    places: list[tuple[str, str, int, float]],
    wanted: AnomalyFilter,
    order: Order,
    limit: int,
) -> None:
    path = tmp_path_factory.mktemp("pages") / "results.db"
    made = [
        make.anomaly(
            number, key=key, detector=detector, severity=severity, ts_event=make.MONDAY + minute * MINUTE
        )
        for number, (key, detector, minute, severity) in enumerate(places)
    ]
    with SqliteWriter(path) as writer:
        writer.write([make.results(anomalies=made)])
    everything = anomaly_page(path, AnomalyFilter(), "oldest", limit=1000)
    assert len(everything) == len(places)

    pages: list[dict[str, Any]] = []
    after: Place | None = None
    while page := anomaly_page(path, wanted, order, after, limit):
        assert len(page) <= limit
        pages += page
        after = Place.of(page[-1])
    expected = [row for row in everything if is_wanted(wanted, row)]
    assert pages == sorted(expected, key=lambda row: in_order(order, row))


def test_documents_have_the_contracts_names(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with SqliteWriter(path) as writer:
        writer.write([make.results(anomalies=[make.anomaly()])])
    (row,) = anomaly_page(path, AnomalyFilter())
    assert tuple(row) == ANOMALY_FIELDS
    assert row["contributions"] == {"volume": 0.75, "trades": 0.25}


@pytest.mark.parametrize("order", ORDERS)
def test_no_page_sorts_what_is_behind_it(tmp_path: Path, order: Order) -> None:
    """A page deep in the list is found by an index, as the plan of each query says."""
    path = tmp_path / "results.db"
    SqliteWriter(path).close()
    seen: list[str] = []
    real = sqlite3.connect

    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = real(*args, **kwargs)
        connection.set_trace_callback(seen.append)
        return connection

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", traced)
        anomaly_page(path, AnomalyFilter(), order, Place(make.MONDAY, "00", 50.0))
    queries = [text for text in seen if "FROM anomalies WHERE" in text]
    assert len(queries) == (2 if order == "worst" else 1)
    with closing(real(path)) as connection:
        for query in queries:
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
            assert plan[0].startswith("SEARCH anomalies USING INDEX anomalies_by_"), plan


def test_without_a_store_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run the flow first"):
        anomaly_page(tmp_path / "none.db", AnomalyFilter())
