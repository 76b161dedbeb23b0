"""How large a sigma is: what a minute's price and volume usually vary by at a time of day.

The size of an injected event (`models.bar_events`) is told in these. Two readings of the word are kept, so
that a study can be made by either: the standard deviation, and the median absolute deviation scaled to what
it would be of normal moves. Minute moves have heavy tails, and in thin instruments more than half of the
minutes do not move at all, so that the second is smaller, or nothing.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from tapewatch.records import DAY, HOUR, Array, Floats

Reading = Literal["deviation", "robust"]
#: By the standard deviation, or 1.48 times the median absolute deviation.
READINGS: tuple[Reading, ...] = get_args(Reading)
USUAL: Reading = "deviation"
#: The same time of day is this near to it, and of days this near.
_NEAR, _DAYS = HOUR // 4, 10 * DAY
_ENOUGH = 30
_OF_MEDIAN = 1.4826
#: No less than these: a share of the price, integer units of price, and natural logarithms of volume.
_LEAST_SHARE, _LEAST_PRICE, _LEAST_LOG_VOLUME = 1e-5, 1.0, 0.2


def local_sigmas(bars: Array, moves: Floats, at: int, reading: Reading = USUAL) -> tuple[float, float]:
    """Return the sigma of one-minute moves, in units of price, and of log volume at a bar's time of day.

    Parameters
    ----------
    bars
        Of one instrument, dtype `tapewatch.documents.BAR`, in order.
    moves
        From close to close, float64, in integer units of price, shape ``(len(bars),)``.
    at
        The bar.
    reading
        One of `READINGS`.

    Examples
    --------
    >>> from tapewatch.documents import BAR
    >>> bars = np.zeros(61, BAR)
    >>> bars["ts_start"] = np.arange(61) * 60_000_000_000
    >>> moves = np.array([0.0] + [10.0, -10.0, 10.0, -10.0, 70.0, -70.0] * 10)
    >>> [round(local_sigmas(bars, moves, 15, one)[0], 1) for one in READINGS]
    [41.2, 14.8]
    """
    near = _near(bars["ts_start"], at)
    price, log_volume = 0.0, 0.0
    if len(near):
        logs = np.log(np.maximum(bars["volume"][near].astype(np.float64), 1.0))
        price = _spread(moves[near], 0.0, reading)
        centre = np.mean(logs) if reading == "deviation" else np.median(logs)
        log_volume = _spread(logs, float(centre), reading)
    least = max(abs(float(bars["close"][at])) * _LEAST_SHARE, _LEAST_PRICE)
    return max(price, least), max(log_volume, _LEAST_LOG_VOLUME)


def _near(starts: Array, at: int) -> Array:
    """Return the bars at about that time of day, on days about that one."""
    now = int(starts[at])
    low, high = np.searchsorted(starts, [now - _DAYS, now + _DAYS])
    apart = np.abs((starts[low:high] - now + DAY // 2) % DAY - DAY // 2)
    near = low + np.flatnonzero(apart <= _NEAR)
    near = near[near > 0]
    if len(near) < _ENOUGH:
        near = np.arange(max(at - _ENOUGH, 1), min(at + _ENOUGH, len(starts)))
    # Moves from one session to the next are none of the minute.
    kept: Array = near[starts[near] - starts[near - 1] <= HOUR // 2]
    return kept


def _spread(values: Floats, centre: float, reading: Reading) -> float:
    if reading == "deviation":
        return float(np.sqrt(np.mean((values - centre) ** 2)))
    return float(np.median(np.abs(values - centre))) * _OF_MEDIAN
