"""Statistics are large where what they are named after happens, and sessions are counted right."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bar_statistics import CONTEXT, STATISTICS, BarStatistics
from operators.detector import Segments, segments_of_bars
from operators.features import FEATURES
from operators.statistic_words import in_words
from tapewatch.documents import BAR
from tapewatch.records import HOUR, MINUTE, Array
from tests.examples import tried


def bars(minutes: list[int], rows: list[int] | None = None) -> Segments:
    made = np.zeros(len(minutes), BAR)
    made["ts_start"] = np.array(minutes) * MINUTE + 20_000 * 24 * HOUR
    made["row"] = 0 if rows is None else rows
    return segments_of_bars(made, ["A", "B"])


def values(count: int, **columns: list[float]) -> Array:
    table = np.zeros((count, len(FEATURES)), np.float32)
    for name, column in columns.items():
        table[:, FEATURES.index(name)] = column
    return table


def one(name: str, **columns: list[float]) -> list[float]:
    count = 12
    given = {feature: [0.0] * (count - len(last)) + last for feature, last in columns.items()}
    told = BarStatistics(MINUTE).update(bars(list(range(count))), values(count, **given), learn=True)
    if name in CONTEXT:
        return [float(value) for value in told.context[:, CONTEXT.index(name)]]
    return [float(value) for value in told.statistics[:, list(STATISTICS).index(name)]]


def test_statistics_say_what_they_are_named_after() -> None:
    assert one("reversal", **{"return": [5.0, -4.0, -3.0]})[-3:] == [0.0, 4.0, 0.0]
    assert (
        one("zigzag", **{"return": [2.0, -2.0, 2.0, -2.0]})[-1] > one("zigzag", **{"return": [2.0] * 4})[-1]
    )
    assert one("drift_10", **{"return": [1.0] * 10})[-1] == pytest.approx(10**0.5, rel=0.01)
    assert one("volume_5", volume=[2.0] * 5)[-1] == pytest.approx(2 * 5**0.5, rel=0.01)
    assert one("narrow_given_volume", range_given_volume=[-3.0])[-1] == 3.0
    assert one("wide_given_volume", range_given_volume=[-3.0])[-1] == 0.0
    assert one("thin_move", **{"return": [3.0], "volume": [-2.0]})[-1] == 5.0
    assert one("one_way_10", **{"return": [0.5] * 10})[-1] == pytest.approx(10**0.5, rel=0.01)
    assert one("turns_4", **{"return": [2.0, -2.0, 2.0, -2.0]})[-1] == pytest.approx(3.0)
    assert one("turns_4", **{"return": [2.0, 2.0, 2.0, 2.0]})[-1] == 0.0
    assert one("dip_and_back", **{"return": [-1.0, -4.0, 3.0]})[-2:] == [0.0, 3.0]
    assert one("volume_given_range_3", volume_given_range=[20.0])[-1] == pytest.approx(8 / 3**0.5)
    assert one("wick_before", wick=[3.0, 0.0])[-2:] == [0.0, 3.0]
    assert one("move_two_before", **{"return": [-3.0, 0.0, 0.0]})[-1] == 3.0
    assert one("range_before_alone", range=[5.0, 1.0])[-1] == 4.0
    assert one("narrow_given_volume_3", range_given_volume=[-2.0] * 3)[-1] == pytest.approx(2 * 3**0.5)


def test_the_context_says_how_lively_the_bars_around_are() -> None:
    assert one("size_last_3", **{"return": [3.0, -3.0, 3.0, 0.0]})[-1] == 3.0
    assert one("size_now", **{"return": [-2.0]})[-1] == 2.0
    assert one("largest_of_64", **{"return": [-9.0, 1.0, 1.0]})[-3:] == [0.0, 9.0, 9.0]
    assert one("widest_before_last", range=[5.0, 1.0, 1.0])[-2:] == [0.0, 5.0]
    assert one("with_volume", volume=[1.0, 1.0])[-2:] == [0.0, 1.0]
    assert one("range_10_before_last", range=[10.0, 0.0, 0.0])[-2:] == [0.0, 1.0]


@settings(max_examples=tried(15), deadline=None)
@given(cuts=st.lists(st.integers(0, 200), max_size=6), seed=st.integers(0, 99))
def test_any_cut_gives_the_same_bits(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    count = 200
    rows = np.sort(rng.integers(0, 2, count))
    minutes = np.arange(count)
    shown = values(count, **{name: rng.standard_t(3, count).tolist() for name in FEATURES})
    whole = BarStatistics(MINUTE).update(bars(minutes.tolist(), rows.tolist()), shown, learn=True)
    parts, told = BarStatistics(MINUTE), []
    edges = sorted({0, *cuts, count})
    for first, last in pairwise(edges):
        some = bars(minutes[first:last].tolist(), rows[first:last].tolist())
        told.append(parts.update(some, shown[first:last], learn=True))
        parts = BarStatistics(MINUTE, parts.snapshot())
    for name in ("statistics", "context", "age", "before"):
        joined = np.concatenate([getattr(part, name) for part in told])
        assert joined.tobytes() == getattr(whole, name).tobytes()


def test_bars_of_a_session_are_counted_by_instrument_across_batches() -> None:
    minutes, rows = [0, 1, 2, 100, 101, 0, 1, 500], [0, 0, 0, 0, 0, 1, 1, 1]
    whole = BarStatistics(MINUTE).update(bars(minutes, rows), values(8), learn=True)
    assert whole.age.tolist() == [0, 1, 2, 0, 1, 0, 1, 0]
    assert whole.before.tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    parts = BarStatistics(MINUTE)
    for at in ([0, 1, 5], [2, 3, 6], [4, 7]):
        some = bars([minutes[i] for i in at], [rows[i] for i in at])
        told = parts.update(some, values(len(at)), learn=True)
        parts = BarStatistics(MINUTE, parts.snapshot())
        assert told.age.tolist() == whole.age[at].tolist()
        assert told.before.tolist() == whole.before[at].tolist()


def test_every_statistic_has_words_of_its_own() -> None:
    words = [in_words(name) for name in STATISTICS]
    assert len(set(words)) == len(STATISTICS)
    assert all(word.replace(" ", "").replace(",", "").isalnum() for word in words)
    assert [word for name, word in zip(STATISTICS, words, strict=True) if name in FEATURES] == [
        f"its {name.replace('_', ' ')}" for name in STATISTICS if name in FEATURES
    ]
