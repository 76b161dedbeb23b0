"""High volume: hours with few trades and hours with many are each measured by their own kind."""

from __future__ import annotations

import numpy as np
import pytest

from operators.detector import segments_of_bars
from operators.high_volume import HighVolume
from tapewatch.documents import BAR
from tapewatch.records import DAY, HOUR, MINUTE, Array, Floats

_MONDAY = 19_877 * DAY
_OPENS, _CLOSES = 13 * 60 + 30, 20 * 60


def day(rng: np.random.Generator, number: int) -> Array:
    """Return minute bars of one instrument: few and small before the opening, then one a minute and large."""
    early = np.sort(rng.choice(np.arange(11 * 60, _OPENS), 20, replace=False))
    minutes = np.concatenate([early, np.arange(_OPENS, _CLOSES)])
    bars = np.zeros(len(minutes), BAR)
    bars["ts_start"] = _MONDAY + number * DAY + minutes * MINUTE
    usual = np.where(minutes < _OPENS, 300.0, 20_000.0 * (1 + 2 * np.exp(-(minutes - _OPENS) / 12)))
    bars["volume"] = usual * np.exp(rng.normal(0, 0.5, len(minutes)))
    bars["trades"], bars["detailed"] = np.maximum(bars["volume"] // 150, 1), True
    return bars


def scored(*parts: Array) -> list[Floats]:
    logic = HighVolume().build(None)
    return [logic.score(segments_of_bars(part, ["SYM1"])).score for part in parts]


@pytest.mark.parametrize("seed", range(5))
def test_an_opening_like_the_day_before_is_nothing_unusual(seed: int) -> None:
    rng = np.random.default_rng(seed)
    first, second = scored(day(rng, 0), day(rng, 1))
    # On the first day nobody can know.
    assert np.nanmax(first[20:25]) > 3.5
    assert np.nanmax(np.abs(second[20:25])) < 4.0


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("at", [5, 15, 20, 200])
def test_ten_times_the_usual_is_unusual_at_any_hour_of_the_second_day(seed: int, at: int) -> None:
    rng = np.random.default_rng(seed)
    second = day(rng, 1)
    hour = second["ts_start"] // HOUR == second["ts_start"][at] // HOUR
    second["volume"][at] = 20 * np.median(second["volume"][hour])
    assert scored(day(rng, 0), second)[1][at] > 3.0
