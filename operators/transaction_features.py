"""What detectors are shown of a transaction: how far each side of it is from usual, 0 being usual.

The first features are those of the population, by which a transaction is compared with all others of the
stream; those that begin with ``own_`` compare it with its user's profile and are 0 in standard mode.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.measured import Measured
from operators.population import LARGEST, Population
from tapewatch.records import HOUR, Array, Floats
from tapewatch.transactions import Transactions

POPULATION = (
    "amount", "amount_linear", "distance", "haste", "transactions_1h", "share_24h", "contradiction",
    "night_amount",
)  # fmt: skip
OWN = (
    "own_amount", "own_linear", "own_maximum", "own_category", "own_place", "own_merchant",
    "own_merchant_category", "own_method", "own_device", "own_hour", "own_pace", "own_travel", "own_recent",
)  # fmt: skip
FEATURES = POPULATION + OWN
#: The least that a standard deviation of each measure may be.
_LEAST = np.array([0.05, 0.01, 0.1, 0.1, 1.0, 0.1, *[{"own_recent": 1.5}.get(name, 0.5) for name in OWN]])
_RAW = 6
_MEASURED = {name: place for place, name in enumerate(Measured._fields)}
_OWN_PLACES = [_MEASURED[name] for name in OWN]
#: Natural logarithm of 900 km/h: what is faster is impossible.
_FASTEST = 6.8
#: Contradictions that are commoner than this are how the data is made.
_COMMON = 0.1
_NIGHT_ENDS = 6.0


@dataclass(frozen=True, slots=True)
class Features:
    """Features of some transactions.

    Attributes
    ----------
    values
        Float32, shape ``(n, len(FEATURES))``, bounded.
    raw
        What was measured, in the order of the features but for the two that follow from others: log amount,
        amount, distance (km), minus the log of the minutes since the last, twice the root of the transactions
        of an hour (whose deviation, if they come by chance, is 1: Anscombe, 1948), log share of the day's
        amounts, and what the profile says; shape ``(n, 19)``.
    broken
        Which contradictions there are, bool, shape ``(n, len(CONTRADICTIONS))``.
    """

    values: Array
    raw: Floats
    broken: Array


#: Fields of a transaction that cannot all be true.
CONTRADICTIONS = (
    "the day's total is less than the amount",
    "the hour is not that of the timestamp",
    "weekend and day of the week do not agree",
    "several transactions within the hour, the last one more than an hour ago",
)


class TransactionFeatures:
    """Makes features; learns what is usual in the population.

    Parameters
    ----------
    personal
        Whether profiles are asked.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, *, personal: bool, resume: dict[str, Any] | None = None) -> None:
        self._personal = personal
        self._population = Population(_LEAST, None if resume is None else resume["population"])
        self._broken = np.zeros(len(CONTRADICTIONS), np.int64)
        self._seen = 0
        self._surprise = np.zeros(len(CONTRADICTIONS))
        if resume is not None:
            self._broken, self._seen = resume["broken"].copy(), resume["seen"]
            self._surprise = resume["surprise"].copy()

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "population": self._population.snapshot(), "broken": self._broken.copy(), "seen": self._seen,
            "surprise": self._surprise.copy(),
        }  # fmt: skip

    def published(self) -> dict[str, Any]:
        """Return what measures as this does elsewhere but cannot learn."""
        return self.snapshot() | {"population": self._population.published()}

    @property
    def seen(self) -> int:
        """Transactions that were learned."""
        return self._seen

    @property
    def ready(self) -> bool:
        """Whether enough is known of the population."""
        return self._population.ready

    @property
    def room(self) -> int:
        """How many rows may be measured before `learn`."""
        return self._population.room

    def measure(self, batch: Transactions, measured: Floats) -> Features:
        """Return the features of at most `room` transactions; nothing is learned.

        Parameters
        ----------
        batch
            The transactions.
        measured
            What the profiles made of them (`Measured`), float64, C-contiguous, shape ``(n, fields)``.
        """
        own = np.zeros((len(batch), len(OWN)))
        if self._personal:
            own[:] = measured[:, _OWN_PLACES]
            travel = OWN.index("own_travel")
            own[:, travel] = np.maximum(own[:, travel] - _FASTEST, 0.0)
        raw = np.concatenate([_raw(batch, measured), own], axis=1)
        broken = _broken(batch)
        units = self._population.units(raw)
        values = np.zeros((len(batch), len(FEATURES)))
        values[:, :_RAW], values[:, len(POPULATION) :] = units[:, :_RAW], units[:, _RAW:]
        for check in range(len(CONTRADICTIONS)):
            values[:, 6] += np.where(broken[:, check], self._surprise[check], 0.0)
        values[:, 7] = np.where(_hours(batch) < _NIGHT_ENDS, np.maximum(values[:, 0], 0.0), 0.0)
        values = np.minimum(np.maximum(values, -5.0), LARGEST)
        return Features(values.astype(np.float32), raw, broken)

    def learn(self, features: Features) -> None:
        """Take note of what was measured."""
        renewed = len(features.raw) >= self.room
        self._population.learn(features.raw)
        self._broken += features.broken.sum(axis=0)
        self._seen += len(features.raw)
        if renewed:
            rate = (self._broken + 0.5) / (self._seen + 1.0)
            surprise = [-float(np.log(share)) if share < _COMMON else 0.0 for share in rate.tolist()]
            self._surprise = np.array(surprise)


def _raw(batch: Transactions, measured: Floats) -> Floats:
    amounts = batch.amounts
    since = np.ascontiguousarray(measured[:, _MEASURED["since_minutes"]])
    total = np.ascontiguousarray(measured[:, _MEASURED["total_24h"]])
    count = np.ascontiguousarray(measured[:, _MEASURED["count_1h"]])
    share = np.log(np.maximum(amounts, 1e-2)) - np.log(np.maximum(total, 1e-2))
    return np.stack(
        [
            np.log(np.maximum(amounts, 1e-2)), amounts, batch.number("location_distance_km"),
            -np.log(np.maximum(since, 1e-2)), 2.0 * np.sqrt(count), share,
        ],
        axis=1,
    )  # fmt: skip


def _hours(batch: Transactions) -> Floats:
    given = batch.number("hour")
    return np.where(np.isnan(given), batch.times // HOUR % 24, given)


def _broken(batch: Transactions) -> Array:
    hour, day = batch.number("hour"), batch.number("day_of_week")
    weekend, since = batch.number("is_weekend"), batch.number("time_since_last_transaction_minutes")
    with np.errstate(invalid="ignore"):
        return np.stack(
            [
                batch.number("total_amount_24h") < batch.amounts * (1 - 1e-9),
                ~np.isnan(hour) & (hour != batch.times // HOUR % 24),
                ~np.isnan(day) & ~np.isnan(weekend) & ((day >= 5) != (weekend == 1)),
                (batch.number("transaction_count_1h") > 1) & (since > 60),
            ],
            axis=1,
        )
