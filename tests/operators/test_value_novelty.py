"""Value novelty: how new, told once, remembered in bounded space."""

from __future__ import annotations

import numpy as np
import pytest

from operators.detector import segments_of_bars
from operators.value_novelty import Seen, ValueNovelty, value_of
from tapewatch.documents import BAR
from tapewatch.records import MINUTE, PRICE_SCALE, Array, Floats


def bars(values: list[float]) -> Array:
    made = np.zeros(len(values), BAR)
    made["ts_start"] = np.arange(len(values)) * MINUTE
    for name in ("open", "high", "low", "close"):
        made[name] = np.rint(np.array(values) * PRICE_SCALE)
    return made


def scores(values: list[float], **settings: int) -> Floats:
    logic = ValueNovelty(value="close", **settings).build(None)
    return logic.score(segments_of_bars(bars(values), [""])).score


def usual(count: int = 400) -> list[float]:
    return [float(value) for value in np.random.default_rng(1).normal(10, 1, count)]


def test_a_new_value_is_told_once() -> None:
    values = usual()
    values[300:310] = [40.0] * 10
    told = scores(values)
    assert int(np.nanargmax(told)) == 300
    assert (told[301:] == 0).all()
    assert np.isnan(told[:50]).all()


def test_what_came_before_is_no_news_and_a_series_has_no_scale() -> None:
    values = usual()
    values[20], values[300] = 40.0, 40.0
    assert scores(values)[300] == 0
    assert np.allclose(scores([1_000 * value for value in values])[50:], scores(values)[50:], atol=1e-6)


def test_memory_keeps_the_ends_and_merges_the_nearest() -> None:
    seen = Seen()
    for value in np.random.default_rng(2).normal(size=5_000).tolist():
        seen.distance(value, learn=True)
    assert len(seen.values) == 512
    assert (np.diff(seen.values) > 0).all()
    assert seen.distance(0.0, learn=False)[0] < 0.02
    assert seen.distance(9.0, learn=False)[0] > 4


@pytest.mark.parametrize("value", ["close", "volume", "trades", "range"])
def test_what_it_reads(value: str) -> None:
    one = bars([5.0])
    one["high"], one["volume"], one["trades"] = 7 * PRICE_SCALE, 11, 3
    wanted = {"close": 5.0, "volume": 11.0, "trades": 3.0, "range": 2.0}
    assert value_of(one, value).tolist() == [wanted[value]]
