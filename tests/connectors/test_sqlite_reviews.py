"""Reviews: kept once, listed newest first, and only of what is there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import asdict, fields, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sqlite import SqliteWriter
from connectors.sqlite_reviews import Review, add_review
from connectors.sqlite_upkeep import wipe
from connectors.store_questions import review_cursor
from connectors.store_sqlite import SqliteStore
from tapewatch.errors import UserError
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")

IDS = [f"{number:032x}" for number in range(3)]
REVIEW = Review(IDS[0], 1, "ana", "a real burst", make.MONDAY)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return filled(tmp_path)


def filled(folder: Path) -> Path:
    path = folder / "results.db"
    with SqliteWriter(path) as writer:
        writer.write([make.results(anomalies=[make.anomaly(number) for number in range(3)])])
    return path


def kept(path: Path, **asked: Any) -> list[Review]:
    with SqliteStore(path) as store:
        rows = store.reviews(of_anomalies=True, **asked)
    return [Review(*(row[field.name] for field in fields(Review))) for row in rows]


def test_a_review_told_twice_is_one(path: Path) -> None:
    others = [
        replace(REVIEW, reviewer=None), replace(REVIEW, reviewed_at=1), replace(REVIEW, anomaly_id=IDS[1])
    ]  # fmt: skip
    for review in [REVIEW, REVIEW, *others, *others]:
        assert add_review(path, review)
    assert sorted(kept(path), key=repr) == sorted([REVIEW, *others], key=repr)


def test_a_word_of_the_same_person_and_moment_is_a_correction(path: Path) -> None:
    corrected = replace(REVIEW, label=0, notes=None)
    for review in (REVIEW, corrected):
        assert add_review(path, review)
    assert kept(path) == [corrected]


def test_nothing_is_kept_of_what_is_not_there(path: Path) -> None:
    assert not add_review(path, replace(REVIEW, anomaly_id="f" * 32))
    assert kept(path) == []


def test_reviews_outlive_results_and_others_tables_stay(path: Path) -> None:
    add_review(path, REVIEW)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO reviews (transaction_id, label, reviewed_at) VALUES ('t1', 0, 5)")
    wipe(path)
    assert kept(path) == [REVIEW]


@settings(max_examples=tried(25), deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(IDS), st.sampled_from(["", "ana", "bo", None]), st.integers(0, 3)),
        max_size=15,
        unique=True,
    ),
    st.none() | st.sampled_from(IDS),
    st.integers(1, 4),
)
def test_pages_together_are_all_newest_first(
    tmp_path_factory: pytest.TempPathFactory,
    told: list[tuple[str, str | None, int]],
    anomaly_id: str | None,
    limit: int,
) -> None:
    path = filled(tmp_path_factory.mktemp("reviews"))
    reviews = [Review(name, 1, reviewer, None, time) for name, reviewer, time in told]
    for review in reviews:
        add_review(path, review)
    found, after = [], None
    while page := kept(path, anomaly_id=anomaly_id, after=after, limit=limit):
        assert len(page) <= limit
        found += page
        after = review_cursor(asdict(page[-1]))
    expected = [review for review in reviews if anomaly_id in (None, review.anomaly_id)]
    expected.sort(key=lambda r: (-r.reviewed_at, r.anomaly_id, r.reviewer is not None, r.reviewer or ""))
    assert found == expected


def test_a_store_that_cannot_be_used_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    path.write_text("this is no database, but a text")
    with pytest.raises(UserError, match="is not a SQLite database"):
        add_review(path, REVIEW)
