"""Tail probabilities follow the instrument's own bars, and a prior where these say nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.tail_tables import BINS, BLOCK, TailTables, bins_of, prior_of
from tapewatch.records import Array
from tests.examples import tried

PRIOR = prior_of(bins_of(np.random.default_rng(0).exponential(size=(20_000, 2)).astype(np.float32)))
ROW = np.zeros(1, np.int64)


def decades(values: Array, cuts: list[int], weight: float = 50.0) -> Array:
    tables, parts = TailTables(PRIOR, weight), []
    for part in np.split(bins_of(values), sorted(min(cut, len(values)) for cut in cuts)):
        parts.append(tables.decades(ROW, np.array([0, len(part)]), part, learn=True))
        tables = TailTables(PRIOR, weight, tables.snapshot())
    return np.concatenate(parts)


@settings(max_examples=tried(15), deadline=None)
@given(seed=st.integers(0, 1_000), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_no_cut_changes_a_bit(seed: int, cuts: list[int]) -> None:
    values = np.random.default_rng(seed).exponential(size=(400, 2)).astype(np.float32)
    assert decades(values, []).tobytes() == decades(values, cuts).tobytes()


def test_what_one_instrument_often_shows_is_not_rare_for_it() -> None:
    rng = np.random.default_rng(1)
    values = rng.exponential(size=(2_000, 2)).astype(np.float32)
    values[:, 1] *= 8
    told = decades(values, [])
    assert told[:BLOCK, 1].mean() > 2 * told[:BLOCK, 0].mean()
    last = told[1_500:]
    assert abs(last[:, 1].mean() - last[:, 0].mean()) < 0.1
    # -log10 of a uniform tail probability has this mean, but for what bins take away.
    assert abs(last[:, 0].mean() - 1 / np.log(10)) < 0.1


def test_the_prior_falls_and_what_was_never_seen_is_rarer_the_further_away() -> None:
    assert (np.diff(PRIOR, axis=1) <= 0).all()
    assert PRIOR.shape == (2, BINS)
    far = np.array([[6.0, 6.0], [20.0, 20.0], [60.0, 60.0]], np.float32)
    told = TailTables(PRIOR, 50.0).decades(ROW, np.array([0, 3]), bins_of(far), learn=False)
    assert (np.diff(told, axis=0) > 0).all()
