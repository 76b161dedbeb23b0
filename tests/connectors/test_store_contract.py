"""Every question to the store has the same answer from SQLite and from Elasticsearch."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.sqlite import SqliteWriter
from connectors.store import Store, open_results
from connectors.store_elasticsearch import ElasticsearchStore
from connectors.store_questions import cursor, review_cursor
from connectors.store_sqlite import SqliteStore
from tapewatch.documents import ANOMALY_FIELDS, BAR_FIELDS, PAYMENT_FIELDS, SCORE_FIELDS, PublishedJudge
from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR, MINUTE, SECOND
from tapewatch.settings import Settings
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")

KEYS = ["SPY", "QQQ", "spy", "ESM4 C5000", "über", 'a"*?\\%_']
DETECTORS = ["high_volume", "block_trade", "price_jump"]
REASONS = [
    "Volume is 9 times what is usual.",
    "VOLUME of 100% at 5_000.",
    "One trade of 250,000 (ß, É).",
    r"back\slash * star ? mark",
]
FIRST = make.MONDAY + 8 * HOUR


def anomalies(count: int) -> list[Any]:
    """Return anomalies with many ties and all kinds of values."""
    rng = np.random.default_rng(7)
    made = []
    for number in range(count):
        start = FIRST + int(rng.integers(0, 4)) * DAY + int(rng.integers(0, 40)) * 10 * MINUTE
        record = bool(rng.integers(0, 2))
        start += int(rng.integers(0, 10**9)) if record else 0
        severity = float(rng.choice([10.0, 50.0, 50.5, 75.25, 99.999]))
        made.append(
            make.anomaly(
                number,
                key=KEYS[int(rng.integers(0, len(KEYS)))],
                detector=DETECTORS[int(rng.integers(0, len(DETECTORS)))],
                ts_start=start,
                ts_event=start if record else start + MINUTE,
                ts_end=start + (1 if record else MINUTE),
                severity=float("nan") if number % 29 == 0 else severity,
                reason=REASONS[number % len(REASONS)],
                contributions={"volume": 0.5, "a.b": -0.5} if number % 2 else {},
                # Large incidents and small ones, some of a single anomaly.
                incident=f"i{int(rng.integers(0, 9)) ** 2}" if number % 5 else f"{number:032x}",
            )
        )
    return made


def parts() -> list[Any]:
    """Return results of a few days: bars of all shapes, scores, counters."""
    rng = np.random.default_rng(3)
    volumes = [int(v) for v in rng.integers(0, 10**6, 600)]
    bars = [
        make.bars(*volumes, key="SPY"),
        make.bars(*volumes[:50], key="SPY", day=1, detailed=False),
        make.bars(*volumes[:300], key="SPY", width="1s"),
        make.bars(*volumes[:7], key="QQQ", first=3, final=False),
    ]
    for table in bars:
        moves = rng.integers(-(10**9), 10**9, (4, len(table.bars)))
        for name, move in zip(("open", "high", "low", "close"), moves, strict=True):
            table.bars[name] += move
    other = make.bars(*volumes[:100], key="SPY")
    other.bars["instrument_id"] = 9
    scores = [
        make.scores(*(float(v) for v in rng.integers(0, 9, 900)), key="SPY"),
        make.scores(1.5, -2.5, float("nan"), key="SPY", detector="block_trade"),
    ]
    near = make.scores(*(float(v) for v in rng.integers(0, 9, 30)), key="QQQ", detector="block_trade")
    at = FIRST + np.sort(rng.integers(0, 3 * SECOND, 30))
    scores.append(replace(near, ts_start=at, ts_end=at + 1))
    early = anomalies(2)[1]
    return [
        make.results(
            anomalies=anomalies(400), bars=bars, scores=scores, counters={"records": 1234, "late_records": 5}
        ),
        make.results(late=make.late(1, 2, 3), anomalies=[early], early=[make.early(early)]),
        make.results(judges=[judge("a", FIRST + 2, 5), judge("a", FIRST + 1, 3), judge("b", FIRST + 1, 4)]),
        make.results(judges=[judge("b", FIRST, 9), judge("c", FIRST + 2, 1)]),
        make.results(
            anomalies=[payment(n, name) for n in range(12) for name in ("ensemble", "rules")[n % 3 // 2 :]],
            profiles=[make.profile(f"u{n}") for n in range(3)],
            flow="transactions",
        ),
        make.results(bars=[other], dataset="OTHER.TAPE", partition="b", counters={"records": 2**53 + 1}),
    ]


def payment(number: int, detector: str) -> Any:
    """Return an anomaly of a payment: two happen in each instant, and of each either detector may say more."""
    severity = {"rules": 55.0, "ensemble": [80.0, 40.0, 55.0, float("nan")][number % 4]}[detector]
    amount = [0.1, 1e14 + 0.25, 10.25, 0.7][number % 4]
    made = make.payment(number, detector, amount=amount)
    ts = make.payment(number - number % 2).ts_event
    name = f"{len(detector)}{number:031x}"
    return replace(made, id=name, severity=severity, ts_event=ts, ts_start=ts, ts_end=ts + 1)


def judge(partition: str, ts: int, transactions: int) -> PublishedJudge:
    return PublishedJudge(partition, 1, ts, transactions, {"weights": np.arange(transactions), "clock": ts})


def _comparable(found: PublishedJudge | None) -> Any:
    return None if found is None else (*found[:-1], found.state["weights"].tolist(), found.state["clock"])


REVIEWS: list[dict[str, Any]] = [
    {"anomaly_id": f"{n % 4:032x}" if n % 3 else None, "transaction_id": None if n % 3 else f"t{n}", "label": n % 2,
     "reviewer": ["me", "you", None][n % 3], "notes": "it's ß", "reviewed_at": FIRST + n // 2 * HOUR + n // 2}
    for n in range(12)
]  # fmt: skip
PROFILES: list[dict[str, Any]] = [
    {"user_id": f"v{n}", "locations": {"Berlin": 3}, "merchant_categories": {}, "payment_methods": None, "hours": {"7": 1},
     "amount_min": 1.25, "amount_max": 9.0, "amount_mean": 3.5, "transactions": n, "anomalies": 0, "threshold": None,
     "ts_first": FIRST, "ts_last": FIRST + n, "state": f'["p", {n}]' if n else None}
    for n in range(5)
]  # fmt: skip


@dataclass(frozen=True)
class Both:
    """The two stores with the same content."""

    sqlite: Store
    elasticsearch: Store

    def ask(self, question: Callable[[Store], Any]) -> Any:
        """Return the answer of both, after checking that it is one."""
        answer = question(self.sqlite)
        assert question(self.elasticsearch) == answer
        return answer


def fill(path: Path, place: Any, results: list[Any]) -> None:
    """Write the same to both stores."""
    with SqliteWriter(path, "paper") as sqlite:
        sqlite.write(results)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, rows in (("reviews", REVIEWS), ("profiles", PROFILES)):
            for row in rows if results else []:
                values = [orjson.dumps(v).decode() if isinstance(v, dict) else v for v in row.values()]
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", values)  # noqa: S608
    client = connect(place)
    create(client, place)
    writer = BulkWriter(client, place, "paper")
    writer.write(results)
    if results:
        writer.write_documents("reviews", REVIEWS)
        writer.write_documents("profiles", PROFILES)
    writer.refresh()
    client.close()


@pytest.fixture(scope="module")
def filled(
    _plain_elasticsearch: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Path, Any]]:
    _plain_elasticsearch.start()
    path = tmp_path_factory.mktemp("both") / "results.db"
    with _plain_elasticsearch.settings() as place:
        fill(path, place, parts())
        yield _plain_elasticsearch, path, place


@pytest.fixture
def both(filled: tuple[Any, Path, Any]) -> Iterator[Both]:
    server, path, place = filled
    server.start()
    with SqliteStore(path) as sqlite, ElasticsearchStore(place) as elasticsearch:
        yield Both(sqlite, elasticsearch)


def pages_of_reviews(store: Store, limit: int) -> list[Any]:
    """Return all reviews, page by page."""
    found: list[Any] = []
    after = None
    while page := store.reviews(limit=limit, after=after):
        found += page
        after = review_cursor(page[-1])
    assert found == store.reviews()
    return found


END = make.MONDAY + 5 * DAY
QUESTIONS: dict[str, Callable[[Store], Any]] = {
    "worst": lambda s: s.worst(20),
    "newest": lambda s: s.anomalies(limit=1000),
    "oldest of a key": lambda s: s.anomalies(key="SPY", order="oldest"),
    "a detector's": lambda s: s.anomalies(detector="block_trade", order="worst"),
    "severe ones": lambda s: s.anomalies(min_severity=50.5),
    "those of a stretch": lambda s: s.anomalies(start=FIRST + HOUR, end=FIRST + DAY + 1),
    "a quarter of an hour": lambda s: s.anomalies(start=FIRST + 600 * SECOND + 1, end=FIRST + 1500 * SECOND),
    "whenever": lambda s: s.anomalies(start=0, end=2**63 - 1),
    "before the epoch": lambda s: s.anomalies(start=-5, end=0) + s.anomalies(end=-1),
    "none": lambda s: s.anomalies(key="IBM"),
    "none at all": lambda s: s.anomalies(limit=0),
    "a word": lambda s: s.anomalies(text="volume", limit=1000),
    "two words": lambda s: s.anomalies(text="VOLUME usu", limit=1000),
    "a part of a key": lambda s: s.anomalies(text="qq", limit=1000),
    "spaces": lambda s: s.anomalies(text="  ", limit=1000),
    "a feature's": lambda s: s.anomalies(feature="a.b", order="worst", limit=300),
    "a feature nobody has": lambda s: s.anomalies(feature="zz"),
    "reviewed ones": lambda s: s.anomalies(reviewed=True),
    "those to review": lambda s: s.anomalies(reviewed=False, order="worst", limit=1000),
    "some by name": lambda s: s.anomalies(ids=[f"{n:032x}" for n in (1, 5, 9, 10**6)]),
    "by no name": lambda s: s.anomalies(ids=[]),
    "the ones of incidents": lambda s: s.anomalies(incidents=["i9", "i16"], order="oldest", limit=300),
    "incidents": lambda s: s.incidents(limit=5),
    "incidents, newest first": lambda s: s.incidents(limit=300, order="newest", detector="price_jump"),
    "incidents to review": lambda s: s.incidents(reviewed=False, min_severity=50),
    "incidents of a word": lambda s: s.incidents(text="ß", key="SPY", order="oldest"),
    "no incidents": lambda s: s.incidents(key="IBM"),
    "heads": lambda s: s.heads(["i9", "i1", "none"]) + s.heads(["i4"], "newest", key="SPY"),
    "no heads": lambda s: s.heads([]),
    "verdicts": lambda s: s.verdicts(),
    "lanes": lambda s: s.lanes(make.MONDAY, END, HOUR, limit=4),
    "lanes of severe ones": lambda s: s.lanes(make.MONDAY, END, DAY, min_severity=75.25),
    "lanes of a moment": lambda s: s.lanes(FIRST + 7, FIRST + HOUR, 15 * MINUTE, min_severity=0),
    "no lanes": lambda s: s.lanes(0, HOUR, MINUTE),
    "histogram": lambda s: s.histogram(HOUR, start=make.MONDAY, end=END),
    "histogram of a key": lambda s: s.histogram(DAY, start=FIRST, end=END, key="SPY", min_severity=50),
    "histogram of a word": lambda s: s.histogram(DAY, start=FIRST, end=END, text="ß"),
    "top keys": lambda s: s.top_keys(3),
    "top keys of a detector": lambda s: s.top_keys(100, detector="price_jump", end=FIRST + 2 * DAY),
    "no top keys": lambda s: s.top_keys(text="nobody"),
    "by detector": lambda s: s.by_detector(),
    "bars": lambda s: s.bars("SPY", "1m"),
    "the last bars": lambda s: s.bars("SPY", "1m", limit=3),
    "bars of a stretch": lambda s: s.bars("SPY", "1s", FIRST - 8 * HOUR + 5 * SECOND, FIRST),
    "unfinished bars": lambda s: s.bars("QQQ", "1m"),
    "no bars": lambda s: s.bars("SPY", "1h") + s.bars("IBM", "1m"),
    "bar counts": lambda s: s.bar_counts("SPY"),
    "bar counts of a stretch": lambda s: s.bar_counts("SPY", make.MONDAY + MINUTE, make.MONDAY + 2 * MINUTE),
    "a chart of all": lambda s: s.chart("SPY", points=100),
    "a chart that needs no rolling up": lambda s: s.chart("SPY", points=5000),
    "a chart of a stretch": lambda s: s.chart("SPY", make.MONDAY + 90 * SECOND, make.MONDAY + 9 * HOUR, points=20),
    "a chart of a few points": lambda s: s.chart("SPY", points=4),
    "no chart": lambda s: s.chart("IBM"),
    "scores": lambda s: s.scores("SPY", "high_volume"),
    "scores of a stretch": lambda s: s.scores("SPY", "high_volume", FIRST, FIRST + HOUR),
    "the largest scores": lambda s: s.scores("SPY", "high_volume", points=50),
    "the largest scores of trades": lambda s: s.scores("QQQ", "block_trade", points=6),
    "no scores": lambda s: s.scores("IBM", "high_volume"),
    "severities of scores": lambda s: s.severities("scores", HOUR, FIRST, FIRST + DAY),
    "severities of scores of a stretch": lambda s: s.severities(
        "scores", 10 * MINUTE, FIRST + 5 * MINUTE, FIRST + HOUR
    ),
    "severities of anomalies": lambda s: s.severities("anomalies", DAY, FIRST, FIRST + 9 * DAY),
    "profiles": lambda s: s.profiles(limit=3),
    "profiles that begin so": lambda s: s.profiles(prefix="u", after="u0", limit=2) + s.profiles(prefix="%"),
    "more profiles": lambda s: s.profiles(after="u2"),
    "a profile": lambda s: s.profiles("u1") + s.profiles("v3") + s.profiles("nobody"),
    "one profile": lambda s: [s.profile("v3"), s.profile("nobody")],
    "states of profiles": lambda s: s.profile_states(["v4", "v0", "nobody", "v1"]),
    "no states of profiles": lambda s: s.profile_states([]),
    "judges": lambda s: s.judges(),
    "a judge": lambda s: list(map(_comparable, map(s.judge, ["paper"] * 4, "abcd"))),
    "reviews": lambda s: s.reviews(),
    "a few reviews": lambda s: s.reviews(limit=5),
    "reviews of anomalies": lambda s: s.reviews(of_anomalies=True),
    "reviews page by page": lambda s: pages_of_reviews(s, 1) + pages_of_reviews(s, 3),
    "reviews of one": lambda s: s.reviews(anomaly_id=f"{1:032x}") + s.reviews(reviewer="me") + s.reviews(label=0),
    "reviews of a transaction": lambda s: s.reviews(transaction_id="t3"),
    "reviews of a stretch": lambda s: s.reviews(start=FIRST + HOUR + 1, end=FIRST + 4 * HOUR + 4),
    "anomalies of a flow": lambda s: s.anomalies(flow="transactions", order="worst"),
    "a user's": lambda s: s.anomalies(user_id="u2"),
    "those of transactions": lambda s: s.anomalies(transactions=["t3", "t4", "none"], order="oldest"),
    "transactions": lambda s: s.transactions(limit=5),
    "a user's worst transactions": lambda s: s.transactions(user_id="u1", order="worst"),
    "transactions of words": lambda s: s.transactions(
        merchant_category="travel", location="BR", payment_method="card"),
    "no transactions": lambda s: s.transactions(location="XX"),
    "amounts that rules found": lambda s: s.amounts("location", detector="rules"),
    "amounts by place": lambda s: s.amounts("location"),
    "amounts by category": lambda s: s.amounts("merchant_category"),
    "a user's amounts by method": lambda s: s.amounts("payment_method", user_id="u0", limit=1),
    "precision": lambda s: s.precision(DAY),
    "precision by the hour of a detector": lambda s: s.precision(HOUR, detector="rules", most=5),
    "series": lambda s: s.series(),
    "bar_keys": lambda s: s.bar_keys(),
    "counts": lambda s: s.counts(),
    "counters": lambda s: s.counters(),
    "totals": lambda s: s.totals(),
    "span": lambda s: s.span(),
    "rates": lambda s: s.rates(),
}  # fmt: skip
EMPTY = {
    "before the epoch",
    "none",
    "none at all",
    "no lanes",
    "no top keys",
    "a feature nobody has",
    "by no name",
    "no incidents",
    "no transactions",
    "no heads",
    "no bars",
    "no chart",
    "no scores",
    "no states of profiles",
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_both_answer_alike(name: str, both: Both) -> None:
    answer = both.ask(QUESTIONS[name])
    assert bool(answer) == (name not in EMPTY)


@pytest.mark.parametrize("name", QUESTIONS)
def test_both_answer_alike_when_there_is_nothing(name: str, empty: Both) -> None:
    answer = empty.ask(QUESTIONS[name])
    assert not answer or name in ("counts", "rates") or all(item is None for item in answer)


@pytest.fixture(scope="module")
def bare(
    _plain_elasticsearch: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, Path, Any]]:
    _plain_elasticsearch.start()
    path = tmp_path_factory.mktemp("empty") / "results.db"
    with _plain_elasticsearch.settings() as place:
        fill(path, place, [])
        yield _plain_elasticsearch, path, place


@pytest.fixture
def empty(bare: tuple[Any, Path, Any]) -> Iterator[Both]:
    server, path, place = bare
    server.start()
    with SqliteStore(path) as sqlite, ElasticsearchStore(place) as elasticsearch:
        yield Both(sqlite, elasticsearch)


def test_every_question_of_the_interface_is_asked_here() -> None:
    asked = {name for question in QUESTIONS.values() for name in question.__code__.co_names}
    inner = {"close", "coarser_bars", "look_again", "prepare", "score_extent", "score_rows"}
    assert asked >= {name for name in vars(Store) if not name.startswith("_")} - inner


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


@settings(max_examples=tried(60), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=tried(40), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=tried(30), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(wanted=WANTED_PAYMENTS, order=st.sampled_from(["newest", "oldest", "worst"]), page=st.integers(1, 5))
def test_the_worst_of_its_anomalies_tells_of_a_transaction(
    both: Both, wanted: dict[str, Any], order: str, page: int
) -> None:
    rows = both.sqlite.anomalies(limit=100, order=order, flow="transactions", **wanted)
    worst: dict[str, tuple[float, str]] = {}
    for row in rows:
        rank = -math.inf if row["severity"] is None else row["severity"]
        worst[row["transaction_id"]] = min(
            worst.get(row["transaction_id"], (math.inf, "")), (-rank, row["id"])
        )
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


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (lambda s: s.anomalies(order="best"), "`order` must be one of newest, oldest, worst, was 'best'"),
        (lambda s: s.anomalies(after="page 2"), "`after` must be a cursor of an earlier page, was 'page 2'"),
        (lambda s: s.anomalies(after="W10="), "`after` must be a cursor"),
        (lambda s: s.anomalies(after="WyJhIiwxLCJiIl0="), "`after` must be a cursor"),
        (lambda s: s.histogram(HOUR, start=0), "`start` and `end` must be given"),
        (lambda s: s.histogram(10, start=0, end=1), "`step_ns` must be a whole number of milliseconds"),
        (lambda s: s.lanes(0, 1, 1_500_000), "`step_ns` must be a whole number of milliseconds"),
        (lambda s: s.lanes(0, DAY, SECOND), "at most 10,000 steps"),
        (
            lambda s: s.amounts("user_id"),
            "`group` must be one of location, merchant_category, payment_method",
        ),
        (lambda s: s.precision(0), "`step_ns` must be at least 1, was 0"),
        (lambda s: s.chart("SPY", points=1), "`points` must be from 2 to 10,000, was 1"),
        (lambda s: s.scores("SPY", "high_volume", points=10**6), "`points` must be from 2"),
    ],
)
def test_both_refuse_alike(question: Callable[[Store], Any], words: str, both: Both) -> None:
    refusals = []
    for store in (both.sqlite, both.elasticsearch):
        with pytest.raises(UserError) as caught:
            question(store)
        refusals.append(str(caught.value))
    assert refusals[0] == refusals[1]
    assert words in refusals[0]


def test_more_than_a_page_of_elasticsearch_comes_whole(elasticsearch_settings: Any, tmp_path: Path) -> None:
    numbers = [1 + n % 7 for n in range(12_345)]
    fill(
        tmp_path / "results.db",
        elasticsearch_settings,
        [make.results(bars=[make.bars(*numbers, width="1s")])],
    )
    with SqliteStore(tmp_path / "results.db") as one, ElasticsearchStore(elasticsearch_settings) as other:
        bars = Both(one, other).ask(lambda s: s.bars("SPY", "1s", limit=100_000))
        assert [bar["volume"] for bar in bars] == numbers
        assert Both(one, other).ask(lambda s: s.bars("SPY", "1s", limit=11_000)) == bars[-11_000:]


def test_the_settings_choose_the_store(filled: tuple[Any, Path, Any]) -> None:
    _, path, place = filled
    for kinds, wanted in (
        (["sqlite", "elasticsearch"], SqliteStore), (["elasticsearch", "sqlite"], ElasticsearchStore),
        (["stdout", "elasticsearch"], ElasticsearchStore), (["stdout"], SqliteStore),
    ):  # fmt: skip
        chosen = Settings(sinks={"kinds": kinds, "sqlite": {"path": str(path)}, "elasticsearch": place})
        with open_results(chosen) as store:
            assert type(store) is wanted
            assert store.counts()["anomalies"] == 400 + 20


def test_a_store_that_is_away_is_one_line() -> None:
    chosen = Settings(sinks={"kinds": ["elasticsearch"], "elasticsearch": {"url": "http://127.0.0.1:9"}})
    with pytest.raises(
        UserError, match=r"`sinks.elasticsearch.url` http://127.0.0.1:9 does not answer: connection refused"
    ):
        open_results(chosen)
