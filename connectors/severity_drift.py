"""Drift: how far the latest severities are from those before, in bounded memory."""

from __future__ import annotations

from collections import deque

import numpy as np

from tapewatch.records import MINUTE, Array, Floats

#: Severities from 0 to 100 are counted in so many bins.
BINS = 20
#: A block of severities ends once it spans so much of the tape and holds so many.
_BLOCK_NS, _BLOCK_LEAST = 5 * MINUTE, 20
#: Blocks that are the latest, those they are compared with, and of these how many there must be at least.
_LATEST, _BEFORE, _LEAST_BEFORE = 10, 100, 10


class Drift:
    """The Jensen-Shannon divergence between the latest severities and those before.

    Severities are counted in blocks of at least 20 that span at least five minutes of the tape. The last ten
    full blocks are compared with up to a hundred before them. The divergence (J. Lin, "Divergence measures
    based on the Shannon entropy", 1991) has logarithms to base 2: 0 for equal distributions, 1 for disjoint
    ones. By chance alone it is about ``19 / (8 ln 2) * (1 / n + 1 / m)`` for ``n`` and ``m`` severities.

    Examples
    --------
    >>> drift = Drift()
    >>> for minute in range(0, 600, 5):
    ...     drift.add(np.full(20, 30.0 if minute < 300 else 80.0), minute * MINUTE)
    ...     if minute in (250, 350):
    ...         print(drift.divergence)
    0.0
    1.0
    """

    def __init__(self) -> None:
        self._blocks: deque[Array] = deque(maxlen=_LATEST + _BEFORE)
        self._counts = np.zeros(BINS, np.int64)
        self._began: int | None = None

    def add(self, severities: Floats, clock: int) -> None:
        """Count severities that became known at a time of the tape.

        Parameters
        ----------
        severities
            0 to 100, float64, shape ``(n,)``.
        clock
            Where the tape is, ns.
        """
        if self._began is None or clock < self._began:
            self._began = clock
        elif clock - self._began >= _BLOCK_NS and self._counts.sum() >= _BLOCK_LEAST:
            self._blocks.append(self._counts)
            self._counts, self._began = np.zeros(BINS, np.int64), clock
        self._counts += counted(severities, BINS)

    @property
    def divergence(self) -> float | None:
        """The divergence, 0 to 1; None while there is too little to compare."""
        blocks = list(self._blocks)
        if len(blocks) < _LATEST + _LEAST_BEFORE:
            return None
        latest, before = (np.sum(part, axis=0) for part in (blocks[-_LATEST:], blocks[:-_LATEST]))
        return jensen_shannon(latest / latest.sum(), before / before.sum())


def counted(severities: Floats, bins: int) -> Array:
    """Return how many severities are in each of the equal bins of 0 to 100.

    >>> counted(np.array([0.0, 49.9, 50.0, 100.0]), 2).tolist()
    [2, 2]
    """
    places = np.clip(severities * (bins / 100.0), 0, bins - 1).astype(np.intp)
    return np.bincount(places, minlength=bins)


def jensen_shannon(p: Floats, q: Floats) -> float:
    """Return the Jensen-Shannon divergence of two distributions over the same bins, in bits.

    >>> jensen_shannon(np.array([1.0, 0.0]), np.array([0.0, 1.0]))
    1.0
    >>> round(jensen_shannon(np.array([0.5, 0.5]), np.array([0.25, 0.75])), 4)
    0.0488
    """
    middle = (p + q) / 2
    parts = [part[part > 0] * np.log2(part[part > 0] / middle[part > 0]) for part in (p, q)]
    return float(max(parts[0].sum() + parts[1].sum(), 0.0) / 2)
