"""Sums are exact, however large, and partial bars combine to the whole ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.aggregate import aggregate, combine
from tapewatch.documents import BAR, vwap
from tapewatch.records import LARGEST_PRICE, TRADE, UNDEF_SIZE, Array
from tests.examples import tried

trade = st.tuples(
    st.integers(0, 1), st.integers(-LARGEST_PRICE + 1, LARGEST_PRICE - 1), st.integers(1, UNDEF_SIZE - 1),
    st.sampled_from([b"A", b"B", b"N"]),
)  # fmt: skip


def trades_of(rows: list[tuple[int, int, int, bytes]]) -> tuple[Array, Array, Array]:
    records = np.zeros(len(rows), TRADE)
    starts = np.sort(np.array([row[0] for row in rows], np.int64))
    for i, (_, price, size, side) in enumerate(rows):
        records["price"][i], records["size"][i], records["side"][i] = price, size, side
    return records, np.zeros(len(rows), np.int32), starts


@settings(max_examples=tried(200), deadline=None)
@given(rows=st.lists(trade, min_size=1, max_size=40), cut=st.integers(0, 40))
def test_sums_are_exact_and_parts_make_the_whole(rows: list[tuple[int, int, int, bytes]], cut: int) -> None:
    records, row, start = trades_of(rows)
    whole = aggregate(records, row, start)
    for bar in whole:
        part = records[start == bar["ts_start"]]
        exact = sum(int(p) * int(s) for p, s in zip(part["price"], part["size"], strict=True))
        assert (int(bar["notional_high"]) << 32) + int(bar["notional_low"]) == exact
        assert 0 <= bar["notional_low"] < 2**32
        assert bar["volume"] == sum(part["size"].tolist())
        assert bar["buy_volume"] == sum(part["size"][part["side"] == b"B"].tolist())
        assert (bar["open"], bar["close"]) == (part["price"][0], part["price"][-1])
    cut = min(cut, len(records))
    halves = [
        aggregate(records[p], row[p], start[p]) for p in (slice(cut), slice(cut, None)) if len(records[p])
    ]
    assert combine(np.concatenate(halves)).tobytes() == whole.tobytes()


def test_the_average_price_is_the_nearest_decimal_of_the_exact_one() -> None:
    records, row, start = trades_of([(0, 100_010_000_000, 3, b"B"), (0, 100_020_000_000, 1, b"A")])
    assert vwap(aggregate(records, row, start)).tolist() == [pytest.approx(100.0125, abs=1e-12)]


def test_combining_nothing_or_one_changes_nothing() -> None:
    assert len(combine(np.empty(0, BAR))) == 0
    one = np.zeros(1, BAR)
    assert combine(one) is one
