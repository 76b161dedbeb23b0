"""Reviews on their way to the flow: each once, in order, whatever they come from and however a run is cut."""

from __future__ import annotations

import sqlite3
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sqlite import SqliteWriter
from connectors.sqlite_reviews import Review as Said
from connectors.sqlite_reviews import add_review
from connectors.transaction_reviews import (
    Arrived,
    Arriving,
    ReviewFeed,
    ReviewSources,
    StoreReviews,
    read_reviews,
    review_of,
)
from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR
from tapewatch.settings import Settings
from tapewatch.transactions import Review, in_order
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")
NOW = make.MONDAY


class ToldReviews(Arriving):
    """Reviews that come when the test says so."""

    def look(self) -> None:
        """Do nothing."""


def review(number: int, at: int | None = None) -> Review:
    return Review(f"t{number}", number % 2, NOW + number * HOUR if at is None else at)


@settings(max_examples=tried(50), deadline=None)
@given(
    clocks=st.lists(st.integers(0, 30), min_size=1, max_size=8).map(sorted),
    come=st.lists(st.integers(0, 8), min_size=20, max_size=20),
    resumed=st.sets(st.integers(0, 8)),
)
def test_each_comes_once_and_not_before_its_time(
    clocks: list[int], come: list[int], resumed: set[int]
) -> None:
    of_file = [review(number) for number in range(100, 110)]
    topic, found, before, saved = ToldReviews(), list[Review](), NOW, None
    feed = ReviewFeed(of_file, None, topic)
    for step, hours in enumerate([*clocks, 200]):
        last = hours == 200
        for number, when in enumerate(come):
            if when == step or (last and when > step):
                topic.arrived.append(Arrived((0, len(topic.arrived)), review(number)))
        if step in resumed and saved is not None:
            # A new process reads the topic from its beginning; what came to the partition is in its state.
            feed = ReviewFeed(of_file, None, topic, saved)
        clock = NOW + hours * HOUR
        taken = feed.take(before, clock)
        assert all(each.reviewed_at <= clock for each in taken)
        assert list(taken) == in_order(taken)
        found += taken
        before, saved = clock, feed.snapshot()
    assert in_order(found) == in_order([*of_file, *(review(number) for number in range(20))])


def store_of(folder: Path) -> tuple[Path, StoreReviews]:
    path = folder / "results.db"
    with SqliteWriter(path) as writer:
        writer.write([make.results(anomalies=[make.anomaly(1), make.payment(2)])])
    chosen = Settings(
        sinks={"sqlite": {"path": str(path)}}, transactions={"feedback": {"store": True, "poll_seconds": 0.1}}
    )
    return path, StoreReviews(chosen)


def look(store: StoreReviews) -> None:
    time.sleep(0.11)
    store.look()


def said(transaction: str, at: int, label: int = 1) -> Said:
    return Said(None, label, "ana", None, at, transaction)


def test_what_is_written_to_the_store_comes_once(tmp_path: Path) -> None:
    path, store = store_of(tmp_path)
    feed = ReviewFeed(store=store)
    add_review(path, said("t1", NOW))
    assert feed.take(0, NOW) == (Review("t1", 1, NOW),)
    add_review(path, said("t2", NOW + HOUR))
    look(store)
    assert feed.take(NOW, NOW) == ()
    # A correction is a review of its own.
    add_review(path, said("t1", NOW, label=0))
    look(store)
    assert feed.take(NOW, NOW + HOUR) == (Review("t1", 0, NOW), Review("t2", 1, NOW + HOUR))
    resumed = ReviewFeed(store=StoreReviews(store._settings), resume=feed.snapshot())
    assert resumed.take(NOW + HOUR, NOW + DAY) == ()


def test_anomalies_of_markets_are_not_reviewed_here_and_dates_have_bounds(tmp_path: Path) -> None:
    path, store = store_of(tmp_path)
    add_review(path, Said(make.anomaly(1).id, 1, None, None, NOW))
    add_review(path, Said(make.payment(2).id, 1, None, None, NOW + 1))
    add_review(path, said("of the future", time.time_ns() + 3 * DAY))
    feed = ReviewFeed(store=store)
    assert feed.take(0, 2**62) == (Review("", 1, NOW + 1, make.payment(2).id),)
    # One that says that it is more than a day older than the newest was overlooked; a younger one is not.
    add_review(path, said("old", NOW - 2 * DAY))
    add_review(path, said("young", NOW - HOUR))
    look(store)
    assert [each.transaction_id for each in feed.take(2**62, 2**62)] == ["young"]


def test_a_store_that_is_not_there_is_waited_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    chosen = Settings(sinks={"sqlite": {"path": str(tmp_path / "results.db")}})
    store = StoreReviews(chosen.model_copy(update={"transactions": _polled(chosen)}))
    store.look()
    look(store)
    assert len(caplog.records) == 1
    assert "the reviews in the store cannot be read, trying on" in caplog.text
    path, _ = store_of(tmp_path)
    add_review(path, said("t1", NOW))
    look(store)
    assert [each.review.transaction_id for each in store.arrived] == ["t1"]


def _polled(chosen: Settings) -> Any:
    feedback = chosen.transactions.feedback.model_copy(update={"poll_seconds": 0.1})
    return chosen.transactions.model_copy(update={"feedback": feedback})


def test_a_file_may_name_anomalies(tmp_path: Path) -> None:
    path = tmp_path / "reviews.csv"
    path.write_text("anomaly_id,transaction_id,label,reviewed_at\nff,,1,2024-06-03\n,t1,0,1\nee,t2,1,2\n")
    assert read_reviews(path) == [
        Review("t1", 0, 1), Review("t2", 1, 2), Review("", 1, NOW, "ff"),
    ]  # fmt: skip
    wanted = Settings(transactions={"feedback": {"reviews": str(path)}})
    assert ReviewSources(wanted).feed(None).take(1, NOW) == (Review("t2", 1, 2), Review("", 1, NOW, "ff"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("label,reviewed_at\n", "no column 'transaction_id'"),
        ("transaction_id,label\n", "no column 'reviewed_at'"),
        ("transaction_id,label,reviewed_at\nt1,2,2024-06-03\n", "line 2: a review is transaction_id"),
        ("transaction_id,label,reviewed_at\n,1,2024-06-03\n", "line 2: a review is transaction_id"),
        ("transaction_id,label,reviewed_at\nt1,1,soon\n", "line 2: a review is transaction_id"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "reviews.csv").write_text(text)
    with pytest.raises(UserError, match=said):
        read_reviews(tmp_path / "reviews.csv")


@pytest.mark.parametrize(
    "document",
    [{}, {"transaction_id": 7}, {"label": 1, "reviewed_at": 1}, {"transaction_id": "t", "label": True,
     "reviewed_at": 1}, {"transaction_id": "t", "label": 1}, {"transaction_id": "t" * 300, "label": 1,
     "reviewed_at": 1}],
)  # fmt: skip
def test_what_is_no_review(document: dict[str, Any]) -> None:
    assert review_of(document) is None


def test_the_table_of_reviews_is_the_contracts(tmp_path: Path) -> None:
    path, _ = store_of(tmp_path)
    add_review(path, said("t1", NOW))
    add_review(path, said("t1", NOW))
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT anomaly_id, transaction_id, label FROM reviews").fetchall()
    assert rows == [(None, "t1", 1)]
