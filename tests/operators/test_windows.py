"""Windows beside each other say the same as each by itself."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.windows import SlidingWindows, median_and_spread, quantile
from tests.examples import tried


@settings(max_examples=tried(60), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), rows=st.integers(1, 4), span=st.integers(1, 9))
def test_windows_and_sums_are_those_of_each_row(seed: int, rows: int, span: int) -> None:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 7, rows)
    past, new = (
        rng.integers(-(2**40), 2**40, (rows, span, 2)),
        rng.integers(-(2**40), 2**40, (lengths.sum(), 2)),
    )
    windows = SlidingWindows(lengths, span)
    joined = windows.join(past, new)
    seen, sums, kept = windows.of(joined), windows.sums(joined), windows.kept(joined)
    place = 0
    for row, length in enumerate(lengths):
        line = np.concatenate([past[row], new[place : place + length]])
        for i in range(length):
            before = line[i : i + span]
            assert seen[:, place + i].T.tolist() == before.tolist()
            assert sums[:, place + i].tolist() == before.sum(axis=0).tolist()
            assert windows.sums(joined, 1)[:, place + i].tolist() == before[-1].tolist()
        assert kept[row].tolist() == line[-span:].tolist()
        place += length


def test_sums_that_overflow_on_the_way_are_right() -> None:
    windows = SlidingWindows(np.array([4]), 1)
    large = 2**62
    joined = windows.join(np.full((1, 1, 1), large), np.full((4, 1), large))
    assert windows.sums(joined).tolist() == [[large] * 4]


@settings(max_examples=tried(60), deadline=None)
@given(values=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=30), unknown=st.integers(0, 5))
def test_spread_is_robust_and_ignores_what_is_unknown(values: list[float], unknown: int) -> None:
    window = np.array([[*values, *[np.nan] * unknown]], np.float32)
    rng = np.random.default_rng(0)
    rng.shuffle(window, axis=1)
    count, middle, spread = median_and_spread(window.copy())
    assert count[0] == len(values)
    ordered = sorted(np.float32(value) for value in values)
    assert middle[0] == ordered[(len(values) - 1) // 2]
    away = np.sort(np.abs(np.array(values, np.float32) - middle[0]))
    assert spread[0] >= 1.48 * away[(len(values) - 1) // 2] - 1e-3
    assert spread[0] <= 1.49 * away[-1] + 1e-3


def test_quantile_of_nothing_does_not_fail() -> None:
    assert np.isnan(quantile(np.full((1, 3), np.nan), np.array([0]), 8))[0]
