"""Profiles and features of transactions outside a dataflow: for training, evaluation, history."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from operators.measured import Measured
from operators.profiles import Profile
from operators.transaction_features import Features, TransactionFeatures
from tapewatch.records import DAY, Floats
from tapewatch.transactions import Transactions


class History:
    """Profiles of all users, in one process.

    Parameters
    ----------
    idle_ns
        A user who was away for longer begins anew.
    """

    def __init__(self, idle_ns: int) -> None:
        self.profiles: dict[str, Profile] = {}
        self._idle_ns = idle_ns

    def measure(self, batch: Transactions) -> Floats:
        """Return what the profiles make of each transaction before it is learned, ``(n, fields)``."""
        measured = np.empty((len(batch), len(Measured._fields)))
        profiles, idle = self.profiles, self._idle_ns
        for user, row in batch.rows():
            profile = profiles.get(user)
            if profile is None or profile.idle(row.clock, idle):
                profile = profiles[user] = Profile()
            measured[row.number] = profile.update(row)
        return measured


def profiles_of(batches: Iterable[Transactions], idle_days: int) -> list[tuple[Any, ...]]:
    """Return every user's profile after a history, in the order of `tapewatch.documents.PROFILE_FIELDS`."""
    history = History(idle_days * DAY)
    for batch in batches:
        history.measure(batch)
    return [profile.document(user, "") for user, profile in sorted(history.profiles.items())]


def featured(batches: Iterable[Transactions], *, personal: bool, idle_ns: int) -> Iterator[Features]:
    """Yield the features of transactions as the flow would make them, in parts."""
    history, features = History(idle_ns), TransactionFeatures(personal=personal)
    for batch in batches:
        measured = history.measure(batch)
        at = 0
        while at < len(batch):
            rows = np.arange(at, min(at + features.room, len(batch)))
            part = features.measure(batch.part(rows), measured[rows])
            features.learn(part)
            yield part
            at += len(rows)
