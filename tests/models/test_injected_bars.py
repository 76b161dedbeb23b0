"""Injected bars are bars still, and only where the label says so is anything changed."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.injected_bars import APART, CONTEXT, KINDS, inject
from operators.features import FEATURES, BarFeatures
from tapewatch.documents import BAR, vwap
from tapewatch.records import MINUTE, Array
from tests.examples import tried

make: Any = import_module("tests.operators.made_bars")


@settings(max_examples=tried(40), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), detailed=st.booleans())
def test_bars_stay_bars_and_events_apart(seed: int, detailed: bool) -> None:
    bars = make.made_bars(seed, rows=1, count=900, detailed=detailed)
    changed, events = inject(bars, 1 / 60, (2.0, 20.0), np.random.default_rng(seed))
    assert (changed["high"] >= np.maximum(changed["open"], changed["close"])).all()
    assert (changed["low"] <= np.minimum(changed["open"], changed["close"])).all()
    assert (changed["volume"] >= bars["volume"]).all()
    assert (changed["max_size"] <= np.maximum(changed["volume"], 1)).all()
    average = vwap(changed)
    inside = (average >= changed["low"] / 1e9 - 1e-6) & (average <= changed["high"] / 1e9 + 1e-6)
    assert (inside | np.isnan(average)).all()
    assert np.isnan(average).all() == (not detailed)
    for kind, first, last in events:
        assert kind in KINDS
        assert CONTEXT <= first < last < len(bars)
    for (_, _, last), (_, first, _) in pairwise(events):
        assert first - last >= APART
    untouched = np.ones(len(bars), bool)
    for kind, first, last in events:
        untouched[first : len(bars) if kind == "jump" else last] = False
    assert changed[untouched].tobytes() == bars[untouched].tobytes()


def one(kind: str, size: float, seed: int) -> tuple[Array, int, Array]:
    bars = make.made_bars(seed, rows=1, count=600)
    changed, at = bars.copy(), 260
    near = bars[at - 60 : at]
    unit = int(np.median(near["high"] - near["low"]))
    KINDS[kind](changed, at, size, unit, np.random.default_rng(seed))
    return bars, at, changed


@pytest.mark.parametrize(
    ("kind", "feature"),
    [
        ("volume_alone", "volume_given_range"),
        ("range_alone", "range_given_volume"),
        ("spike", "wick"),
        ("jump", "return"),
        ("crash", "range"),
    ],
)
def test_each_kind_is_seen_by_its_feature(kind: str, feature: str) -> None:
    place = FEATURES.index(feature)
    grown = []
    for seed in range(12):
        bars, at, changed = one(kind, 15.0, seed)
        before, after = (
            np.abs(BarFeatures(MINUTE).update(make.whole(b)).values[at, place]) for b in (bars, changed)
        )
        grown.append(after - before)
    assert np.median(grown) > 1.5


def test_a_jump_stays_and_a_crash_does_not() -> None:
    bars, at, changed = one("jump", 10.0, 1)
    moved = (changed["close"] - bars["close"])[at:]
    assert moved[0] != 0
    assert (moved == moved[0]).all()
    bars, at, changed = one("crash", 10.0, 1)
    assert (changed["close"][at : at + 5] < bars["close"][at : at + 5]).all()
    assert changed["close"][at + 6] == bars["close"][at + 6]


def test_too_few_bars_have_no_events() -> None:
    bars = np.zeros(CONTEXT, BAR)
    assert inject(bars, 1.0, (2.0, 3.0), np.random.default_rng(0))[1] == []
