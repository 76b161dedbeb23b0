"""Pages of anomalies: one after the other they are what was asked for, in its order."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sqlite import SqliteWriter
from connectors.store_questions import ORDERS, Wanted, cursor
from connectors.store_sqlite import SqliteStore
from tapewatch.records import MINUTE
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")

KEYS, DETECTORS = ("SPY", "QQQ"), ("high_volume", "block_trade")
SEVERITIES = (10.0, 50.0, 99.9, float("nan"))
ANOMALIES = st.lists(
    st.tuples(
        st.sampled_from(KEYS), st.sampled_from(DETECTORS), st.integers(0, 4), st.sampled_from(SEVERITIES)
    ),
    max_size=25,
)
FILTERS = st.fixed_dictionaries(
    {
        "key": st.none() | st.sampled_from([*KEYS, "IWM"]),
        "detector": st.none() | st.sampled_from(DETECTORS),
        "min_severity": st.none() | st.sampled_from([0.0, 50.0, 99.95]),
        "start": st.none() | st.integers(0, 6).map(lambda minute: make.MONDAY + minute * MINUTE),
        "end": st.none() | st.integers(0, 6).map(lambda minute: make.MONDAY + minute * MINUTE),
    }
)


def in_order(order: str, row: dict[str, Any]) -> tuple[Any, ...]:
    severity = -1.0 if row["severity"] is None else row["severity"]
    return {
        "newest": (-row["ts_event"], row["id"]),
        "oldest": (row["ts_event"], row["id"]),
        "worst": (-severity, row["ts_event"], row["id"]),
    }[order]


def is_wanted(wanted: Wanted, row: dict[str, Any]) -> bool:
    least, start, end = wanted["min_severity"], wanted["start"], wanted["end"]
    return (
        wanted["key"] in (None, row["key"])
        and wanted["detector"] in (None, row["detector"])
        and (least is None or (row["severity"] is not None and row["severity"] >= least))
        and (start is None or row["ts_event"] >= start)
        and (end is None or row["ts_event"] < end)
    )


@settings(max_examples=tried(60), deadline=None)
@given(ANOMALIES, FILTERS, st.sampled_from(ORDERS), st.integers(1, 7))
def test_pages_together_are_what_was_asked_for(
    tmp_path_factory: pytest.TempPathFactory,
    places: list[tuple[str, str, int, float]],
    wanted: Wanted,
    order: str,
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
    with SqliteStore(path) as store:
        everything = store.anomalies(order="oldest", limit=1000)
        assert len(everything) == len(places)
        pages: list[dict[str, Any]] = []
        after: str | None = None
        while page := store.anomalies(limit=limit, after=after, order=order, **wanted):
            assert len(page) <= limit
            pages += page
            after = cursor(page[-1])
    expected = [row for row in everything if is_wanted(wanted, row)]
    assert pages == sorted(expected, key=lambda row: in_order(order, row))
