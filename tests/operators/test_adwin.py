"""Our ADWIN detects what River's detects, when River's detects it."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.adwin import Adwin
from tests.examples import tried


def stream(seed: int) -> list[float]:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=int(rng.integers(50, 1500))) * rng.choice([0.1, 1, 5])
    for change in rng.integers(0, len(values), rng.integers(0, 4)):
        values[change:] += 2 * rng.normal()
    return [float(value) for value in values]


@settings(max_examples=tried(40), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), delta=st.sampled_from([0.002, 0.05, 1e-6]))
def test_it_detects_what_river_detects(seed: int, delta: float) -> None:
    from river.drift import ADWIN

    rivers: Any = ADWIN
    ours, theirs = Adwin(delta), rivers(delta=delta)
    for value in stream(seed):
        theirs.update(value)
        found = ours.update(value)
        assert found == theirs.drift_detected
        assert ours.width == theirs.width
        if found:
            # River starts anew with the next value.
            ours = Adwin(delta)


@settings(max_examples=tried(20), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), stop=st.integers(0, 1500))
def test_it_goes_on_from_a_snapshot(seed: int, stop: int) -> None:
    straight, resumed = Adwin(0.002), Adwin(0.002)
    for place, value in enumerate(stream(seed)):
        if place == stop:
            resumed = Adwin(0.002, pickle.loads(pickle.dumps(resumed.snapshot())))
        assert straight.update(value) == resumed.update(value)
    assert straight.snapshot() == resumed.snapshot()


def test_some_changes_are_detected_and_the_state_stays_small() -> None:
    adwin = Adwin(0.002)
    rng = np.random.default_rng(1)
    found = [adwin.update(float(value)) for value in rng.normal(size=20_000)]
    assert sum(found) <= 1
    assert len(pickle.dumps(adwin.snapshot())) < 3_000
    assert any(adwin.update(float(value)) for value in 5 + rng.normal(size=64))
