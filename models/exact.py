"""Numbers on a grid: sums that are exact, so that no order of addition can change a bit of them.

A float32 holds 24 bits, a float64 53. If all terms of a sum are multiples of one power of two, and the sum of
their sizes is less than 2**24 (2**53) such steps, then every partial sum, in whatever order, is held exactly;
fused or not, blocked or not, on any machine.
"""

from __future__ import annotations

import numpy as np

from tapewatch.records import Array, Floats

_BITS = {np.dtype(np.float32): 24, np.dtype(np.float64): 53}


def on_grid(values: Array, steps: float) -> Floats:
    """Return the nearest multiples of ``1 / steps``, a power of two.

    >>> on_grid(np.array([0.3, -0.3]), 4.0).tolist()
    [0.25, -0.25]
    """
    rounded: Floats = np.rint(np.asarray(values, np.float64) * steps) / steps
    return rounded


def finest_steps(largest_sum: float, dtype: type[np.floating]) -> float:
    """Return how many steps to 1, a power of two, still make sums of at most ``largest_sum`` exact.

    >>> finest_steps(1.5, np.float32) == 2**23
    True
    """
    _, exponent = np.frexp(largest_sum)
    return float(2.0 ** (_BITS[np.dtype(dtype)] - int(exponent)))


def require_exact(largest_sum: float, steps: float, dtype: type[np.floating]) -> None:
    """Make sure that sums of multiples of ``1 / steps`` of at most that size are exact.

    Raises
    ------
    ArithmeticError
        If they might round.
    """
    if largest_sum * steps >= 2.0 ** _BITS[np.dtype(dtype)]:
        raise ArithmeticError(f"sums up to {largest_sum:g} in steps of 1/{steps:g} are not exact")
