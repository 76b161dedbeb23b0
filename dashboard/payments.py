"""Payments against what is usual for their users, as the pages tell it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from dashboard.words import plain
from tapewatch.records import DAY, HOUR

Document = dict[str, Any]

#: What is shown of a place, category or method that is not known.
UNKNOWN = "(unknown)"
#: What amounts can be shown by.
GROUPS = {"Place": "location", "Category": "merchant_category", "Method": "payment_method"}
#: What is counted in a profile, and which field of a payment it is about.
HABITS = {
    "Places": ("locations", "location"),
    "Merchants": ("merchant_categories", "merchant_category"),
    "Methods": ("payment_methods", "payment_method"),
}


class Payment(NamedTuple):
    """What is compared of a payment with anomalies."""

    id: str
    amount: float
    hour: int
    severity: float | None
    words: dict[str, str | None]

    @classmethod
    def of(cls, anomaly: Document) -> Payment:
        """Return what an anomaly of a payment says of it; its hour is in UTC."""
        fields = {field: anomaly.get(field) for _, field in HABITS.values()}
        hour = anomaly["ts_event"] % DAY // HOUR
        return cls(anomaly["id"], anomaly["amount"], hour, anomaly["severity"], fields)


@dataclass(frozen=True)
class Habit:
    """How often a user has done something, and whether the payment at hand does it too."""

    word: str
    share: float
    this: bool

    @property
    def told(self) -> str:
        """The share as a person reads it."""
        return f"{self.share:.0%}" if self.share >= 0.01 else "under 1%" if self.share else "never before"


def habits_of(counts: dict[str, float] | None, word: str | None, most: int = 8) -> list[Habit]:
    """Return the commonest things of a profile, and the payment's own wherever it comes.

    >>> habits_of({"DE": 9.0, "NL": 1.0}, "BR")
    [Habit(word='DE', share=0.9, this=False), Habit(word='NL', share=0.1, this=False), \
Habit(word='BR', share=0.0, this=True)]
    """
    known = counts or {}
    total = sum(known.values()) or 1.0
    ordered = sorted(known, key=lambda name: (-known[name], name))
    shown = ordered[:most]
    if word is not None and word not in shown:
        shown.append(word)
    return [Habit(name, known.get(name, 0.0) / total, name == word) for name in shown]


def hours_of(counts: dict[str, float] | None) -> list[float]:
    """Return the share of each hour of the day.

    >>> hours_of({"8": 3.0, "9": 1.0})[7:11]
    [0.0, 0.75, 0.25, 0.0]
    """
    known = counts or {}
    total = sum(known.values()) or 1.0
    return [known.get(str(hour), 0.0) / total for hour in range(24)]


def against_usual(payment: Payment, profile: Document) -> dict[str, tuple[str, str]]:
    """Return what a payment is, and how it compares with what is usual, by its name; both as Markdown."""
    found = {"Amount": (f"{payment.amount:,.2f}", _amount(payment.amount, profile))}
    for (counts, field), name in zip(HABITS.values(), GROUPS, strict=True):
        word = payment.words[field]
        if word is None:
            found[name] = UNKNOWN, "not told"
        else:
            (this,) = [habit for habit in habits_of(profile[counts], word) if habit.this]
            found[name] = plain(word), _usual(this)
    this = Habit("", hours_of(profile["hours"])[payment.hour], this=True)
    found["Hour (UTC)"] = f"{payment.hour}:00", _usual(this)
    return found


def _usual(habit: Habit) -> str:
    return f"usual: {habit.told}" if habit.share else habit.told


def _amount(amount: float, profile: Document) -> str:
    mean = profile["amount_mean"]
    if not mean:
        return "none is usual"
    return f"{amount / mean:,.3g} × mean" if amount < 1000 * mean else "over 1,000 × the mean"
