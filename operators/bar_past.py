"""What the last bars of an instrument showed, beside each new bar: sums, extremes and paths of features.

Features enter in whole steps, winsorised, so that every sum is of integers and the same in whatever batch.
"""

from __future__ import annotations

import numpy as np

from operators.features import FEATURES
from operators.windows import SlidingWindows
from tapewatch.records import Array, Floats, Int64s

#: Features that are remembered, in the order of the columns.
REMEMBERED = (
    "return", "volume", "range", "range_given_volume", "volume_given_range", "wick", "return_given_volume",
)  # fmt: skip
#: Bars that are remembered.
SPAN = 64
#: Features are kept in steps of ``1 / STEPS``, no larger than ``_WINSOR``.
STEPS, _WINSOR = 256, 100.0
_COLUMNS = [FEATURES.index(name) for name in REMEMBERED]


class BarPast:
    """The remembered features of new bars and of those before them.

    Parameters
    ----------
    lengths
        New bars of each instrument, shape ``(k,)``; ``n`` is their sum.
    past
        What `kept` returned for the bars before, int16, shape ``(k, SPAN, len(REMEMBERED))``.
    z
        Features of the new bars, float64, shape ``(len(FEATURES), n)``.
    """

    def __init__(self, lengths: Int64s, past: Array, z: Floats) -> None:
        own = np.rint(np.clip(z[_COLUMNS], -_WINSOR, _WINSOR) * STEPS).astype(np.int16)
        self._windows = SlidingWindows(lengths, SPAN)
        self._kept = self._windows.join(past, own.T)
        self._own: dict[str, Int64s] = dict(zip(REMEMBERED, own.astype(np.int64), strict=True))
        self._joined: dict[str, Int64s] = dict(zip(REMEMBERED, self._kept.astype(np.int64), strict=True))

    def kept(self) -> Array:
        """Return what is to be remembered of each instrument, shape ``(k, SPAN, len(REMEMBERED))``."""
        return self._windows.kept(self._kept)

    def own(self, name: str) -> Int64s:
        """Return a feature of the new bars, in steps."""
        return self._own[name]

    def before(self, name: str, bars: int = 1) -> Int64s:
        """Return a feature of the bar that was so many bars before each new one, in steps."""
        told: Int64s = self._windows.of(self._joined[name][None], bars)[0, :, 0]
        return told

    def earlier(
        self, name: str, bars: int, low: float = -_WINSOR, high: float = _WINSOR, *, size: bool = False
    ) -> Int64s:
        """Return sums of a feature over the bars before each new one, each held between two limits.

        Parameters
        ----------
        name
            One of `REMEMBERED`.
        bars
            How many bars.
        low, high
            Limits, in standard deviations.
        size
            Sum absolute values.
        """
        total: Int64s = self._windows.sums(_held(self._joined[name], low, high, size=size)[None], bars)[0]
        return total

    def over(
        self, name: str, bars: int, low: float = -_WINSOR, high: float = _WINSOR, *, size: bool = False
    ) -> Floats:
        """Return what new bars and those before them, in all ``bars``, amount to, as one standard deviation.

        The sum over the square root of the number; arguments like those of `earlier`.
        """
        total = self.earlier(name, bars - 1, low, high, size=size)
        total = total + _held(self._own[name], low, high, size=size)
        told: Floats = total / (STEPS * np.sqrt(bars))
        return told

    def turns(self, name: str, bars: int, high: float) -> Floats:
        """Return how much of a feature went against the bar before, less what went with it, like `over`."""
        now, most = self._joined[name], round(high * STEPS)
        then = np.roll(now, 1)
        both = np.minimum(np.minimum(np.abs(now), np.abs(then)), most) * -np.sign(now * then)
        own, before = self._own[name], self.before(name)
        last = np.minimum(np.minimum(np.abs(own), np.abs(before)), most) * -np.sign(own * before)
        told: Floats = (self._windows.sums(both[None], bars - 1)[0] + last) / (STEPS * np.sqrt(bars))
        return told

    def products(self, name: str, bars: int) -> Int64s:
        """Return sums over the bars before of a feature times its value one bar earlier, in squared steps."""
        now = self._joined[name]
        total: Int64s = self._windows.sums((now * np.roll(now, 1))[None], bars)[0]
        return total

    def dip(self, name: str, bars: int) -> Int64s:
        """Return how deep the path of a feature went below both its earlier heights and where it is now."""
        path = np.cumsum(self._joined[name])
        walked = self._windows.of(path[None], bars)[0]
        now = walked[:, -1] + self._own[name]
        below = np.minimum(np.maximum.accumulate(walked, axis=1), now[:, None]) - walked
        deepest: Int64s = np.maximum(below.max(axis=1), 0)
        return deepest

    def highest(self, name: str, bars: int, skip: int = 0, *, size: bool = False) -> Int64s:
        """Return the largest of the bars before each new one, the last ``skip`` of them apart, in steps.

        ``bars`` is a power of two; with ``skip`` at most `SPAN`.
        """
        held = np.abs(self._joined[name]) if size else self._joined[name]
        reach = 1
        while reach < bars:
            held = np.maximum(held, np.roll(held, reach))
            reach *= 2
        told: Int64s = self._windows.of(held[None], skip + 1)[0, :, 0]
        return told


def _held(values: Int64s, low: float, high: float, *, size: bool) -> Int64s:
    held: Int64s = np.clip(np.abs(values) if size else values, round(low * STEPS), round(high * STEPS))
    return held
