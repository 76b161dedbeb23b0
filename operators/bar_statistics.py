"""Statistics of a bar and those just before it, each of which is large when something else is wrong.

They are made of the features, which are in the instrument's own standard deviations: sizes of single
features, one side only where only one is strange, what several bars amount to, and what goes against what
went before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.bar_past import REMEMBERED, SPAN, STEPS, BarPast
from operators.detector import Segments, grown
from operators.features import FEATURES
from tapewatch.records import Array, Floats, Int64s

#: Each statistic with the feature that carries it, by which it is explained.
STATISTICS = {
    "return": "return", "range": "range", "wick": "wick", "trend": "trend", "volume": "volume",
    "wide_given_volume": "range_given_volume", "narrow_given_volume": "range_given_volume",
    "volume_given_range": "volume_given_range", "return_given_volume": "return_given_volume",
    "trades": "trades", "average_size": "average_size", "largest_trade": "largest_trade",
    "imbalance": "imbalance", "vwap_distance": "vwap_distance", "reversal": "return", "zigzag": "return",
    "drift_10": "trend", "drift_20": "trend", "volume_5": "volume", "volume_10": "volume",
    "range_5": "range", "return_on_volume": "return", "thin_move": "return_given_volume",
    "drift_3": "trend", "drift_15": "trend", "one_way_10": "trend", "one_way_15": "trend",
    "moves_3": "return", "moves_5": "return", "range_3": "range", "wick_3": "wick",
    "wide_given_volume_5": "range_given_volume", "narrow_given_volume_3": "range_given_volume",
    "narrow_given_volume_15": "range_given_volume", "volume_given_range_3": "volume_given_range",
    "volume_given_range_5": "volume_given_range", "volume_given_range_15": "volume_given_range",
    "turns_3": "return", "turns_4": "return", "turns_6": "return", "dip_and_back": "trend",
    "move_without_wick": "return", "wick_before": "wick", "wide_before": "range_given_volume",
    "volume_given_range_before": "volume_given_range", "return_given_volume_before": "return_given_volume",
    "move_two_before": "return", "range_before_alone": "range",
}  # fmt: skip
#: What is told of the bars around beside the statistics: how lively they are, in standard deviations.
CONTEXT = (
    "size_now", "range_now", "volume_now", "range_before", "size_last_3", "size_last_10", "size_last_60",
    "range_last_3", "range_last_10", "range_last_30", "range_last_60", "volume_last_5", "volume_last_30",
    "range_10_before_last", "largest_of_64", "widest_of_32", "widest_before_last", "with_volume",
)  # fmt: skip
_ZIGZAG = 5
#: How far single bars count in sums: moves, moves in drifts, sizes above and below usual, conditional ones.
_MOST_MOVE, _MOST_DRIFT, _LOW, _HIGH, _MOST_GIVEN, _MOST_TURN = 20.0, 30.0, -8.0, 20.0, 8.0, 8.0
#: A pause of more widths than this begins a session; bars of one are counted up to the second number.
_PAUSE, _LONGEST = 30, 1_000


@dataclass(frozen=True, slots=True)
class Told:
    """What `BarStatistics` says of ``n`` bars.

    Attributes
    ----------
    statistics
        Float32, not negative, shape ``(n, len(STATISTICS))``.
    context
        Float32, shape ``(n, len(CONTEXT))``.
    age, before
        Bars of its session, at most 1,000, and in all, that came before each bar, int64, shape ``(n,)``.
    """

    statistics: Array
    context: Array
    age: Int64s
    before: Int64s


class BarStatistics:
    """The statistics of the bars of one shard, with the bars of each instrument that they look back to.

    Parameters
    ----------
    width_ns
        Width of the bars, ns.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, width_ns: int, resume: dict[str, Any] | None = None) -> None:
        self._pause = _PAUSE * width_ns
        self._past = np.zeros((0, SPAN, len(REMEMBERED)), np.int16)
        #: Start of the last bar, bars of its session before it, and bars in all.
        self._last = np.zeros((0, 3), np.int64)
        self._rows = 0
        if resume is not None:
            self._past, self._last = resume["past"].copy(), resume["last"].copy()
            self._rows = len(self._last)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""
        return {"past": self._past[: self._rows].copy(), "last": self._last[: self._rows].copy()}

    def update(self, segments: Segments, values: Array, *, learn: bool) -> Told:
        """Return the statistics of bars and what is around them.

        Parameters
        ----------
        segments
            The bars.
        values
            Their features, float32, shape ``(n, len(FEATURES))``; NaN counts as 0.
        learn
            Without it nothing is remembered.
        """
        rows, count = segments.rows, int(segments.rows.max(initial=-1)) + 1
        self._rows = max(self._rows, count)
        self._past, self._last = grown(self._past, count), grown(self._last, count)
        z = np.nan_to_num(values).astype(np.float64).T.copy()
        past = BarPast(np.diff(segments.starts), self._past[rows], z)
        named = dict(zip(FEATURES, z, strict=True))
        told = _of_bars(named, past) | _of_several(past) | _of_those_before(named, past)
        told["move_without_wick"] = np.abs(named["return"]) * _one_sided(np.asarray(segments.items))
        around = _around(past)
        age = self._ages(rows, segments.starts, segments.times)
        first = np.repeat(segments.starts[:-1], np.diff(segments.starts))
        before = self._last[segments.row_of, 2] + np.arange(len(age)) - first
        if learn and len(segments.times):
            self._past[rows] = past.kept()
            last = segments.starts[1:] - 1
            self._last[rows, 0], self._last[rows, 1] = segments.times[last], age[last]
            self._last[rows, 2] = before[last] + 1
        statistics = np.empty((len(age), len(STATISTICS)), np.float32)
        for column, name in enumerate(STATISTICS):
            statistics[:, column] = np.maximum(told[name], 0)
        context = np.empty((len(age), len(CONTEXT)), np.float32)
        for column, name in enumerate(CONTEXT):
            context[:, column] = around[name]
        return Told(statistics, context, age, before)

    def _ages(self, rows: Array, starts: Int64s, times: Int64s) -> Int64s:
        """Return how many bars of its session came before each bar, at most `_LONGEST`."""
        at = np.arange(len(times))
        begins = np.ones(len(times), bool)
        begins[1:] = times[1:] - times[:-1] > self._pause
        first = starts[:-1]
        goes_on = times[first] - self._last[rows, 0] <= self._pause
        begins[first] = True
        opened = np.where(begins, at, 0)
        opened[first] -= np.where(goes_on, self._last[rows, 1] + 1, 0)
        # An earlier instrument's session must not reach into the next one's.
        apart = np.repeat(np.arange(len(rows)) * (len(times) + _LONGEST + 2), np.diff(starts))
        opened = np.maximum.accumulate(np.where(begins, opened + apart, np.iinfo(np.int64).min)) - apart
        return np.minimum(at - opened, _LONGEST)


def _of_bars(named: dict[str, Floats], past: BarPast) -> dict[str, Floats]:
    """Return the statistics of bars by themselves."""
    move, volume = past.own("return"), past.own("volume")
    return {
        "return": np.abs(named["return"]), "range": named["range"], "wick": named["wick"],
        "trend": np.abs(named["trend"]), "volume": named["volume"],
        "wide_given_volume": named["range_given_volume"],
        "narrow_given_volume": -named["range_given_volume"],
        "volume_given_range": named["volume_given_range"],
        "return_given_volume": np.abs(named["return_given_volume"]),
        "trades": named["trades"], "average_size": named["average_size"],
        "largest_trade": named["largest_trade"], "imbalance": np.abs(named["imbalance"]),
        "vwap_distance": np.abs(named["vwap_distance"]),
        "return_on_volume": np.sqrt(np.maximum(np.minimum(np.abs(move), volume), 0) / STEPS) * 2,
        "thin_move": np.where(volume < 0, np.abs(move) - volume, 0) / STEPS,
    }  # fmt: skip


def _of_several(past: BarPast) -> dict[str, Floats]:
    """Return what several bars amount to, or what they go against."""
    move, before = past.own("return"), past.before("return")
    opposite = np.sign(move) * np.sign(before) < 0
    alternating = -(past.products("return", _ZIGZAG) + move * before)
    told = {
        "reversal": np.where(opposite, np.minimum(np.abs(move), np.abs(before)), 0) / STEPS,
        "zigzag": np.sqrt(np.maximum(alternating, 0) / (_ZIGZAG + 1)) / STEPS,
        "dip_and_back": past.dip("return", 10) / STEPS,
        "wick_3": past.over("wick", 3, _LOW, _HIGH),
        "range_3": past.over("range", 3, _LOW, _HIGH),
        "range_5": past.over("range", 5),
        "wide_given_volume_5": past.over("range_given_volume", 5, -_MOST_GIVEN, _MOST_GIVEN),
    }
    for bars in (10, 20):
        told[f"drift_{bars}"] = np.abs(past.over("return", bars))
    for bars in (3, 15):
        told[f"drift_{bars}"] = np.abs(past.over("return", bars, -_MOST_DRIFT, _MOST_DRIFT))
        told[f"narrow_given_volume_{bars}"] = -past.over(
            "range_given_volume", bars, -_MOST_GIVEN, _MOST_GIVEN
        )
    for bars in (10, 15):
        told[f"one_way_{bars}"] = 2 * np.abs(past.over("return", bars, -1.0, 1.0))
    for bars in (5, 10):
        told[f"volume_{bars}"] = past.over("volume", bars)
    for bars in (3, 5):
        told[f"moves_{bars}"] = past.over("return", bars, 0.0, _MOST_MOVE, size=True)
    for bars in (3, 5, 15):
        told[f"volume_given_range_{bars}"] = past.over("volume_given_range", bars, -_MOST_GIVEN, _MOST_GIVEN)
    for bars in (3, 4, 6):
        told[f"turns_{bars}"] = past.turns("return", bars, _MOST_TURN)
    return told


def _of_those_before(named: dict[str, Floats], past: BarPast) -> dict[str, Floats]:
    """Return what was strange a bar or two ago, beside which a bar now tells more."""
    now = np.maximum(named["range"], 0) + np.abs(named["return"])
    return {
        "wick_before": past.before("wick") / STEPS,
        "wide_before": past.before("range_given_volume") / STEPS,
        "volume_given_range_before": past.before("volume_given_range") / STEPS,
        "return_given_volume_before": np.abs(past.before("return_given_volume")) / STEPS,
        "move_two_before": np.abs(past.before("return", 2)) / STEPS,
        "range_before_alone": past.before("range") / STEPS - now,
    }


def _one_sided(bars: Array) -> Floats:
    """Return 1 where a bar went from one end of its range to the other, 0 where it came half back."""
    span = np.maximum(bars["high"].astype(np.float64) - bars["low"].astype(np.float64), 1.0)
    body = np.abs(bars["close"].astype(np.float64) - bars["open"].astype(np.float64))
    share: Floats = np.clip(2 * body / span - 1, 0.0, 1.0)
    return share


def _around(past: BarPast) -> dict[str, Floats]:
    """Return how lively the bars around are."""
    last = past.earlier("range", 1, _LOW, _HIGH)
    told = {
        "size_now": np.abs(past.own("return")) / STEPS,
        "range_now": past.own("range") / STEPS,
        "volume_now": past.own("volume") / STEPS,
        "range_before": past.before("range") / STEPS,
        "range_10_before_last": (past.earlier("range", 11, _LOW, _HIGH) - last) / (10 * STEPS),
        "largest_of_64": past.highest("return", 64, size=True) / STEPS,
        "widest_of_32": past.highest("range", 32) / STEPS,
        "widest_before_last": past.highest("range", 32, 1) / STEPS,
        "with_volume": (past.highest("volume", 64, size=True) > 0).astype(np.float64),
    }
    for bars in (3, 10, 60):
        told[f"size_last_{bars}"] = past.earlier("return", bars, 0.0, _MOST_MOVE, size=True) / (bars * STEPS)
    for bars in (3, 10, 30, 60):
        told[f"range_last_{bars}"] = past.earlier("range", bars, _LOW, _HIGH) / (bars * STEPS)
    for bars in (5, 30):
        told[f"volume_last_{bars}"] = past.earlier("volume", bars, _LOW, _HIGH) / (bars * STEPS)
    return told
