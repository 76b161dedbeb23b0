"""Half a year of payments for `benchmarks.dashboard`: 100,000 anomalies, profiles of 20,000 users."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import orjson

from tapewatch.documents import Anomaly, Payment, Results
from tapewatch.records import DAY, SECOND

USERS, ANOMALIES, DAYS = 20_000, 100_000, 180
_PER_PART = 5_000
_FIRST = 19_877 * DAY
_DETECTORS = ("ensemble", "rules", "isolation_forest", "autoencoder", "half_space_trees")
_PLACES = [f"{first}{second}" for first in "ABCDE" for second in "KLMNOPQR"]
_CATEGORIES = ("grocery", "restaurant", "transport", "fuel", "utilities", "clothing", "electronics", "travel")
_METHODS = ("card", "contactless", "wallet", "transfer", "direct_debit")


def user(number: int) -> str:
    """Return a user's id."""
    return f"u{number:06d}"


def results() -> Iterator[Results]:
    """Yield anomalies of payments, each payment found by one to three detectors, and all profiles."""
    rng = np.random.default_rng(12)
    made = 0
    while made < ANOMALIES:
        anomalies: list[Anomaly] = []
        while len(anomalies) < _PER_PART:
            anomalies += _payment(rng, made + len(anomalies))
        made += len(anomalies)
        yield Results("payments", 0, "", "transactions", [], anomalies)
    profiles = [_profile(rng, number) for number in range(USERS)]
    yield Results("payments", 0, "", "transactions", profiles=profiles, counters={"records": 20_000_000})


def _payment(rng: np.random.Generator, serial: int) -> Iterator[Anomaly]:
    ts = _FIRST + int(rng.integers(0, DAYS * DAY))
    who, name = user(int(rng.integers(0, USERS))), f"{serial:032x}"
    amount = round(float(np.exp(rng.normal(4.0, 1.5))), 2)
    choices = (_CATEGORIES, _PLACES, _METHODS)
    category, place, method = (str(rng.choice(words)) for words in choices)
    for ordinal in range(int(rng.integers(1, 4))):
        severity = round(50 + 50 * float(rng.beta(1.0, 4.0)), 3)
        risk = "critical" if severity >= 90 else "high" if severity >= 75 else "medium"
        payment = Payment(f"t{serial}", who, amount, category, place, method, risk)
        yield Anomaly(
            f"{serial:024x}{ordinal:08x}", name, 1, "transactions", _DETECTORS[ordinal], "", 0, 0, who, who,
            ts, ts, ts + 1, severity, 6.5, 4.0, amount, 30.0,
            f"{who}: an amount of {amount:,.2f}, where 30 is usual for this user", {"own_amount": 1.0},
            ts + SECOND, payment,
        )  # fmt: skip


def _profile(rng: np.random.Generator, number: int) -> tuple[object, ...]:
    def counted(words: object, count: int) -> str:
        chosen = rng.choice(words, count, replace=False)  # type: ignore[call-overload]
        return orjson.dumps({str(word): float(rng.integers(1, 40)) for word in chosen}).decode()

    hours = orjson.dumps({str(hour): float(rng.integers(1, 9)) for hour in range(7, 22)}).decode()
    return (
        user(number), counted(_PLACES, 3), counted(_CATEGORIES, 5), counted(_METHODS, 2), hours, 3.5, 410.0,
        42.25, 900, 4, 8.0, _FIRST, _FIRST + DAYS * DAY, None,
    )  # fmt: skip
