"""Injected events leave bars that are bars, and change nothing before they begin."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bar_events import APART, KINDS, NEED_VOLUME, SIZES, SUBTLE, inject
from operators.detector import segments_of_bars
from operators.features import FEATURES, BarFeatures
from tapewatch.records import MINUTE, Array
from tests.examples import tried

make: Any = import_module("tests.operators.made_bars")


def bars(seed: int, count: int = 900) -> Array:
    made: Array = make.made_bars(seed, rows=1, count=count)
    # Without the pauses: a minute after the other.
    made["ts_start"] = made["ts_start"][0] + np.arange(len(made)) * MINUTE
    return made


@settings(max_examples=tried(20), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), volume=st.booleans())
def test_bars_stay_bars_and_events_keep_apart(seed: int, volume: bool) -> None:
    before = bars(seed)
    if not volume:
        before["volume"] = 0
    after, events = inject(before, 200, 1 / 80, np.random.default_rng(seed))
    assert (after["high"] >= np.maximum(after["open"], after["close"])).all()
    assert (after["low"] <= np.minimum(after["open"], after["close"])).all()
    assert (after["volume"] >= 0).all()
    assert not events or after[: events[0].first].tobytes() == before[: events[0].first].tobytes()
    for event in events:
        assert 200 <= event.first < event.last <= len(before)
        assert event.variant in KINDS[event.kind]
        assert SIZES[0] <= event.size <= (SUBTLE if event.kind == "subtle" else SIZES[1])
        assert volume or event.variant not in NEED_VOLUME
    for first, second in pairwise(events):
        assert second.first - first.last >= APART


def test_the_same_seed_gives_the_same_events() -> None:
    told = [inject(bars(3), 200, 1 / 80, np.random.default_rng(9)) for _ in range(2)]
    assert told[0][0].tobytes() == told[1][0].tobytes()
    assert told[0][1] == told[1][1]
    assert told[0][1]


@pytest.mark.parametrize(
    ("variant", "feature"),
    [
        ("volume_without_range", "volume_given_range"),
        ("range_without_volume", "range_given_volume"),
        ("level_shift", "return"),
        ("busy", "range"),
    ],
)
def test_large_events_are_seen_in_their_feature(variant: str, feature: str) -> None:
    from models.bar_events import Place

    before = bars(5)
    after, at = before.copy(), 500
    sigma = float(np.median(np.abs(np.diff(before["close"]))) * 1.5)
    (change,) = (variants[variant] for variants in KINDS.values() if variant in variants)
    change(after, Place(at, sigma, 0.6, np.random.default_rng(1)), 25.0)
    column = FEATURES.index(feature)
    clean, seen = (
        np.abs(BarFeatures(MINUTE).update(segments_of_bars(part, [""])).values[:, column])
        for part in (before, after)
    )
    assert seen[at] > np.nanquantile(clean, 0.999)
