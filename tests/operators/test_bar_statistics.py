"""Statistics are large where what they are named after happens, and sessions are counted right."""

from __future__ import annotations

import numpy as np
import pytest

from operators.bar_statistics import STATISTICS, BarStatistics
from operators.detector import Segments, segments_of_bars
from operators.features import FEATURES
from tapewatch.documents import BAR
from tapewatch.records import HOUR, MINUTE, Array


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
    told, _, _ = BarStatistics(MINUTE).update(bars(list(range(count))), values(count, **given), learn=True)
    return [float(value) for value in told[:, list(STATISTICS).index(name)]]


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


def test_bars_of_a_session_are_counted_by_instrument_across_batches() -> None:
    minutes, rows = [0, 1, 2, 100, 101, 0, 1, 500], [0, 0, 0, 0, 0, 1, 1, 1]
    whole = BarStatistics(MINUTE).update(bars(minutes, rows), values(8), learn=True)
    assert whole[1].tolist() == [0, 1, 2, 0, 1, 0, 1, 0]
    assert whole[2].tolist() == [0, 1, 2, 3, 4, 0, 1, 2]
    parts = BarStatistics(MINUTE)
    for at in ([0, 1, 5], [2, 3, 6], [4, 7]):
        some = bars([minutes[i] for i in at], [rows[i] for i in at])
        told = parts.update(some, values(len(at)), learn=True)
        parts = BarStatistics(MINUTE, parts.snapshot())
        assert told[1].tolist() == whole[1][at].tolist()
        assert told[2].tolist() == whole[2][at].tolist()
