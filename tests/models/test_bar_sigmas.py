"""A sigma is of the minutes of that time of day, by either reading, and of nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bar_sigmas import READINGS, USUAL, Reading, local_sigmas
from tapewatch.documents import BAR
from tapewatch.records import DAY, MINUTE, Array, Floats
from tests.examples import tried

DAYS, OPENED = 18, 9 * 60
#: Of each day, so many minutes are bars; the middle of the first of them is looked at.
MINUTES = 120


def session(seed: int, heavy: bool = False) -> tuple[Array, Floats]:
    """Return bars of some days whose moves and volume grow twice as large in the second hour."""
    rng = np.random.default_rng(seed)
    bars = np.zeros(DAYS * MINUTES, BAR)
    minute = np.tile(np.arange(MINUTES), DAYS)
    bars["ts_start"] = np.repeat(np.arange(1, DAYS + 1), MINUTES) * DAY + (OPENED + minute) * MINUTE
    usual = rng.standard_t(3, len(bars)) if heavy else rng.normal(size=len(bars))
    moves = usual * np.where(minute < 60, 1e6, 2e6)
    bars["volume"] = np.rint(np.exp(8 + rng.normal(size=len(bars)) * np.where(minute < 60, 0.5, 1.0)))
    return bars, moves


@pytest.mark.parametrize("reading", READINGS)
def test_a_sigma_is_of_normal_moves_what_they_were_made_with(reading: Reading) -> None:
    bars, moves = session(1)
    price, log_volume = local_sigmas(bars, moves, 9 * MINUTES + 25, reading)
    assert price == pytest.approx(1e6, rel=0.15)
    assert log_volume == pytest.approx(0.5, rel=0.15)
    price, log_volume = local_sigmas(bars, moves, 9 * MINUTES + 95, reading)
    assert price == pytest.approx(2e6, rel=0.15)
    assert log_volume == pytest.approx(1.0, rel=0.15)


def test_the_deviation_sees_heavy_tails_and_minutes_that_mostly_stand_still() -> None:
    bars, moves = session(2, heavy=True)
    at = 9 * MINUTES + 25
    deviation, robust = (local_sigmas(bars, moves, at, one)[0] for one in READINGS)
    assert USUAL == READINGS[0] == "deviation"
    assert deviation > 1.2 * robust
    moves[np.random.default_rng(3).random(len(moves)) < 0.6] = 0
    deviation, robust = (local_sigmas(bars, moves, at, one)[0] for one in READINGS)
    assert robust == 1.0  # the least there is
    assert deviation > 5e5


@settings(max_examples=tried(20), deadline=None)
@given(reading=st.sampled_from(READINGS), far=st.floats(1e7, 1e12), seed=st.integers(0, 2**32 - 1))
def test_moves_over_night_and_of_other_hours_count_for_nothing(
    reading: Reading, far: float, seed: int
) -> None:
    bars, moves = session(seed)
    at = 9 * MINUTES + 10
    before = local_sigmas(bars, moves, at, reading)
    moves[::MINUTES] = far
    moves.reshape(DAYS, MINUTES)[:, 26:] *= far
    assert local_sigmas(bars, moves, at, reading) == before


@pytest.mark.parametrize("reading", READINGS)
def test_a_short_series_takes_the_bars_around(reading: Reading) -> None:
    bars, moves = session(4)
    few = bars[:40]
    assert local_sigmas(few, moves[:40], 39, reading)[0] == pytest.approx(1e6, rel=0.5)
    alone = local_sigmas(bars[:1], moves[:1], 0, reading)
    assert alone == (1.0, 0.2)
