"""ADWIN: tells when the mean of a stream has changed.

A window of adaptive length over a stream, kept as an exponential histogram: buckets of 1, 2, 4, … values
with their sums and variances. Whenever two parts of it have means that differ by more than chance allows, the
older part is dropped (Bifet and Gavaldà, "Learning from Time-Changing Data with Adaptive Windowing", 2007).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

#: Buckets of one size, the oldest first: sum and sum of squared deviations of each.
_Row: TypeAlias = list[tuple[float, float]]
#: What an `Adwin` is made of: values seen, sum and squared deviations of the window, and its buckets.
State: TypeAlias = tuple[int, float, float, tuple[tuple[tuple[float, float], ...], ...]]

#: Buckets of a size before the two oldest become one of twice the size.
_BUCKETS = 5
#: Values between two checks, values before the first, and the least length of either part.
_CLOCK, _GRACE, _LEAST = 32, 10, 5


class Adwin:
    """A window that shrinks when the mean of what it is shown changes.

    Parameters
    ----------
    delta
        How likely a false detection may be at a check, above 0 and below 1.
    resume
        A `snapshot` to go on from.

    Examples
    --------
    >>> adwin = Adwin(0.002)
    >>> [at for at in range(400) if adwin.update(float(at >= 200) + at % 2 / 10)]
    [223, 255, 287]
    """

    __slots__ = ("_delta", "_rows", "_seen", "_squares", "_total")

    def __init__(self, delta: float, resume: State | None = None) -> None:
        self._delta = delta
        self._seen, self._total, self._squares = 0, 0.0, 0.0
        #: Row ``i`` holds buckets of ``2**i`` values.
        self._rows: list[_Row] = [[]]
        if resume is not None:
            self._seen, self._total, self._squares, rows = resume
            self._rows = [list(row) for row in rows]

    def snapshot(self) -> State:
        """Return the state to resume from."""
        return self._seen, self._total, self._squares, tuple(tuple(row) for row in self._rows)

    @property
    def width(self) -> int:
        """Values in the window."""
        return sum(len(row) << size for size, row in enumerate(self._rows))

    def update(self, value: float) -> bool:
        """Add a value; return whether the mean has changed. If so, what was before is forgotten."""
        width = self.width
        if width:
            self._squares += width * (value - self._total / width) ** 2 / (width + 1)
        self._total += value
        self._rows[0].append((value, 0.0))
        self._merge()
        self._seen += 1
        changed = False
        if self._seen % _CLOCK == 0 and width + 1 > _GRACE:
            while self._cut():
                self._drop()
                changed = True
        return changed

    def _merge(self) -> None:
        for size, row in enumerate(self._rows):
            if len(row) <= _BUCKETS:
                return
            if size + 1 == len(self._rows):
                self._rows.append([])
            (first, first_squares), (second, second_squares) = row[:2]
            del row[:2]
            squares = (first - second) ** 2 / (1 << size) / 2
            self._rows[size + 1].append((first + second, first_squares + second_squares + squares))

    def _drop(self) -> None:
        """Forget the oldest bucket."""
        size = len(self._rows) - 1
        total, squares = self._rows[-1].pop(0)
        if not self._rows[-1] and size:
            self._rows.pop()
        number, width = 1 << size, self.width
        self._total -= total
        between = number * width * (total / number - self._total / width) ** 2 / (number + width)
        self._squares -= squares + between

    def _cut(self) -> bool:
        """Return whether the window falls into two parts with different means."""
        width = self.width
        variance = self._squares / width
        likely = math.log(2 * math.log(width) / self._delta)
        number, total = 0, 0.0
        for many, part in self._oldest_first():
            number += many
            total += part
            rest = width - number
            if rest < _LEAST:
                return False
            if number < _LEAST:
                continue
            mean = 1 / (number - _LEAST + 1) + 1 / (rest - _LEAST + 1)
            bound = math.sqrt(2 * mean * variance * likely) + 2 / 3 * likely * mean
            if abs(total / number - (self._total - total) / rest) > bound:
                return True
        return False

    def _oldest_first(self) -> Iterator[tuple[int, float]]:
        for size in range(len(self._rows) - 1, -1, -1):
            for total, _ in self._rows[size]:
                yield 1 << size, total
