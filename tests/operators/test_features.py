"""Features see only the past, bit for bit the same for any cut, and say what they are named after."""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bar_shapes import NEED_TRADES
from operators.detector import Segments, segments_of_bars
from operators.features import FEATURES, LARGEST, BarFeatures
from tapewatch.records import LARGEST_PRICE, MINUTE, UNDEF_SIZE, Array
from tests.examples import tried

make: Any = import_module("tests.operators.made_bars")
cut_up, made_bars, whole = make.cut_up, make.made_bars, make.whole

cuts = st.lists(st.integers(0, 2500), max_size=12)
seeds = st.integers(0, 2**32 - 1)


def features_in_parts(bars: Array, at: list[int], *, resume: bool) -> list[Array]:
    maker = BarFeatures(MINUTE)
    found = [np.full((len(bars), len(FEATURES)), np.nan) for _ in range(3)]
    for segments, place in cut_up(bars, at):
        told = maker.update(segments)
        for out, part in zip(found, (told.values, told.observed, told.expected), strict=True):
            out[place] = part
        if resume:
            maker = BarFeatures(MINUTE, pickle.loads(pickle.dumps(maker.snapshot())))
    return found


@settings(max_examples=tried(40), deadline=None)
@given(seed=seeds, rows=st.integers(1, 4), at=cuts, resume=st.booleans())
def test_any_cut_and_resume_gives_the_same_bits(seed: int, rows: int, at: list[int], resume: bool) -> None:
    bars = made_bars(seed, rows, detailed=None)
    wanted, found = features_in_parts(bars, [], resume=False), features_in_parts(bars, at, resume=resume)
    for left, right in zip(wanted, found, strict=True):
        assert left.tobytes() == right.tobytes()


@settings(max_examples=tried(20), deadline=None)
@given(seed=seeds)
def test_an_instrument_does_not_see_the_others(seed: int) -> None:
    bars = made_bars(seed, 4)
    together = BarFeatures(MINUTE).update(whole(bars)).values
    for row in range(4):
        mine = bars["row"] == row
        assert BarFeatures(MINUTE).update(whole(bars[mine])).values.tobytes() == together[mine].tobytes()


def test_a_long_batch_is_worked_on_in_pieces_that_do_not_show() -> None:
    bars = made_bars(3, rows=2, count=3000)
    wanted, found = (features_in_parts(bars, at, resume=False) for at in ([], [40, 900, 7000]))
    assert wanted[0].tobytes() == found[0].tobytes()


def test_an_unfinished_bar_changes_nothing() -> None:
    bars = made_bars(5)
    maker = BarFeatures(MINUTE)
    *most, (last, _) = cut_up(bars, [100, 1100])
    for segments, _ in most:
        maker.update(segments)
    before = pickle.dumps(maker.snapshot())
    first = Segments(
        last.rows,
        np.arange(len(last.rows) + 1),
        last.items[last.starts[:-1]],
        last.times[last.starts[:-1]],
        last.names,
    )
    shown = maker.update(first, learn=False).values
    assert pickle.dumps(maker.snapshot()) == before
    assert shown.tobytes() == maker.update(last).values[last.starts[:-1]].tobytes()


def test_a_snapshot_does_not_change_later() -> None:
    bars = made_bars(6)
    maker = BarFeatures(MINUTE)
    (first, _), (second, _) = cut_up(bars, [200])
    maker.update(first)
    held = maker.snapshot()
    before = pickle.dumps(held)
    maker.update(second)
    assert pickle.dumps(held) == before


def test_state_is_small_and_does_not_grow() -> None:
    maker = BarFeatures(MINUTE)
    sizes = []
    for segments, _ in cut_up(made_bars(1, rows=50, count=400), [500, 900, 3000]):
        maker.update(segments)
        sizes.append(len(pickle.dumps(maker.snapshot())))
    assert sizes[-1] == sizes[1]
    assert sizes[-1] / 50 < 5_000


def test_it_warms_up_and_then_tells() -> None:
    told = BarFeatures(MINUTE).update(whole(made_bars(2, rows=1)))
    unknown = np.isnan(told.values)
    assert unknown[:20].all()
    assert not unknown[20:].any()
    assert np.isfinite(told.observed[20:]).all()
    assert np.isfinite(told.expected[20:]).all()


def test_bars_without_trades_have_zeros_where_they_cannot_tell() -> None:
    values = BarFeatures(MINUTE).update(whole(made_bars(2, rows=2, detailed=False))).values
    ready = values[~np.isnan(values[:, 0])]
    assert len(ready)
    assert not ready[:, NEED_TRADES].any()
    others = [i for i in range(len(FEATURES)) if i not in NEED_TRADES]
    assert np.abs(ready[:, others]).max(axis=0).min() > 1


def ordinary(count: int = 300) -> Array:
    """Return bars of one instrument whose range follows the volume."""
    rng = np.random.default_rng(0)
    bars: Array = made_bars(0, rows=1, count=2 * count)[:count]
    bars["ts_start"] = bars["ts_start"][0] + np.arange(count) * MINUTE
    activity = np.exp(rng.normal(0, 0.5, count))
    bars["volume"] = 2000 * activity
    bars["trades"], bars["buy_volume"], bars["sell_volume"] = 20, bars["volume"] // 2, bars["volume"] // 2
    reach = (5e7 * activity**0.7 * np.exp(rng.normal(0, 0.1, count))).astype(np.int64)
    price = 30_000_000_000
    moves = np.rint(rng.uniform(-0.4, 0.4, count) * reach).astype(np.int64)
    bars["open"] = price + np.concatenate([[0], np.cumsum(moves)[:-1]])
    bars["close"] = bars["open"] + moves
    middle = (bars["open"] + bars["close"]) // 2
    bars["high"], bars["low"] = middle + reach // 2, middle - reach // 2
    notional = [int(v) * int(p) for v, p in zip(bars["volume"], bars["close"], strict=True)]
    bars["notional_high"] = [n >> 32 for n in notional]
    bars["notional_low"] = [n & 0xFFFF_FFFF for n in notional]
    bars["max_size"] = bars["volume"] // 5
    return bars


def last_of(bars: Array) -> dict[str, float]:
    return dict(zip(FEATURES, BarFeatures(MINUTE).update(whole(bars)).values[-1].tolist(), strict=True))


def test_range_without_volume_and_volume_without_range_are_told_apart() -> None:
    usual = last_of(ordinary())
    assert abs(usual["range_given_volume"]) < 3
    busy = ordinary()
    busy["volume"][-1] = 30_000
    told = last_of(busy)
    assert told["volume"] > 4
    assert told["volume_given_range"] > 4
    assert told["range_given_volume"] < -3
    wide = ordinary()
    wide["high"][-1] += 200_000_000
    told = last_of(wide)
    assert told["range"] > 3
    assert told["range_given_volume"] > 4
    both = ordinary()
    both["volume"][-1] = 30_000
    both["high"][-1] += 150_000_000
    both["low"][-1] -= 150_000_000
    assert last_of(both)["range"] > 4
    assert abs(last_of(both)["range_given_volume"]) < abs(told["range_given_volume"]) / 2


def test_a_return_is_less_strange_on_heavy_volume() -> None:
    def moved(volume: int) -> dict[str, float]:
        bars = ordinary()
        bars["close"][-1] = bars["open"][-1] + 150_000_000
        bars["high"][-1] = max(bars["high"][-1], bars["close"][-1])
        bars["volume"][-1] = volume
        return last_of(bars)

    quiet, heavy = moved(1500), moved(20_000)
    assert quiet["return"] == heavy["return"]
    assert quiet["return"] > 3
    assert quiet["return_given_volume"] > 1.5 * heavy["return_given_volume"]


def test_a_spike_that_reverts_is_a_wick_and_no_return() -> None:
    bars = ordinary()
    bars["low"][-1] -= 300_000_000
    told = last_of(bars)
    assert told["wick"] > 5
    assert abs(told["return"]) < 3


def test_what_was_usual_is_told_in_natural_units() -> None:
    bars = ordinary()
    bars["volume"][-1] = 30_000
    told = BarFeatures(MINUTE).update(whole(bars))
    seen, usual = (dict(zip(FEATURES, part[-1], strict=True)) for part in (told.observed, told.expected))
    assert seen["volume"] == 30_000
    assert usual["volume"] == pytest.approx(np.median(bars["volume"][-61:-1]), rel=0.1)
    assert usual["range"] == pytest.approx(np.median(bars["high"] - bars["low"]) / 1e9, rel=0.3)
    assert usual["range_given_volume"] > 2 * usual["range"]


def test_no_move_is_taken_across_a_pause_or_missing_records() -> None:
    bars = ordinary()
    for name in ("open", "high", "low", "close"):
        bars[name][-1] += 3_000_000_000
    assert last_of(bars)["return"] > 20
    later = bars.copy()
    later["ts_start"][-1] += 60 * MINUTE
    assert abs(last_of(later)["return"]) < 3
    missing = np.zeros(len(bars), bool)
    missing[-1] = True
    across = BarFeatures(MINUTE).update(segments_of_bars(bars, ["SYM0"], missing)).values[-1]
    assert abs(across[FEATURES.index("return")]) < 3


absurd = st.sampled_from([1, -1, 0, LARGEST_PRICE - 1, 1 - LARGEST_PRICE, 30_000_000_000])


@settings(max_examples=tried(60), deadline=None)
@given(
    seed=seeds,
    prices=st.lists(absurd, min_size=4, max_size=4),
    volume=st.sampled_from([0, 1, UNDEF_SIZE - 1, 2**50]),
    at=st.integers(0, 99),
)
def test_absurd_bars_neither_fail_nor_poison(seed: int, prices: list[int], volume: int, at: int) -> None:
    bars = made_bars(seed, rows=1, count=400)
    bars["open"][at], bars["close"][at] = prices[:2]
    bars["high"][at], bars["low"][at] = max(prices), min(prices)
    bars["volume"][at] = bars["max_size"][at] = volume
    values = BarFeatures(MINUTE).update(whole(bars)).values
    assert np.isfinite(values[20:]).all()
    assert np.abs(values[20:]).max() <= LARGEST
    # Once the windows have passed it, all is as if it had not been.
    usual = BarFeatures(MINUTE).update(whole(made_bars(seed, rows=1, count=400))).values
    if len(bars) > at + 1 + 60 + 60 + 240:
        assert values[-1].tobytes() == usual[-1].tobytes()
    assert np.median(np.abs(values[at + 80 :])) < 3


@pytest.mark.parametrize("detailed", [True, False])
def test_constant_bars_are_usual(detailed: bool) -> None:
    bars = np.repeat(made_bars(1, rows=1, detailed=detailed)[:1], 200)
    bars["ts_start"] += np.arange(200) * MINUTE
    values = BarFeatures(MINUTE).update(whole(bars)).values
    assert np.isfinite(values[20:]).all()
    assert np.abs(values[100:]).max() < 1
