"""How fast one user's transactions follow each other, by the last of them: times (ns) and amounts in turn.

What came after the moment that is asked for does not count: a transaction of the past may be judged by a
profile of now.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tapewatch.records import DAY, HOUR


def velocity(recent: Sequence[float], ts: int, amount: float) -> tuple[float, float, float]:
    """Return how many transactions the hour and the day up to ``ts`` have, and the day's amounts.

    One of ``amount`` at ``ts`` counts beside those of ``recent``.

    >>> velocity([0.0, 10.0, 1.8e12, 5.0, 9e12, 7.0], 3_600_000_000_000, 1.0)
    (2.0, 3.0, 16.0)
    """
    hour, day, total = 1.0, 1.0, amount
    for at in range(0, len(recent), 2):
        age = ts - recent[at]
        if 0.0 <= age < DAY:
            day += 1.0
            total += recent[at + 1]
            if age < HOUR:
                hour += 1.0
    return hour, day, total


def since_ns(recent: Sequence[float], ts: int) -> float:
    """Return how long before ``ts`` the last transaction was that did not come later; NaN if unknown.

    >>> since_ns([100.0, 10.0, 900.0, 5.0], 400)
    300.0
    """
    before = [at for at in recent[::2] if at <= ts]
    return ts - max(before) if before else math.nan
