"""What reviews have taught, as it is asked: the classifier's inputs and answer, risks, personal thresholds.

It only reads; `operators.transaction_feedback` learns. A prediction outside the flow needs nothing but this.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from operators.merchant_risk import RISKS, MerchantRisk
from operators.transaction_features import FEATURES
from tapewatch.records import DAY, Array, Floats
from tapewatch.transactions import Transactions

#: How long a confirmed fraud makes a user's next transactions suspect.
_SUSPECT_DAYS = 14
#: How much each false alarm makes a user's next alarm rarer, and a confirmed one commoner.
_LENIENCE, _MOST_LENIENCE = 0.1, 0.5
_STEPS = {
    "amount": (2.0, 3.0, 4.0), "amount_linear": (2.0, 2.5, 3.0, 3.5, 4.0, 5.0), "own_amount": (2.0, 4.0),
    "own_linear": (2.0, 3.0, 4.0, 6.0), "transactions_1h": (2.0, 4.0), "distance": (3.0, 8.0),
}  # fmt: skip
_STEP_PLACES = [(FEATURES.index(name), step) for name, steps in _STEPS.items() for step in steps]
_OWN_LINEAR, _RECENT = FEATURES.index("own_linear"), FEATURES.index("own_recent")
#: Columns that the classifier is shown.
INPUTS = 1 + len(FEATURES) + len(_STEP_PLACES) + 1 + len(RISKS) + 3


class Lessons:
    """What the classifier, the merchants' risks and the users' thresholds are now.

    Parameters
    ----------
    resume
        What `published` has told, None if nothing has been learned.
    """

    def __init__(self, resume: dict[str, Any] | None = None) -> None:
        #: Reviews that were learned.
        self.labels: int = 0 if resume is None else resume["labels"]
        self._weights: Floats = np.zeros(INPUTS) if resume is None else resume["weights"].copy()
        self._frauds: dict[int, tuple[int, ...]] = {}
        self._lenience: dict[int, int] = {}
        self._risk = MerchantRisk(None if resume is None else resume["risk"])
        if resume is not None:
            users, numbers, times = resume["frauds"]
            at = 0
            for user, number in zip(users.tolist(), numbers.tolist(), strict=True):
                self._frauds[user] = tuple(times[at : at + number].tolist())
                at += number
            users, numbers = resume["lenience"]
            self._lenience = dict(zip(users.tolist(), numbers.tolist(), strict=True))

    def published(self) -> dict[str, Any]:
        """Return what this is made from elsewhere; nothing in it changes later."""
        frauds = self._frauds
        return {
            "labels": self.labels,
            "weights": self._weights.copy(),
            "frauds": (
                np.array(list(frauds), np.uint64),
                np.array([len(times) for times in frauds.values()], np.int64),
                np.array([time for times in frauds.values() for time in times], np.int64),
            ),
            "lenience": (
                np.array(list(self._lenience), np.uint64), np.array(list(self._lenience.values()), np.int64),
            ),
            "risk": self._risk.reviewed(),
        }  # fmt: skip

    def inputs(self, batch: Transactions, values: Array) -> Array:
        """Return what the classifier is shown of transactions, float32, shape ``(n, inputs)``."""
        found = np.zeros((len(batch), INPUTS), np.float32)
        found[:, 0] = 1.0
        wide = np.minimum(np.maximum(values, -2.0), 8.0)
        found[:, 1 : 1 + len(FEATURES)] = wide / 4.0
        at = 1 + len(FEATURES)
        for feature, step in _STEP_PLACES:
            found[:, at] = values[:, feature] > step
            at += 1
        found[:, at] = np.maximum(wide[:, _RECENT], 0) * np.maximum(wide[:, _OWN_LINEAR], 0) / 16.0
        rows = self._risk.rows(batch.word("merchant_id"))
        found[:, at + 1 : at + 1 + len(RISKS)] = self._risk.risks(rows, batch.times)
        if self._frauds:
            for place, (user, ts) in enumerate(zip(batch.users, batch.times.tolist(), strict=True)):
                known = self._frauds.get(name_hash(user))
                if known:
                    number = sum(1 for time in known if ts - time < _SUSPECT_DAYS * DAY)
                    found[place, -3:] = (
                        number / 4.0,
                        number > 0,
                        number * max(wide[place, _OWN_LINEAR], 0) / 8.0,
                    )
        return found

    def score(self, inputs: Array) -> Floats:
        """Return the odds of a fraud, NaN as long as nothing has been learned."""
        if not self.labels:
            return np.full(len(inputs), np.nan)
        total = np.zeros(len(inputs))
        for column, weight in enumerate(self._weights.tolist()):
            if weight:
                total += inputs[:, column].astype(np.float64) * weight
        return np.exp(np.minimum(total, 30.0))

    def shares(self, inputs: Array) -> dict[str, float]:
        """Return how much of the classifier's answer for one row each feature carries, in all 1."""
        carried = np.maximum(self._weights * inputs.astype(np.float64), 0.0).tolist()
        told = dict.fromkeys((*FEATURES, "merchant", "user"), 0.0)
        for place, name in enumerate(FEATURES):
            told[name] += carried[1 + place]
        at = 1 + len(FEATURES)
        for feature, _ in _STEP_PLACES:
            told[FEATURES[feature]] += carried[at]
            at += 1
        told["own_recent"] += carried[at]
        for place in range(at + 1, at + 1 + len(RISKS)):
            told["merchant"] += carried[place]
        for place in range(len(carried) - 3, len(carried)):
            told["user"] += carried[place]
        total = 0.0
        for part in told.values():
            total += part
        return {name: part / total for name, part in told.items()} if total else {**told, "amount": 1.0}

    def lenience(self, users: Sequence[str]) -> Floats:
        """Return by how much each user's scores are to be multiplied: below 1 after false alarms."""
        if not self._lenience:
            return np.ones(len(users))
        sizes = (_LENIENCE * self._lenience.get(name_hash(user), 0) for user in users)
        return np.array([math.exp(-min(max(size, -_MOST_LENIENCE), _MOST_LENIENCE)) for size in sizes])


def name_hash(text: str) -> int:
    """Return 64 bits that stand for an id; never 0."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") | 1
