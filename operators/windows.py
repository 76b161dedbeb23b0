"""Sliding windows over the last items of many instruments at once, and the statistics taken of them.

Each statistic is a selection or a sum of integers, so it is the same whatever lies beside it in an array.
"""

from __future__ import annotations

import numpy as np

from operators.stretches import ranges
from tapewatch.records import Array, Int64s

_MAD_TO_SIGMA, _Q80_TO_SIGMA = 1.4826, 0.7803


class SlidingWindows:
    """Each instrument's past and its new items side by side, so that the past of an item is a slice.

    Parameters
    ----------
    lengths
        New items of each instrument, int64, shape ``(k,)``; ``n`` is their sum.
    span
        Items a window looks back.

    Examples
    --------
    >>> windows = SlidingWindows(np.array([2, 1]), 3)
    >>> joined = windows.join(np.array([[[1], [2], [3]], [[7], [8], [9]]]), np.array([[4], [5], [10]]))
    >>> windows.of(joined).tolist()
    [[[1, 2, 3], [2, 3, 4], [7, 8, 9]]]
    >>> windows.sums(joined).tolist()
    [[6, 9, 24]]
    """

    def __init__(self, lengths: Int64s, span: int) -> None:
        self._span = span
        begin = np.cumsum(lengths + span) - (lengths + span)
        self._old = (begin[:, None] + np.arange(span)).ravel()
        self._new = ranges(begin + span, lengths)
        self._kept = begin[:, None] + lengths[:, None] + np.arange(span)

    def join(self, past: Array, new: Array) -> Array:
        """Return past ``(k, span, c)`` and new items ``(n, c)`` side by side, shape ``(c, n + k * span)``."""
        joined = np.empty((new.shape[1], len(self._old) + len(self._new)), past.dtype)
        joined[:, self._old] = past.reshape(len(self._old), -1).T
        joined[:, self._new] = new.T
        return joined

    def of(self, joined: Array, last: int | None = None) -> Array:
        """Return the ``last`` (else all ``span``) items before each new one, shape ``(c, n, last)``."""
        return np.take(joined, self._new[:, None] + np.arange(-(last or self._span), 0), axis=1)

    def sums(self, joined: Array, last: int | None = None) -> Int64s:
        """Return sums of the ``last`` (else all ``span``) integers before each new item, shape ``(c, n)``."""
        ends = np.zeros((len(joined), joined.shape[1] + 1), np.int64)
        # Whatever overflows in a running sum is taken away again by the difference.
        np.cumsum(joined, axis=1, out=ends[:, 1:])
        return ends[:, self._new] - ends[:, self._new - (last or self._span)]

    def kept(self, joined: Array) -> Array:
        """Return what the windows after the last new items hold, shape ``(k, span, c)``."""
        return np.ascontiguousarray(np.moveaxis(joined[:, self._kept], 0, -1))


def quantile(windows: Array, count: Array, tenths: int) -> Array:
    """Return an order statistic of each window: of its ``count`` items the one ``tenths`` of the way up.

    Parameters
    ----------
    windows
        Sorted along the last axis, those that do not count behind the others, shape ``(..., span)``.
    count
        How many items of each window count, shape ``(...)``; where 0 the result means nothing.

    Examples
    --------
    >>> quantile(np.array([[1.0, 2.0, 9.0, np.nan]]), np.array([3]), 5)
    array([2.])
    """
    place = np.maximum(count - 1, 0) * tenths // 10
    return np.take_along_axis(windows, place[..., None], axis=-1)[..., 0]


def median_and_spread(windows: Array) -> tuple[Array, Array, Array]:
    """Return the count, (lower) median and a robust standard deviation of each window; NaN does not count.

    The standard deviation is what a normal distribution with that median absolute deviation has, or, if it is
    larger, with that 80 % quantile of absolute deviations: where most items are equal, the others tell.
    ``windows`` of shape ``(..., span)`` is overwritten.

    Examples
    --------
    >>> count, middle, spread = median_and_spread(np.array([[1.0, 2.0, 4.0, np.nan]]))
    >>> count, middle, spread.round(2)
    (array([3]), array([2.]), array([1.48]))
    """
    count = windows.shape[-1] - np.isnan(windows).sum(axis=-1)
    windows.sort(axis=-1)
    middle = quantile(windows, count, 5)
    np.abs(np.subtract(windows, middle[..., None], out=windows), out=windows)
    windows.sort(axis=-1)
    spread = np.maximum(
        quantile(windows, count, 5) * _MAD_TO_SIGMA, quantile(windows, count, 8) * _Q80_TO_SIGMA
    )
    return count, middle, spread
