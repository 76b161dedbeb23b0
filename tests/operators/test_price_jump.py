"""Price jumps are held against the volatility of the windows before, and not across breaks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.detector import segments_of_bars
from operators.price_jump import PriceJump
from tapewatch.documents import BAR
from tapewatch.records import HOUR, LARGEST_PRICE, MINUTE, Array
from tests.examples import tried

MONDAY = 19_877 * 24 * HOUR
TICK = 10_000_000


def bars(closes: Any, starts: Any = None, row: int = 0) -> Array:
    """Return one bar a minute, or at these minutes, that opens at the close before."""
    closes = np.asarray(closes, np.int64)
    made = np.zeros(len(closes), BAR)
    made["row"], made["close"] = row, closes
    made["open"][1:], made["open"][:1] = closes[:-1], closes[:1]
    made["ts_start"] = MONDAY + np.asarray(range(len(closes)) if starts is None else starts) * MINUTE
    return made


def scored(made: Array, after_break: Any = None, cuts: Any = (), **settings: Any) -> Array:
    logic = PriceJump(**settings).build(None)
    parts = np.split(np.arange(len(made)), sorted(min(cut, len(made)) for cut in cuts))
    found = []
    for part in parts:
        if len(part):
            touched = None if after_break is None else np.asarray(after_break)[part]
            found.append(logic.score(segments_of_bars(made[part], ["SYM1"], touched)).score)
    return np.concatenate(found)


@settings(max_examples=tried(30), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 150), max_size=6),
    level=st.sampled_from([10**11, 0, -(10**9), LARGEST_PRICE - 10**12]),
)
def test_scores_follow_the_definition(seed: int, cuts: list[int], level: int) -> None:
    rng = np.random.default_rng(seed)
    closes = level + np.cumsum(rng.integers(-4, 5, 150)) * TICK
    minutes = np.cumsum(rng.choice([1, 1, 1, 2, 40], 150))
    broken = rng.random(150) < 0.05
    found = scored(bars(closes, minutes), broken, cuts)
    pauses: list[int] = [30]
    changes: list[int] = []
    step = 2**62
    assert np.isnan(found[0])
    for i in range(1, 150):
        pause, size = int(minutes[i] - minutes[i - 1]), abs(int(closes[i] - closes[i - 1]))
        compared = pause * len(pauses[-30:]) <= 3 * sum(pauses[-30:]) and not broken[i]
        used = [change for change in ([-1] * 30 + changes)[-30:] if change >= 0]
        if len(used) < 10:
            assert np.isnan(found[i])
        elif not compared:
            assert found[i] == 0
        else:
            finest = max(step if step < 2**62 else 0, 5e-5 * abs(int(closes[i - 1])) + 1.0)
            sigma = max(1.2533141373155001 * sum(used) / len(used), finest)
            assert found[i] == pytest.approx(size / (sigma * np.sqrt(min(pause, 30))), rel=1e-12)
        changes.append(round(size / np.sqrt(min(pause, 30))) if compared else -1)
        if compared and size:
            step = min(step, size)
        pauses.append(min(pause, 30))


def test_a_jump_stands_out_and_says_where_it_came_from() -> None:
    rng = np.random.default_rng(1)
    closes = 10**11 + np.cumsum(rng.integers(-3, 4, 80)) * TICK
    closes[70:] += 60 * TICK
    made = bars(closes)
    logic = PriceJump().build(None)
    scores = logic.score(segments_of_bars(made, ["SYM1"]))
    assert int(np.nanargmax(scores.score)) == 70
    told = logic.explain(made[70], "SYM1", scores, 70, 4.0)
    assert told.contributions == {"within_window": 1.0, "between_windows": 0.0}
    assert told.reason.startswith("SYM1 moved up 0.6")
    assert told.reason.endswith("mostly within the window")
    made["open"][70] = made["close"][70]
    told = logic.explain(made[70], "SYM1", scores, 70, 4.0)
    assert told.contributions == {"within_window": 0.0, "between_windows": 1.0}
    assert told.reason.endswith("mostly between two windows")


def test_the_first_window_after_a_night_or_a_break_is_not_judged() -> None:
    rng = np.random.default_rng(2)
    closes = 10**11 + np.cumsum(rng.integers(-3, 4, 160)) * TICK
    closes[80:] += 500 * TICK
    night = np.concatenate([np.arange(80), np.arange(80) + 1_440])
    assert scored(bars(closes, night))[80] == 0
    broken = np.zeros(160, bool)
    broken[80] = True
    assert scored(bars(closes), broken)[80] == 0
    assert scored(bars(closes))[80] > 50
    # What lies across the break is not learned either.
    assert scored(bars(closes), broken)[81:].max() == pytest.approx(
        scored(bars(np.concatenate([closes[:80], closes[80:] - 500 * TICK])), broken)[81:].max()
    )


def test_a_limit_holds_within_the_session_only() -> None:
    closes = np.full(100, 10**11)
    closes[5:] += 10**9 * 2
    made = bars(closes)
    logic = PriceJump(limits={"*": 1.5}).build(None)
    scores = logic.score(segments_of_bars(made, ["SYM1"]))
    assert scores.forced is not None
    assert np.flatnonzero(scores.forced).tolist() == [5]
    told = logic.explain(made[5], "SYM1", scores, 5, np.inf)
    assert told.reason.endswith("and over the limit of 1.5 %")
    broken = np.zeros(100, bool)
    broken[5] = True
    scores = PriceJump(limits={"*": 1.5}).build(None).score(segments_of_bars(made, ["SYM1"], broken))
    assert scores.forced is not None
    assert not scores.forced.any()


def test_the_parts_are_windows_and_prints() -> None:
    assert [part.id for part in PriceJump().parts] == ["price_jump", "price_jump.bad_ticks"]
    assert [part.id for part in PriceJump(bad_ticks=False).parts] == ["price_jump"]
