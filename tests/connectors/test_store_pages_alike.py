"""Pages, incidents, payments and charts are the same from SQLite and from Elasticsearch, and right."""

from __future__ import annotations

import math
from functools import partial
from importlib import import_module
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.store import Store
from connectors.store_questions import cursor
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS, PAYMENT_FIELDS, SCORE_FIELDS
from tapewatch.records import DAY
from tests.connectors.made_stores import DETECTORS, FIRST, KEYS, Both
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")

WANTED = st.fixed_dictionaries(
    {},
    optional={
        "key": st.sampled_from([*KEYS, "IBM"]),
        "detector": st.sampled_from([*DETECTORS, "rules"]),
        "user_id": st.sampled_from(["u1", "u2"]),
        "location": st.sampled_from(["DE", "XX"]),
        "min_severity": st.sampled_from([0.0, 10.0, 50.25, 99.999, 100.0]),
        "start": st.integers(FIRST, FIRST + 4 * DAY),
        "end": st.integers(FIRST, FIRST + 4 * DAY),
        "feature": st.sampled_from(["volume", "a.b", "zz"]),
        "reviewed": st.booleans(),
        "text": st.sampled_from(["volume", "ß", "é", "É", "\\", "*", "?", "%", "_000", "TRADE 250", "é ß", "a\"*", "zz"]),
    },
)  # fmt: skip


@settings(max_examples=tried(60), deadline=None)
@given(wanted=WANTED, order=st.sampled_from(["newest", "oldest", "worst"]), page=st.integers(1, 60))
def test_pages_are_alike_and_make_up_the_whole(
    both: Both, wanted: dict[str, Any], order: str, page: int
) -> None:
    whole = both.ask(lambda s: s.anomalies(limit=10_000, order=order, **wanted))
    found: list[Any] = []
    after = None
    for _ in range(1 + len(whole) // page):
        rows = both.ask(partial(_page, limit=page, after=after, order=order, **wanted))
        found += rows
        if len(rows) < page:
            break
        after = cursor(rows[-1])
    assert found == whole


def _page(store: Store, **asked: Any) -> list[Any]:
    return store.anomalies(**asked)


@settings(max_examples=tried(40), deadline=None)
@given(wanted=WANTED, order=st.sampled_from(["newest", "oldest", "worst"]), page=st.integers(1, 20))
def test_incidents_are_the_first_of_their_anomalies(
    both: Both, wanted: dict[str, Any], order: str, page: int
) -> None:
    expected: dict[str, dict[str, Any]] = {}
    for row in both.sqlite.anomalies(limit=10_000, order=order, **wanted):
        first = expected.setdefault(row["incident"], {**row, "anomalies": 0, "detectors": set()})
        first["anomalies"] += 1
        first["detectors"].add(row["detector"])
    found: list[Any] = []
    after = None
    while rows := both.ask(partial(_incidents, limit=page, after=after, order=order, **wanted)):
        assert len(rows) <= page
        found += rows
        after = cursor(rows[-1])
    assert found == [{**row, "detectors": sorted(row["detectors"])} for row in expected.values()]


def _incidents(store: Store, **asked: Any) -> list[Any]:
    return store.incidents(**asked)


def test_the_newest_review_of_a_person_counts(both: Both) -> None:
    verdicts = both.ask(lambda s: s.verdicts())
    newest: dict[Any, int] = {}
    for review in both.ask(lambda s: s.reviews(limit=1000)):
        if review["anomaly_id"]:
            newest.setdefault((review["anomaly_id"], review["reviewer"]), review["label"])
    assert sum(row["confirmed"] for row in verdicts) == sum(newest.values()) > 0
    assert sum(row["confirmed"] + row["false_alarms"] for row in verdicts) == len(newest)


def test_documents_have_the_contracts_names_and_types(both: Both) -> None:
    anomaly = both.ask(lambda s: s.anomalies(limit=1, order="worst"))[0]
    assert tuple(anomaly) == ANOMALY_FIELDS
    assert isinstance(anomaly["ts_event"], int)
    assert isinstance(anomaly["contributions"], dict)
    bar = both.ask(lambda s: s.bars("SPY", "1m"))[0]
    assert tuple(bar) == BAR_FIELDS
    assert bar["final"] is True
    assert tuple(both.ask(lambda s: s.scores("SPY", "high_volume"))[0]) == SCORE_FIELDS


def test_a_transaction_counts_once_whatever_found_it(both: Both) -> None:
    found = both.ask(lambda s: s.transactions(limit=100, order="oldest"))
    assert [row["ts_event"] for row in found] == sorted(row["ts_event"] for row in found)
    found.sort(key=lambda row: int(row["transaction_id"][1:]))
    assert [row["transaction_id"] for row in found] == [f"t{n}" for n in range(12)]
    assert [row["detectors"] for row in found[:3]] == [
        ["ensemble", "rules"],
        ["ensemble", "rules"],
        ["rules"],
    ]
    assert tuple(found[0])[-9:-2] == PAYMENT_FIELDS
    amounts = both.ask(lambda s: s.amounts("merchant_category"))
    assert {row["group"]: row["transactions"] for row in amounts} == {"grocery": 4, "travel": 4, None: 4}
    for row in amounts:
        parts = [paid["amount"] for paid in found if paid["merchant_category"] == row["group"]]
        assert (row["amount"], row["amount_max"]) == (math.fsum(parts), max(parts))


WANTED_PAYMENTS = st.fixed_dictionaries(
    {},
    optional={
        "detector": st.sampled_from(["rules", "ensemble"]),
        "user_id": st.sampled_from(["u1", "u2"]),
        "location": st.sampled_from(["DE", "XX"]),
        "min_severity": st.sampled_from([0.0, 50.0, 60.0]),
        "start": st.integers(0, 11).map(lambda number: make.payment(number).ts_event),
    },
)


@settings(max_examples=tried(30), deadline=None)
@given(wanted=WANTED_PAYMENTS, order=st.sampled_from(["newest", "oldest", "worst"]), page=st.integers(1, 5))
def test_the_worst_of_its_anomalies_tells_of_a_transaction(
    both: Both, wanted: dict[str, Any], order: str, page: int
) -> None:
    rows = both.sqlite.anomalies(limit=100, order=order, flow="transactions", **wanted)
    worst: dict[str, tuple[float, str]] = {}
    for row in rows:
        # What has no severity comes last.
        rank = (1.0 if row["severity"] is None else -row["severity"], row["id"])
        worst[row["transaction_id"]] = min(worst.get(row["transaction_id"], rank), rank)
    expected = [row for row in rows if worst[row["transaction_id"]][1] == row["id"]]
    found: list[Any] = []
    after = None
    while rows := both.ask(partial(_transactions, limit=page, after=after, order=order, **wanted)):
        assert len(rows) <= page
        found += rows
        after = cursor(rows[-1])
    assert [row["id"] for row in found] == [row["id"] for row in expected]
    assert [row["reason"] for row in found] == [row["reason"] for row in expected]


def _transactions(store: Store, **asked: Any) -> list[Any]:
    return store.transactions(**asked)


def test_a_review_of_a_transaction_judges_its_anomalies(both: Both) -> None:
    # t0, t6 are called false alarms, t3, t9 frauds; t0 is of two detectors, as all of them are.
    found = both.ask(lambda s: s.precision(365 * DAY, flow="transactions"))
    assert [(row["detector"], row["confirmed"], row["false_alarms"]) for row in found] == [
        ("ensemble", 2, 2), ("rules", 2, 2)
    ]  # fmt: skip
    assert [row["precision"] for row in found] == [0.5, 0.5]


def test_a_chart_is_as_fine_as_its_points_allow(both: Both) -> None:
    rolled = both.ask(lambda s: s.chart("SPY", end=make.MONDAY + DAY, points=100))
    minutes = both.ask(lambda s: s.bars("SPY", "1m", end=make.MONDAY + DAY))
    assert {bar["width"] for bar in rolled} == {"10m"}
    assert len(rolled) == 70
    assert sum(bar["volume"] for bar in rolled) == sum(bar["volume"] for bar in minutes)
    own = [bar for bar in minutes if bar["dataset"] == "XSIM.TAPE"]
    first = next(bar for bar in rolled if bar["dataset"] == "XSIM.TAPE")
    assert (first["open"], first["close"]) == (own[0]["open"], own[9]["close"])
    assert first["high"] == max(bar["high"] for bar in own[:10])
    assert first["low"] == min(bar["low"] for bar in own[:10])
    assert both.ask(lambda s: {bar["width"] for bar in s.chart("SPY", points=5000)}) == {"1s"}
    assert both.ask(lambda s: {bar["width"] for bar in s.chart("SPY", points=760)}) == {"1s"}
    unknown = both.ask(lambda s: s.chart("SPY", start=make.MONDAY + DAY, points=10))
    assert {bar["trades"] for bar in unknown} == {bar["vwap"] for bar in unknown} == {None}
    assert both.ask(lambda s: s.chart("QQQ", points=3))[0]["final"] is False
