"""What a user's profile says of a transaction, and how strange that makes it."""

from __future__ import annotations

from typing import NamedTuple


class Measured(NamedTuple):
    """What a profile makes of a transaction before it is learned; NaN is unknown.

    The first three are the transaction's own where it has them. Those that begin with ``own_`` are in the
    user's standard deviations (or nats, for words), 0 where nothing can be said, and shrunk while the
    profile is short.
    """

    since_minutes: float
    count_1h: float
    total_24h: float
    own_amount: float
    own_linear: float
    own_maximum: float
    own_category: float
    own_place: float
    own_merchant: float
    own_merchant_category: float
    own_method: float
    own_device: float
    own_hour: float
    own_pace: float
    own_travel: float
    own_recent: float
    usual_amount: float
    known: float


def strangeness(measured: Measured) -> float:
    """Return how unlike its user a transaction is: the two largest of what was measured, added."""
    amount = max(measured.own_amount, measured.own_category, 0.0)
    words = max(measured.own_place, measured.own_merchant, measured.own_method, measured.own_device, 0.0)
    travel = max(2.0 * (measured.own_travel - 6.5), 0.0)
    others = sorted((amount, words, 1.5 * measured.own_hour, 0.5 * measured.own_pace, travel))
    return others[-1] + others[-2]
