"""Reviews: kept once, listed newest first, and only of what is there."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sqlite import SqliteWriter
from connectors.sqlite_reviews import Review, add_review, review_page
from connectors.sqlite_upkeep import wipe
from tapewatch.errors import UserError

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


def test_a_review_told_twice_is_one(path: Path) -> None:
    others = [
        replace(REVIEW, label=0), replace(REVIEW, reviewer=None), replace(REVIEW, notes=None),
        replace(REVIEW, reviewed_at=1), replace(REVIEW, anomaly_id=IDS[1]),
        replace(REVIEW, reviewer=None, notes=None),
    ]  # fmt: skip
    for review in [REVIEW, REVIEW, *others, *others]:
        assert add_review(path, review)
    found = [row.review for row in review_page(path)]
    assert sorted(found, key=repr) == sorted([REVIEW, *others], key=repr)


def test_nothing_is_kept_of_what_is_not_there(path: Path) -> None:
    assert not add_review(path, replace(REVIEW, anomaly_id="f" * 32))
    assert review_page(path) == []


def test_reviews_outlive_results_and_others_tables_stay(path: Path) -> None:
    add_review(path, REVIEW)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO reviews (transaction_id, label, reviewed_at) VALUES ('t1', 0, 5)")
    wipe(path)
    assert [row.review for row in review_page(path)] == [REVIEW]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(IDS), st.integers(0, 1), st.integers(0, 3)), max_size=15, unique=True),
    st.none() | st.sampled_from(IDS),
    st.integers(1, 4),
)
def test_pages_together_are_all_newest_first(
    tmp_path_factory: pytest.TempPathFactory,
    told: list[tuple[str, int, int]],
    anomaly_id: str | None,
    limit: int,
) -> None:
    path = filled(tmp_path_factory.mktemp("reviews"))
    reviews = [Review(name, label, None, None, time) for name, label, time in told]
    for review in reviews:
        add_review(path, review)
    found, after = [], None
    while page := review_page(path, anomaly_id=anomaly_id, after=after, limit=limit):
        assert len(page) <= limit
        found += [row.review for row in page]
        after = page[-1].place
    expected = [review for review in reviews if anomaly_id in (None, review.anomaly_id)]
    expected.reverse()
    assert found == sorted(expected, key=lambda review: -review.reviewed_at)


def test_a_store_that_cannot_be_used_is_told_of(tmp_path: Path) -> None:
    path = tmp_path / "results.db"
    with pytest.raises(UserError, match="run the flow first"):
        review_page(path)
    path.write_text("this is no database, but a text")
    with pytest.raises(UserError, match="is not a SQLite database"):
        add_review(path, REVIEW)
