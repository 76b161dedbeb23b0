"""Risk levels: what a severity of 0 to 100 is called."""

from __future__ import annotations

from bisect import bisect_right

#: Severities from which on the next level holds.
CUTS = (50.0, 75.0, 90.0)
LEVELS = ("low", "medium", "high", "critical")


def risk_level(severity: float) -> str:
    """Return the level of a severity.

    >>> [risk_level(severity) for severity in (0.0, 49.9, 50.0, 75.0, 90.0, 100.0)]
    ['low', 'low', 'medium', 'high', 'critical', 'critical']
    """
    return LEVELS[bisect_right(CUTS, severity)]
