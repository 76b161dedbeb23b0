"""Severity: how rare a score is, as a number of 0 to 100 that compares across detectors and instruments."""

from __future__ import annotations

import numpy as np

from tapewatch.records import Array, Floats

#: Steps in which the body of a distribution is told, each half as common as the one before.
HALVINGS = 10
#: What a fit says of an instrument's scores; see `operators.tails.Tail`.
FIT = [
    ("u", "f8"),
    ("spread", "f8"),
    ("shape", "f8"),
    ("share", "f8"),
    ("total", "f8"),
    ("per_day", "f8"),  # observations a day
    ("body", "f8", (HALVINGS,)),  # scores that a half, a quarter, ... of the observations reached
]
#: Observations at which half of a score's rarity beyond once a day is believed.
_SHORT_HISTORY = 200.0


def severities(fits: Array, scores: Floats) -> Floats:
    """Return severities: 50 is what one instrument shows once a day, 75 once in 100 days.

    Below, severity falls with the logarithm of the tail probability to 0 at its likeliest.

    Parameters
    ----------
    fits
        Structured array with the fields of `FIT`, shape ``(n,)``; no ``share`` means that there is none yet.
    scores
        Float64, shape ``(n,)``.

    Returns
    -------
    Floats
        0 to 100, NaN where there is no fit yet; shape ``(n,)``.

    Examples
    --------
    >>> fit = np.array([(4.0, 1.0, 0.0, 0.01, 1e9, 10_000.0, (2.0,) * HALVINGS)], FIT)
    >>> once_a_day = 4.0 + np.log(0.01 * 10_000)
    >>> severities(fit, np.array([once_a_day])).round(3).tolist()
    [50.0]
    >>> severities(fit, np.array([once_a_day + np.log(100)])).round(3).tolist()
    [75.0]
    """
    share, per_day = fits["share"], fits["per_day"]
    fitted = share > 0
    excess = np.maximum(scores - fits["u"], 0.0) / np.where(fitted, fits["spread"], 1.0)
    flat = fits["shape"] < 1e-9
    safe = np.where(flat, 1.0, fits["shape"])
    depth = np.where(flat, excess, np.log1p(safe * excess) / safe)
    body = np.log(2.0) * (fits["body"] <= scores[:, None]).sum(axis=1)
    log_rarity = np.where(scores > fits["u"], np.log(1 / np.where(fitted, share, 1.0)) + depth, body)
    log_day = np.log(np.maximum(per_day, 2.0))
    # A short history says little of how much rarer than once a day a score is.
    trust = fits["total"] / (fits["total"] + np.maximum(_SHORT_HISTORY, 0.1 * per_day))
    decades = (log_rarity - log_day) / np.log(10.0) * trust
    tail = 100.0 - 50.0 * np.exp2(-np.maximum(decades, 0.0) / 2.0)
    below = 50.0 * np.clip(log_rarity / log_day, 0.0, 1.0)
    return np.where(fitted, np.where(decades > 0, tail, below), np.nan)
