"""Statistics of a bar and those just before it, each of which is large when something else is wrong.

They are made of the features, which are in the instrument's own standard deviations: sizes of single
features, one side only where only one is strange, what several bars amount to, and what goes against what
went before.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.detector import Segments, grown
from operators.features import FEATURES
from operators.windows import SlidingWindows
from tapewatch.records import Array, Int64s

#: Each statistic with the feature that carries it, by which it is explained.
STATISTICS = {
    "return": "return", "range": "range", "wick": "wick", "trend": "trend", "volume": "volume",
    "wide_given_volume": "range_given_volume", "narrow_given_volume": "range_given_volume",
    "volume_given_range": "volume_given_range", "return_given_volume": "return_given_volume",
    "trades": "trades", "average_size": "average_size", "largest_trade": "largest_trade",
    "imbalance": "imbalance", "vwap_distance": "vwap_distance", "reversal": "return", "zigzag": "return",
    "drift_10": "trend", "drift_20": "trend", "volume_5": "volume", "volume_10": "volume",
    "range_5": "range", "return_on_volume": "return", "thin_move": "return_given_volume",
}  # fmt: skip
_RETURN, _VOLUME, _RANGE = (FEATURES.index(name) for name in ("return", "volume", "range"))
#: Bars that are looked back.
_SPAN = 20
#: Features are summed in steps of ``1 / _STEPS``, no larger than ``_WINSOR``.
_STEPS, _WINSOR = 256, 100.0
_ZIGZAG = 5
#: A pause of more widths than this begins a session; bars of one are counted up to the second number.
_PAUSE, _LONGEST = 30, 1_000


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
        self._past = np.zeros((0, _SPAN, 3), np.int16)
        #: Start of the last bar, bars of its session before it, and bars in all.
        self._last = np.zeros((0, 3), np.int64)
        self._rows = 0
        if resume is not None:
            self._past, self._last = resume["past"].copy(), resume["last"].copy()
            self._rows = len(self._last)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""
        return {"past": self._past[: self._rows].copy(), "last": self._last[: self._rows].copy()}

    def update(self, segments: Segments, values: Array, *, learn: bool) -> tuple[Array, Int64s, Int64s]:
        """Return the statistics of bars, and how many bars of its session, and in all, came before each.

        Parameters
        ----------
        segments
            The bars.
        values
            Their features, float32, shape ``(n, len(FEATURES))``; NaN counts as 0.
        learn
            Without it nothing is remembered.

        Returns
        -------
        tuple
            Float32, not negative, shape ``(n, len(STATISTICS))``; twice int64, shape ``(n,)``.
        """
        rows, count = segments.rows, int(segments.rows.max(initial=-1)) + 1
        self._rows = max(self._rows, count)
        self._past, self._last = grown(self._past, count), grown(self._last, count)
        z = np.nan_to_num(values).astype(np.float64).T.copy()
        cut = np.clip(z[[_RETURN, _VOLUME, _RANGE]], -_WINSOR, _WINSOR)
        own = np.rint(cut * _STEPS).astype(np.int16)
        windows = SlidingWindows(np.diff(segments.starts), _SPAN)
        joined = windows.join(self._past[rows], own.T)
        out = self._statistics(z, own.astype(np.int64), windows, joined.astype(np.int64))
        age = self._ages(rows, segments.starts, segments.times)
        first = np.repeat(segments.starts[:-1], np.diff(segments.starts))
        before = self._last[segments.row_of, 2] + np.arange(len(age)) - first
        if learn and len(segments.times):
            self._past[rows] = windows.kept(joined)
            last = segments.starts[1:] - 1
            self._last[rows, 0], self._last[rows, 1] = segments.times[last], age[last]
            self._last[rows, 2] = before[last] + 1
        return out, age, before

    def _statistics(self, z: Array, own: Int64s, windows: SlidingWindows, joined: Int64s) -> Array:
        move, volume = own[:2]
        before = windows.sums(joined, 1)[0]
        products = joined[0].copy()
        products[1:] *= joined[0, :-1]
        alternating = -(windows.sums(products[None], _ZIGZAG)[0] + move * before)
        opposite = np.sign(move) * np.sign(before) < 0

        def over(which: int, bars: int) -> Array:
            total = windows.sums(joined[which : which + 1], bars - 1)[0] + own[which]
            told: Array = total / (_STEPS * np.sqrt(bars))
            return told

        named = dict(zip(FEATURES, z, strict=True))
        told = {
            "return": np.abs(named["return"]), "range": named["range"], "wick": named["wick"],
            "trend": np.abs(named["trend"]), "volume": named["volume"],
            "wide_given_volume": named["range_given_volume"],
            "narrow_given_volume": -named["range_given_volume"],
            "volume_given_range": named["volume_given_range"],
            "return_given_volume": np.abs(named["return_given_volume"]),
            "trades": named["trades"], "average_size": named["average_size"],
            "largest_trade": named["largest_trade"], "imbalance": np.abs(named["imbalance"]),
            "vwap_distance": np.abs(named["vwap_distance"]),
            "reversal": np.where(opposite, np.minimum(np.abs(move), np.abs(before)), 0) / _STEPS,
            "zigzag": np.sqrt(np.maximum(alternating, 0) / (_ZIGZAG + 1)) / _STEPS,
            "drift_10": np.abs(over(0, 10)), "drift_20": np.abs(over(0, 20)),
            "volume_5": over(1, 5), "volume_10": over(1, 10), "range_5": over(2, 5),
            "return_on_volume": np.sqrt(np.maximum(np.minimum(np.abs(move), volume), 0) / _STEPS) * 2,
            "thin_move": np.where(volume < 0, np.abs(move) - volume, 0) / _STEPS,
        }  # fmt: skip
        out = np.empty((len(move), len(STATISTICS)), np.float32)
        for column, name in enumerate(STATISTICS):
            out[:, column] = np.maximum(told[name], 0)
        return out

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
