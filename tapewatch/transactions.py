"""Payment transactions inside the program: a batch of columns, and the rows that profiles are shown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

import numpy as np

from tapewatch.records import Array, Floats, Int64s

#: Words that a transaction may hold; None where it does not say.
WORDS = ("merchant_category", "merchant_id", "location", "payment_method", "device")
#: Numbers that a transaction may hold; NaN where it does not say.
NUMBERS = (
    "location_distance_km", "is_online", "time_since_last_transaction_minutes", "is_weekend", "hour",
    "day_of_week", "transaction_count_1h", "total_amount_24h",
)  # fmt: skip
#: What every transaction holds.
REQUIRED = ("transaction_id", "timestamp", "user_id", "amount")

Words: TypeAlias = list[str | None]


class Review(NamedTuple):
    """A person's word on a transaction: ``label`` 1 fraud, 0 legitimate; from ``reviewed_at`` (ns) on.

    With an empty ``transaction_id`` it is the one of the anomaly ``anomaly_id``.
    """

    transaction_id: str
    label: int
    reviewed_at: int
    anomaly_id: str = ""


def in_order(reviews: Iterable[Review]) -> list[Review]:
    """Return reviews in the order in which they act.

    >>> some = [Review("b", 1, 7), Review("a", 1, 7), Review("c", 0, 2)]
    >>> [review.transaction_id for review in in_order(some)]
    ['c', 'a', 'b']
    """
    return sorted(reviews, key=lambda r: (r.reviewed_at, r.transaction_id, r.anomaly_id, r.label))


class Row(NamedTuple):
    """One transaction as a user's profile is shown it; NaN and None for what is unknown.

    ``number`` is its place in the batch, ``ts`` its event time, ``clock`` the latest of its partition so
    far, both in ns.
    """

    number: int
    ts: int
    clock: int
    amount: float
    category: str | None
    merchant: str | None
    location: str | None
    method: str | None
    device: str | None
    distance: float
    online: float
    since: float
    hour: float
    count_1h: float
    total_24h: float


@dataclass(frozen=True, slots=True)
class Transactions:
    """Consecutive transactions of one source partition.

    Attributes
    ----------
    partition, seq
        Where they come from, and their number among its batches of this run.
    ids, users
        One each per transaction.
    times
        Event times, int64 ns, shape ``(n,)``.
    amounts
        In the currency's units, float64, shape ``(n,)``.
    words, numbers
        By name (`WORDS`, `NUMBERS`); a column that no transaction has may be missing.
    reviews
        Reviews that arrived with the batch, in the order of their ``reviewed_at``.
    counters
        Totals of the partition so far.
    credit
        Account of the source to which the batch is acknowledged.
    clock
        Latest event time of the partition before the batch, ns.
    """

    partition: str
    seq: int
    ids: list[str]
    users: list[str]
    times: Int64s
    amounts: Floats
    words: dict[str, Words]
    numbers: dict[str, Floats]
    reviews: tuple[Review, ...] = ()
    counters: dict[str, int] = field(default_factory=dict)
    credit: str = ""
    clock: int = 0

    def __len__(self) -> int:
        return len(self.ids)

    def number(self, name: str) -> Floats:
        """Return a column of numbers; NaN for what is unknown."""
        found = self.numbers.get(name)
        return np.full(len(self.ids), np.nan) if found is None else found

    def word(self, name: str) -> Words:
        """Return a column of words; None for what is unknown."""
        found = self.words.get(name)
        return [None] * len(self.ids) if found is None else found

    def clocks(self) -> Int64s:
        """Return the partition's clock at each transaction: the latest event time so far, int64 ns."""
        return np.maximum(np.maximum.accumulate(self.times), self.clock)

    def rows(self) -> Iterator[tuple[str, Row]]:
        """Yield each transaction with its user."""
        words = [self.word(name) for name in WORDS]
        hours = self.number("hour")
        own = (self.times // 3_600_000_000_000 % 24).astype(np.float64)
        numbers: list[Sequence[float]] = [
            self.number("location_distance_km").tolist(),
            self.number("is_online").tolist(),
            self.number("time_since_last_transaction_minutes").tolist(),
            np.where(np.isnan(hours), own, hours).tolist(),
            self.number("transaction_count_1h").tolist(),
            self.number("total_amount_24h").tolist(),
        ]
        return zip(
            self.users,
            map(
                Row,
                range(len(self.ids)), self.times.tolist(), self.clocks().tolist(), self.amounts.tolist(),
                *words, *numbers,
            ),
            strict=True,
        )  # fmt: skip

    def part(self, rows: Array, **changes: object) -> Transactions:
        """Return some of the transactions, by a mask or by places."""
        places = np.flatnonzero(rows) if rows.dtype == bool else rows
        chosen = places.tolist()
        values: dict[str, object] = {
            "partition": self.partition, "seq": self.seq, "counters": self.counters, "credit": self.credit,
            "clock": self.clock,
            "ids": [self.ids[i] for i in chosen], "users": [self.users[i] for i in chosen],
            "times": self.times[places], "amounts": self.amounts[places], "reviews": self.reviews,
            "words": {name: [column[i] for i in chosen] for name, column in self.words.items()},
            "numbers": {name: column[places] for name, column in self.numbers.items()},
        }  # fmt: skip
        return Transactions(**(values | changes))  # type: ignore[arg-type]
