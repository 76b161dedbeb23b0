"""What is made of several answers of a store about payments: what they come to, and what reviews say."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Protocol, Unpack

from connectors.store_questions import Document, Wanted, WantedReviews
from tapewatch.errors import UserError

#: Ids in one question.
_IDS = 1_000


class _Answers(Protocol):
    def anomalies(
        self, *, limit: int = 100, after: str | None = None, order: str = "newest", **wanted: Unpack[Wanted]
    ) -> list[Document]: ...

    def reviews(
        self, *, limit: int = 100, after: str | None = None, **wanted: Unpack[WantedReviews]
    ) -> list[Document]: ...


def amounts_of(payments: Iterable[tuple[str | None, float]], limit: int) -> list[Document]:
    """Return what payments come to by their word; see `Store.amounts`.

    >>> amounts_of([("DE", 2.0), ("BR", 5.0), ("DE", 1.0)], 1)
    [{'group': 'BR', 'transactions': 1, 'amount': 5.0, 'amount_mean': 5.0, 'amount_max': 5.0}]
    """
    by_word: dict[str | None, list[float]] = {}
    for word, amount in payments:
        by_word.setdefault(word, []).append(amount)
    rows: list[Document] = []
    for word, amounts in by_word.items():
        # Exact, so that the order in which a store tells them does not matter.
        total = math.fsum(amounts)
        rows.append(
            {
                "group": word, "transactions": len(amounts), "amount": total,
                "amount_mean": total / len(amounts), "amount_max": max(amounts),
            }
        )  # fmt: skip
    return largest_first(rows)[:limit]


def largest_first(rows: list[Document]) -> list[Document]:
    """Return what payments come to in the order of `Store.amounts`.

    >>> [row["group"] for row in largest_first([{"group": g, "amount": 1.0} for g in (None, "b", "a")])]
    ['a', 'b', None]
    """
    return sorted(rows, key=lambda row: (-row["amount"], row["group"] is None, row["group"]))


def precision(store: _Answers, step_ns: int, most: int, wanted: Wanted) -> list[Document]:
    """Return how many of each detector's anomalies reviews confirm; see `Store.precision`."""
    if step_ns < 1:
        raise UserError(f"`step_ns` must be at least 1, was {step_ns}")
    anomalies: dict[str, tuple[int, int]] = {}
    transactions: dict[str, tuple[int, int]] = {}
    for review in store.reviews(limit=most):
        said = review["reviewed_at"], review["label"]
        # Newest first.
        if review["anomaly_id"] is not None:
            anomalies.setdefault(review["anomaly_id"], said)
        else:
            transactions.setdefault(review["transaction_id"], said)
    rows = {row["id"]: row for row in _of_ids(store, "ids", sorted(anomalies), wanted)}
    rows |= {row["id"]: row for row in _of_ids(store, "transactions", sorted(transactions), wanted)}
    counted: Counter[tuple[int, str, int]] = Counter()
    for name, row in rows.items():
        told = (anomalies.get(name), transactions.get(row.get("transaction_id", "")))
        label = max((said for said in told if said is not None), key=lambda said: said[0])[1]
        counted[row["ts_event"] // step_ns * step_ns, row["detector"], label] += 1
    found = []
    for start, detector in sorted({(start, detector) for start, detector, _ in counted}):
        confirmed, refuted = counted[start, detector, 1], counted[start, detector, 0]
        found.append(
            {
                "ts_start": start, "detector": detector, "confirmed": confirmed, "false_alarms": refuted,
                "precision": confirmed / (confirmed + refuted),
            }
        )  # fmt: skip
    return found


def _of_ids(store: _Answers, kind: str, names: list[str], wanted: Wanted) -> Iterable[Document]:
    for first in range(0, len(names), _IDS):
        narrowed = wanted.copy()
        narrowed[kind] = names[first : first + _IDS]  # type: ignore[literal-required]
        # A transaction has an anomaly of each detector at most, and there are not so many.
        yield from store.anomalies(limit=64 * _IDS, **narrowed)
