"""Injected events leave bars that are bars, and change nothing before they begin."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bar_events import APART, KINDS, NEED_VOLUME, SIZES, SUBTLE, Place, inject
from models.bar_sigmas import READINGS, local_sigmas
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


def test_the_reading_of_a_sigma_changes_how_far_events_go_and_nothing_else() -> None:
    before = bars(4)
    (far, events), (near, same) = (
        inject(before, 200, 1 / 80, np.random.default_rng(5), ("pattern",), reading=one) for one in READINGS
    )
    assert [(e.variant, e.first, e.size) for e in events] == [(e.variant, e.first, e.size) for e in same]
    moves = np.diff(before["close"], prepend=before["close"][:1]).astype(float)
    for event in events:
        if event.variant == "level_shift":
            at = event.first
            for one, after in zip(READINGS, (far, near), strict=True):
                shift = np.diff(after["close"] - before["close"])[at - 1]
                sigma = local_sigmas(before, moves, at, one)[0]
                assert abs(shift) == pytest.approx(event.size * sigma, abs=1)
    assert any(event.variant == "level_shift" for event in events)
    assert far.tobytes() != near.tobytes()


def test_the_same_seed_gives_the_same_events() -> None:
    told = [inject(bars(3), 200, 1 / 80, np.random.default_rng(9)) for _ in range(2)]
    assert told[0][0].tobytes() == told[1][0].tobytes()
    assert told[0][1] == told[1][1]
    assert told[0][1]


@settings(max_examples=tried(20), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.floats(0.5, 30.0))
def test_a_flash_crash_falls_by_its_size_in_sigmas_of_its_fall_and_comes_back_on_volume(
    seed: int, size: float
) -> None:
    before, at, sigma, log_volume = bars(7), 500, 1e9, 0.1
    before["close"] += 10**12
    for name in ("open", "high", "low"):
        before[name] += 10**12
    after = before.copy()
    last = KINDS["collective"]["flash_crash"](
        after, Place(at, sigma, log_volume, np.random.default_rng(seed)), size
    )
    moved = (before["close"] - after["close"])[at : last + 1].astype(float)
    fall = int(moved.argmax()) + 1
    assert 2 <= fall < last - at <= 10
    assert moved.max() == pytest.approx(size * sigma * np.sqrt(fall), rel=1e-6)
    assert abs(moved[-2:]).max() <= 1
    assert (np.diff(moved[:fall]) > 0).all()
    assert (np.diff(moved[fall - 1 : -1]) < 0).all()
    grown = after["volume"][at:last] / np.maximum(before["volume"][at:last], 1)
    busy = before["volume"][at:last] > 1_000
    assert grown[busy] == pytest.approx(np.exp(size * log_volume), rel=1e-2)


@pytest.mark.parametrize("variant", ["flash_crash", "jump_on_volume", "busy"])
def test_collective_events_move_volume_by_their_size(variant: str) -> None:
    before = bars(5)
    before["volume"] = 10_000
    after, at = before.copy(), 500
    last = KINDS["collective"][variant](after, Place(at, 1e8, 0.5, np.random.default_rng(2)), 4.0)
    assert last - at >= 3
    assert after["volume"][at:last] == pytest.approx(np.full(last - at, 10_000 * np.exp(2.0)), abs=1)
    assert (after["volume"][last:] == 10_000).all()


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
