"""Stretches of a batch: where each instrument's next items begin and end."""

from __future__ import annotations

import numpy as np

from tapewatch.records import Array, Int64s


def ranges(begin: Array, length: Array) -> Array:
    """Return the integers of all ranges ``begin[i]:begin[i] + length[i]``, one after the other."""
    offsets = np.repeat(begin - np.concatenate([[0], np.cumsum(length)[:-1]]), length)
    return offsets + np.arange(len(offsets))


def same_day(days: Int64s, begin: Array, until: Array) -> Array:
    """Return where each stretch leaves the day it begins on, at the latest ``until``."""
    stops = until.copy()
    for i, (first, last) in enumerate(zip(begin, until, strict=True)):
        if days[last - 1] != days[first] or (days[first:last] != days[first]).any():
            stops[i] = first + int((days[first:last] != days[first]).argmax())
    return stops
