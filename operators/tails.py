"""Tails of histograms: generalised Pareto distributions beyond a high quantile (peaks over threshold).

Fitted by probability-weighted moments (Hosking and Wallis, "Parameter and Quantile Estimation for the
Generalized Pareto Distribution", 1987). A shape told by few peaks is worth little, so it is shrunk towards
that of the Pareto law with the same mean excess, whose one parameter a few peaks tell well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from operators.scale import Scale
from tapewatch.records import Array, Floats, Int64s

#: Counts are kept in sixteenths, so that forgetting stays exact.
ONE = 16
#: Peaks are this many times the square root of the observations.
_PEAKS = 0.8
_FEWEST_PEAKS, _MOST_PEAKS = 12, 4000
_LARGEST_SHAPE = 0.9
#: How many peaks the prior of the spread counts for.
_SPREAD_PEAKS = 5.0
#: How much further the threshold of a light tail is for the uncertainty of its peaks, with a single one.
_CAUTION = 0.5
#: Above the number of counts of any row.
_ROW_APART = 1 << 44


@dataclass(frozen=True, slots=True)
class Tail:
    """The tail of one instrument's scores.

    Attributes
    ----------
    u
        Where it begins, on the detector's scale.
    spread, shape
        Of the generalised Pareto distribution of what is beyond ``u``.
    peaks, total
        Observations beyond ``u``, and in all.
    """

    u: float
    spread: float
    shape: float
    peaks: float
    total: float

    @property
    def share(self) -> float:
        """Share of the observations beyond ``u``."""
        return self.peaks / max(self.total, 1.0)

    def quantile(self, rare: float) -> float:
        """Return the score that is exceeded with probability ``rare``, at most `share`.

        Few peaks say little of what lies far beyond them, least where the tail is heavy: the score is further
        away by ``(shape + 1 / 2) / sqrt(peaks)``, on the logarithmic scale of the probability.

        Examples
        --------
        >>> Tail(u=10.0, spread=5.0, shape=0.0, peaks=100.0, total=10_000.0).quantile(0.01 / math.e)
        15.25
        """
        depth = math.log(max(self.share / rare, 1.0))
        depth *= 1 + (self.shape + _CAUTION) / math.sqrt(max(self.peaks, 1.0))
        if self.shape < 1e-9:
            return self.u + self.spread * depth
        return self.u + self.spread * math.expm1(self.shape * depth) / self.shape


class Histograms:
    """Counts of ``k`` rows, in sixteenths, and what they say.

    Parameters
    ----------
    scale
        Whose bins they are.
    counts
        Integers, shape ``(k, scale.bins)``.
    """

    def __init__(self, scale: Scale, counts: Array) -> None:
        self._scale, self._bins = scale, scale.bins
        self._edges, self._centres = _edges(scale)
        self._counts = counts
        #: From the highest bin down: how many are there or above.
        self._down = np.cumsum(counts[:, ::-1], axis=1, dtype=np.int64)
        self._row = np.arange(len(counts))
        self._sorted = (self._down + (self._row * _ROW_APART)[:, None]).ravel()

    def _filled(self, at_least: Int64s) -> Int64s:
        """Return how many of the lowest bins have so many sixteenths in them or above, shape ``(k, q)``."""
        row = self._row[:, None]
        place = np.searchsorted(self._sorted, at_least + row * _ROW_APART)
        filled: Int64s = (row + 1) * self._bins - place
        return filled

    def body(self, halvings: int) -> Floats:
        """Return the scores that a half, a quarter, ... of the observations reach, ``(k, halvings)``."""
        return self._edges[self._filled(self._down[:, -1:] >> np.arange(1, halvings + 1))]

    def exceeded_by(self, row: int, rare: float) -> float:
        """Return the score above which is a share ``rare`` of a row's observations at most."""
        most = math.floor(rare * int(self._down[row, -1]))
        place = int(np.searchsorted(self._down[row], most + 1))
        return float(self._edges[self._bins - place])

    def tails(self) -> list[Tail]:
        """Return the tail of each row."""
        total = self._down[:, -1].tolist()
        asked = np.ones((len(total), 2), np.int64)
        asked[:, 1] = [math.ceil(_wanted(sixteenths / ONE) * ONE) for sixteenths in total]
        last, first = self._filled(asked).T
        first = np.maximum(first - 1, 0)
        low, high = int(first.min()), max(int(last.max()), int(first.max()) + 1)
        u = self._edges[first]
        above = self._down[:, self._bins - high : self._bins - low][:, ::-1]
        counts = self._counts[:, low:high]
        # Bins below the first have no excess.
        excess = np.maximum(self._centres[low:high] - u[:, None], 0.0)
        excess *= counts
        # One after the other: which bins there are beside depends on the other rows, the sum must not.
        sums = np.add.accumulate(excess, axis=1)[:, -1].tolist()
        # Twice the rank of a bin's middle.
        excess *= 2 * above - counts
        ranked = np.add.accumulate(excess, axis=1)[:, -1].tolist()
        peaks = above[self._row, first - low].tolist()
        return [
            _tail(self._scale, *values) for values in zip(u.tolist(), sums, ranked, peaks, total, strict=True)
        ]


def _wanted(total: float) -> float:
    """Return how many peaks a tail of so many observations should have.

    >>> _wanted(10), _wanted(10_000)
    (12, 80.0)
    """
    return min(max(_PEAKS * math.sqrt(total), _FEWEST_PEAKS), _MOST_PEAKS)


def _tail(scale: Scale, u: float, excess: float, ranked: float, peaks: int, total: int) -> Tail:
    """Return the tail with these sums of excesses, and of excesses times twice their rank; in sixteenths."""
    some = max(peaks, ONE)
    mean, second = excess / some, ranked / (2.0 * some * some)
    shape = min(max(2 - mean / max(mean - 2 * second, 1e-12 * (mean + 1e-300)), -0.5), 1.0)
    pareto = min(max(mean / (mean + u), scale.shape), max(scale.shape, scale.heaviest))
    count = peaks / ONE
    trust = count / (count + scale.prior_peaks)
    shape = min(max(trust * shape + (1 - trust) * pareto, 0.0), _LARGEST_SHAPE)
    trust = count / (count + _SPREAD_PEAKS)
    spread = trust * mean * (1 - shape) + (1 - trust) * scale.spread * u
    return Tail(u, max(spread, 1e-6 * u + 1e-12), shape, count, total / ONE)


@cache
def _edges(scale: Scale) -> tuple[Floats, Floats]:
    """Return the edges of a scale's bins and their centres."""
    edges = scale.edges()
    return edges, (edges[1:] + edges[:-1]) / 2
