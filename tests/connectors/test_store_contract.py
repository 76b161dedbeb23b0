"""Every question to the store has the same answer from SQLite and from Elasticsearch."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from connectors.store import Store, open_results
from connectors.store_elasticsearch import ElasticsearchStore
from connectors.store_questions import review_cursor
from connectors.store_sqlite import SqliteStore
from connectors.store_tape import StoredTape
from tapewatch.documents import PublishedJudge
from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR, MINUTE, SECOND
from tapewatch.settings import Settings
from tests.connectors.made_stores import FIRST, Both, fill

make: Any = import_module("tests.connectors.made_results")


def _comparable(found: PublishedJudge | None) -> Any:
    return None if found is None else (*found[:-1], found.state["weights"].tolist(), found.state["clock"])


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


def test_every_question_of_the_interface_is_asked_here() -> None:
    asked = {name for question in QUESTIONS.values() for name in question.__code__.co_names}
    inner = {"close", "coarser_bars", "look_again", "prepare", "score_extent", "score_rows"}
    assert asked >= {name for part in (Store, StoredTape) for name in vars(part) if name[0] != "_"} - inner


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
