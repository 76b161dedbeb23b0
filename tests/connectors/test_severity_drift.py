"""Drift of severities: what it sees, what it does not mind, and that it stays small."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from connectors.severity_drift import BINS, Drift, counted, jensen_shannon
from tapewatch.records import HOUR, MINUTE, Array
from tests.examples import tried

_counts = hnp.arrays(np.int64, BINS, elements=st.integers(0, 1000)).filter(lambda counts: counts.sum() > 0)


def drifted(rng: np.random.Generator, before: tuple[float, float], after: tuple[float, float]) -> float:
    drift = Drift()
    for hour in range(40):
        mean, spread = after if hour >= 39 else before
        for part in range(12):
            values = np.clip(rng.normal(mean, spread, 25), 0, 100)
            drift.add(values, hour * HOUR + part * 5 * MINUTE)
    assert drift.divergence is not None
    return drift.divergence


def test_what_stays_as_it_was_is_below_the_alert_and_what_changes_above() -> None:
    rng = np.random.default_rng(1)
    for spread in (5.0, 15.0, 40.0):
        assert drifted(rng, (70, spread), (70, spread)) < 0.05
    assert drifted(rng, (60, 10), (80, 10)) > 0.3
    assert drifted(rng, (70, 5), (70, 20)) > 0.2
    # The order of magnitude that chance alone has, as the page says.
    assert 0.002 < drifted(rng, (50, 25), (50, 25)) < 0.04


def test_nothing_is_told_of_too_little() -> None:
    drift = Drift()
    for number in range(19 * 20):
        drift.add(np.array([50.0]), number * HOUR)
        assert drift.divergence is None
    # Many at one moment are one block.
    burst = Drift()
    for _ in range(1000):
        burst.add(np.full(20, 50.0), HOUR)
    assert burst.divergence is None


def test_memory_is_bounded_and_the_past_forgotten() -> None:
    drift = Drift()
    for number in range(1000):
        drift.add(np.full(20, 10.0 if number < 500 else 90.0), number * 5 * MINUTE)
    assert drift.divergence == 0
    assert len(drift._blocks) == 110


def test_a_clock_that_runs_back_begins_a_stretch_anew() -> None:
    drift = Drift()
    for clock in [*range(0, 600, 5), *range(0, 600, 5)]:
        drift.add(np.full(20, 50.0), clock * MINUTE)
    assert drift.divergence == 0


@settings(max_examples=tried(40), deadline=None)
@given(_counts, _counts)
def test_the_divergence_is_one(first: Array, second: Array) -> None:
    p, q = first / first.sum(), second / second.sum()
    value = jensen_shannon(p, q)
    assert 0 <= value <= 1 + 1e-12
    assert value == pytest.approx(jensen_shannon(q, p), abs=1e-12)
    assert jensen_shannon(p, p) == 0
    apart = not (np.minimum(first, second) > 0).any()
    assert (value > 1 - 1e-9) == apart


@settings(max_examples=tried(30), deadline=None)
@given(hnp.arrays(np.float64, st.integers(0, 60), elements=st.floats(0, 100)), st.integers(1, 40))
def test_each_severity_is_in_one_bin(values: Array, bins: int) -> None:
    found = counted(values, bins)
    assert len(found) == bins
    assert found.sum() == len(values)
