"""Bad ticks are what the definition says, print by print."""

from __future__ import annotations

from importlib import import_module
from statistics import median
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bad_ticks import BadTicks
from operators.price_jump import PriceJump
from tapewatch.records import DAY, MINUTE, SECOND, TRADE, Array
from tests.examples import tried

fed: Any = import_module("tests.operators.detector_feed")
TICK = 10_000_000


def prints(prices: Any, step_ns: int = SECOND) -> Array:
    """Return trades of one instrument at these prices, in ticks."""
    records = np.zeros(len(prices), TRADE)
    records["instrument_id"], records["action"], records["size"] = 1, b"T", 100
    records["ts_recv"] = 19_877 * DAY + 14 * 60 * MINUTE + np.arange(len(prices)) * step_ns
    records["ts_event"] = records["ts_recv"]
    records["price"] = np.asarray(prices, np.int64) * TICK
    return records


def walk(seed: int, count: int) -> Any:
    rng = np.random.default_rng(seed)
    return 10_000 + np.cumsum(rng.integers(-1, 2, count)) + rng.integers(-2, 3, count)


def scored(records: Array) -> dict[int, float]:
    """Return the score of each print that has one, by the definition."""
    price = records["price"].tolist()
    times = records["ts_recv"].astype(np.int64).tolist()
    distances: list[int] = [0] * 10
    found = {}
    for i in range(5, len(price) - 5):
        before, after = int(median(price[i - 5 : i])), int(median(price[i + 1 : i + 6]))
        whole = len(distances) // 64
        past = distances[max(0, whole - 8) * 64 : whole * 64]
        outside = max(price[i] - max(before, after), min(before, after) - price[i])
        if whole and outside > 0 and times[i + 1] - times[i] <= 10 * MINUTE:
            usual = sum(past) / max(1, sum(d > 0 for d in past))
            found[times[i]] = outside / max(usual, 5e-5 * abs(before) + 1.0)
        distances.append(abs(price[i] - before))
    return found


@settings(max_examples=tried(20), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 900), max_size=9))
def test_scores_follow_the_definition(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    records = prints(walk(seed, 900))
    records["price"][rng.integers(300, 890, 5)] += 60 * TICK
    records["ts_recv"][600:] += np.uint64(30 * MINUTE)
    records["ts_event"] = records["ts_recv"]
    # The definition counts the first ten places of an instrument, where there is no window yet, as 0.
    wanted = scored(records)
    said = {place[1]: score for place, (score, _) in fed.Feed(BadTicks()).feed(records, cuts).said.items()}
    assert said.keys() == wanted.keys()
    for at, score in wanted.items():
        assert said[at] == pytest.approx(score, rel=1e-12)


def worst(records: Array) -> tuple[float, int]:
    said = fed.Feed(BadTicks()).feed(records).said
    return max((score, place[1]) for place, (score, _) in said.items())


@pytest.mark.parametrize("length", [1, 2, 3])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_short_burst_far_off_stands_out(length: int, sign: int) -> None:
    prices = walk(4, 1_000)
    prices[700 : 700 + length] += sign * 200
    score, at = worst(prints(prices))
    assert score > 50
    assert 700 <= (at - 19_877 * DAY - 14 * 60 * MINUTE) // SECOND < 700 + length


def test_a_price_that_moves_and_stays_is_no_bad_tick() -> None:
    prices = walk(4, 1_000)
    prices[700:] += 200
    assert worst(prints(prices))[0] < BadTicks.least


def test_a_limit_holds_whatever_is_usual() -> None:
    prices = walk(4, 1_000)
    prices[400] += 60
    records = prints(prices)
    _, ticks = PriceJump(bad_tick_limits={"SYM1": 0.5}).parts
    forced = [place[1] for place, (_, forced) in fed.Feed(ticks).feed(records).said.items() if forced]
    assert forced == [int(records["ts_event"][400])]
    _, others = PriceJump(bad_tick_limits={"SYM2": 0.1}).parts
    assert not any(forced for _, forced in fed.Feed(others).feed(records).said.values())


def test_a_limit_holds_before_anything_is_usual() -> None:
    prices = np.full(40, 10_000)
    prices[20] = 10_080
    _, ticks = PriceJump(bad_tick_limits={"*": 0.5}).parts
    ((score, forced),) = fed.Feed(ticks).feed(prints(prices), [23]).said.values()
    assert forced
    assert np.isnan(score)
    assert fed.Feed(BadTicks()).feed(prints(prices)).said == {}


def test_the_reason_gives_the_prices_on_both_sides() -> None:
    prices = np.full(400, 10_000)
    prices[::7] += 1
    prices[300] = 10_250
    (told,) = [
        told for told, score in fed.Feed(BadTicks(), 20.0).feed(prints(prices)).explained if score > 20
    ]
    assert told.reason == (
        "A trade of 100 SYM1 at 102.5, 2.5 % off: trades before were at 100, those after at 100"
    )
    assert (told.observed, told.expected) == (102.5, 100.0)
    assert told.contributions == {"distance_before": 0.5, "distance_after": 0.5}


def test_who_has_no_limit_has_none_at_a_price_of_zero() -> None:
    prices = np.zeros(40, np.int64)
    prices[20] = 80
    _, ticks = PriceJump(bad_tick_limits={"SYM2": 0.5}).parts
    assert fed.Feed(ticks).feed(prints(prices), [23]).said == {}
