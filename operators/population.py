"""What is usual among all transactions of a stream: robust units of numbers, learned as they come."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapewatch.records import Array, Floats

#: Latest values that are kept, and from how many on, and how often, the units are renewed.
_KEPT, _FEWEST, _EVERY = 8_192, 256, 512
#: Standard deviations that the outer quantiles of a normal distribution are from its median.
_OUTER, _DEVIATIONS = 0.05, 1.6449
LARGEST, _SMALLEST = 20.0, -5.0


class Population:
    """Turns columns of numbers into standard deviations from the median, one for each side.

    The distances between the median and the quantiles of 5 % and 95 % tell the scale of either side, so
    neither a heavy tail nor outliers change it. What is learned depends on the order of the rows only, not
    on how they are cut into batches: units are renewed after certain numbers of rows.

    Parameters
    ----------
    least
        The least that a standard deviation may be, one for each column.
    resume
        A `snapshot` to go on from.

    Examples
    --------
    >>> population = Population(np.array([0.1]))
    >>> values = np.linspace(-1.0, 1.0, 256)[:, None]
    >>> bool(population.units(values).any()), population.room
    (False, 256)
    >>> population.learn(values)
    >>> population.units(np.array([[0.9], [np.nan]])).round(2).tolist()
    [[1.65], [0.0]]
    """

    def __init__(self, least: Floats, resume: dict[str, Any] | None = None) -> None:
        columns, self._least = len(least), least.tolist()
        self._ring = np.full((_KEPT, columns), np.nan)
        self._seen = 0
        self._middle, self._below, self._above = (np.zeros(columns) for _ in range(3))
        if resume is not None:
            self._ring[: len(resume["ring"])] = resume["ring"]
            self._seen = resume["seen"]
            self._middle, self._below, self._above = (a.copy() for a in resume["units"])

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        units = (self._middle.copy(), self._below.copy(), self._above.copy())
        return {"ring": self._ring[: min(self._seen, _KEPT)].copy(), "seen": self._seen, "units": units}

    def published(self) -> dict[str, Any]:
        """Return what measures as this does elsewhere but cannot learn: a `snapshot` without the values."""
        return self.snapshot() | {"ring": self._ring[:0].copy()}

    @property
    def ready(self) -> bool:
        """Whether there are units yet."""
        return self._seen >= _FEWEST

    @property
    def room(self) -> int:
        """How many rows may be measured before what was learned has to be looked at again."""
        if self._seen < _EVERY:
            return (_FEWEST if self._seen < _FEWEST else _EVERY) - self._seen
        return _EVERY - self._seen % _EVERY

    def units(self, values: Floats) -> Floats:
        """Return values ``(n, columns)`` in standard deviations, between -5 and 20; 0 for what is unknown."""
        from_middle = values - self._middle
        scale = np.where(from_middle < 0, self._below, self._above)
        known = (scale > 0) & ~np.isnan(values)
        found: Floats = np.where(known, from_middle / np.where(known, scale, 1.0), 0.0)
        return np.minimum(np.maximum(found, _SMALLEST), LARGEST)

    def learn(self, values: Floats) -> None:
        """Take note of the next rows, at most `room` of them."""
        place = (self._seen + np.arange(len(values))) % _KEPT
        self._ring[place] = values
        room = self.room
        self._seen += len(values)
        if len(values) >= room:
            self._renew(self._ring[: min(self._seen, _KEPT)])

    def _renew(self, kept: Array) -> None:
        for column in range(kept.shape[1]):
            known = kept[:, column]
            known = np.sort(known[~np.isnan(known)])
            if len(known) < _FEWEST // 2:
                continue
            low, middle, high = (
                float(known[int(share * (len(known) - 1))]) for share in (_OUTER, 0.5, 1.0 - _OUTER)
            )
            # A column that hardly varies must not make mountains of what is left.
            least = max(self._least[column], 0.03 * (high - low), 1e-3 * abs(middle))
            self._middle[column] = middle
            self._below[column] = max((middle - low) / _DEVIATIONS, least)
            self._above[column] = max((high - middle) / _DEVIATIONS, least)
