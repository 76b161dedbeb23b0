"""How often each caller may ask: a bucket of requests that fills up again (token bucket)."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

#: Callers that are remembered; the bucket of who has not asked for longest is full again.
_MOST = 10_000


class Rates:
    """Counts the requests of each caller.

    Parameters
    ----------
    per_second
        How fast a bucket fills; 0 allows everything.
    burst
        What it holds.
    clock
        Seconds that only grow.

    Examples
    --------
    >>> now = [0.0]
    >>> rates = Rates(2.0, 3, clock=lambda: now[0])
    >>> [rates.wait("ana") for _ in range(4)], rates.wait("bo")
    ([0, 0, 0, 1], 0)
    >>> now[0] = 0.5
    >>> rates.wait("ana"), rates.wait("ana")
    (0, 1)
    """

    def __init__(self, per_second: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._burst, self._clock = per_second, float(burst), clock
        #: What is left, and when that was.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, caller: str) -> int:
        """Take a request of a caller; return after how many seconds to ask again, 0 if it is allowed."""
        if not self._per_second:
            return 0
        now = self._clock()
        left, at = self._left.pop(caller, (self._burst, now))
        left = min(left + (now - at) * self._per_second, self._burst)
        allowed = left >= 1.0
        self._left[caller] = (left - 1.0 if allowed else left, now)
        if len(self._left) > _MOST:
            self._left.popitem(last=False)
        return 0 if allowed else math.ceil((1.0 - left) / self._per_second)
