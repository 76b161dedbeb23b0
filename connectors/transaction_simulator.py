"""Simulated payments: users with habits, and one transaction in twenty that breaks them, labelled.

Each user has a home country, a few merchants of some categories, an amount that is usual in each, payment
methods, a device or two, hours and a pace. An anomaly breaks one habit, or several at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import orjson

from connectors.sessions import Label
from tapewatch.documents import rfc3339
from tapewatch.errors import UserError
from tapewatch.places import distance_km
from tapewatch.records import DAY, HOUR, MINUTE, SECOND, Array, Int64s

KINDS = ("place", "amount", "merchant", "hour", "method", "rapid", "travel")
#: Monday, 1 January 2024.
BEGIN = 1_704_067_200_000_000_000
_CATEGORIES = ("grocery", "restaurant", "transport", "fuel", "utilities", "clothing", "electronics", "travel")
#: Usual amount of each, its logarithm's standard deviation, and how common it is.
_USUAL = np.array([32.0, 24.0, 9.0, 48.0, 75.0, 60.0, 140.0, 320.0])
_SPREAD = np.array([0.55, 0.5, 0.4, 0.3, 0.35, 0.6, 0.8, 0.7])
_SHARE = np.array([0.3, 0.2, 0.2, 0.1, 0.06, 0.08, 0.04, 0.02])
_COUNTRIES = ("US", "GB", "DE", "FR", "ES", "IT", "NL", "PL", "SE", "IN", "BR", "MX", "JP", "AU", "CA", "SG")
_METHODS = ("card", "contactless", "wallet", "transfer", "direct_debit")
_MERCHANTS = 40
_ANOMALOUS = 0.05
_SEVERAL = 0.25
_MOST = 20_000_000


@dataclass(frozen=True, slots=True)
class TransactionSimulation:
    """What to simulate: some users for some minutes; the kinds of anomalies that there may be."""

    users: int = 200
    minutes: int = 10_080
    seed: int = 1
    kinds: tuple[str, ...] = KINDS


@dataclass(frozen=True, slots=True)
class Simulated:
    """Transactions in the order of time, as columns, and what is wrong with some of them."""

    columns: dict[str, list[str] | Array]
    times: Int64s
    kinds: list[str]

    def __len__(self) -> int:
        return len(self.times)

    @property
    def labels(self) -> list[Label]:
        """One label for each transaction that is anomalous."""
        users = self.columns["user_id"]
        return [
            Label(str(users[i]), kind, int(self.times[i]), int(self.times[i]) + 1)
            for i, kind in enumerate(self.kinds)
            if kind
        ]

    def lines(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield each transaction's user and its JSON."""
        names = list(self.columns)
        values = [c if isinstance(c, list) else c.tolist() for c in self.columns.values()]
        for time, *row in zip(self.times.tolist(), *values, strict=True):
            document = dict(zip(names, row, strict=True))
            document["timestamp"] = rfc3339(time)
            yield document["user_id"].encode(), orjson.dumps(document)


def simulate_transactions(wanted: TransactionSimulation) -> Simulated:
    """Return simulated transactions; the same seed gives the same ones.

    Raises
    ------
    UserError
        If more is asked for than can be held.
    """
    if not 1 <= wanted.users <= 5_000_000:
        raise UserError(f"`--users` must be from 1 to 5,000,000, was {wanted.users}")
    if not 1 <= wanted.minutes <= 10 * 525_600:
        raise UserError(f"`--minutes` must be from 1 to {10 * 525_600:,}, was {wanted.minutes}")
    chance = np.random.Generator(np.random.PCG64(wanted.seed))
    habits = _Habits(chance, wanted.users)
    span = wanted.minutes * MINUTE
    expected = habits.pace.sum() * span / DAY
    if expected > _MOST:
        raise UserError(
            f"{wanted.users:,} users make some {expected:,.0f} transactions in {wanted.minutes:,} minutes; "
            f"at most {_MOST:,} are simulated at once"
        )
    made = _usual(chance, habits, span)
    kinds = _broken(chance, habits, made, wanted.kinds, span)
    order = np.lexsort((made["user"], made["time"]))
    return _simulated(habits, {name: column[order] for name, column in made.items()}, kinds[order], wanted)


class _Habits:
    """What is usual for each user, one row each."""

    def __init__(self, chance: np.random.Generator, users: int) -> None:
        self.users = users
        self.pace = np.exp(chance.normal(0.9, 0.6, users))
        self.home = chance.integers(0, len(_COUNTRIES), users)
        self.rich = np.exp(chance.normal(0.0, 0.45, users))
        self.hour = chance.normal(14.0, 3.5, users) % 24
        taste = chance.gamma(0.8, 1.0, (users, len(_CATEGORIES))) * _SHARE
        self.taste = np.cumsum(taste / taste.sum(axis=1, keepdims=True), axis=1)
        self.method = chance.integers(0, len(_METHODS), users)
        self.second = chance.integers(0, len(_METHODS), users)
        self.online = chance.uniform(0.05, 0.6, users)
        self.merchants = chance.integers(0, _MERCHANTS, (users, len(_CATEGORIES), 3))


def _usual(chance: np.random.Generator, habits: _Habits, span: int) -> dict[str, Array]:
    count = chance.poisson(habits.pace * span / DAY)
    user = np.repeat(np.arange(habits.users), count)
    size = len(user)
    day = chance.integers(0, max(span // DAY, 1), size)
    hour = (habits.hour[user] + chance.normal(0.0, 2.6, size)) % 24
    time = day * DAY + (hour * HOUR).astype(np.int64)
    if span < DAY:
        time = chance.integers(0, span, size)
    category = (chance.random(size)[:, None] > habits.taste[user]).sum(axis=1)
    category = np.minimum(category, len(_CATEGORIES) - 1)
    favourite = np.minimum(chance.geometric(0.6, size) - 1, 2)
    merchant = habits.merchants[user, category, favourite]
    merchant = np.where(chance.random(size) < 0.12, chance.integers(0, _MERCHANTS, size), merchant)
    amount = _USUAL[category] * habits.rich[user] * np.exp(chance.normal(size=size) * _SPREAD[category])
    return {
        "user": user, "time": np.minimum(time, span - 1), "category": category, "merchant": merchant,
        "amount": amount, "country": habits.home[user],
        "method": np.where(chance.random(size) < 0.8, habits.method[user], habits.second[user]),
        "device": (chance.random(size) < 0.1).astype(np.int64),
        "online": chance.random(size) < habits.online[user],
        "distance": chance.gamma(1.6, 6.0, size),
    }  # fmt: skip


def _broken(
    chance: np.random.Generator, habits: _Habits, made: dict[str, Array], kinds: Sequence[str], span: int
) -> Array:
    """Break habits in place; return what is wrong with each transaction, empty for nothing."""
    size = len(made["user"])
    told = np.full(size, "", dtype="U64")
    if not kinds or not size:
        return told
    order = np.lexsort((made["time"], made["user"]))
    before = np.full(size, -1)
    same = made["user"][order][1:] == made["user"][order][:-1]
    before[order[1:][same]] = order[:-1][same]
    bursts: list[dict[str, Array]] = []
    # A burst is several transactions, so fewer of them are asked for.
    weight = np.array([0.25 if kind == "rapid" else 1.0 for kind in kinds])
    rate = _ANOMALOUS * (0.62 if "rapid" in kinds else 1.0)
    for row in np.flatnonzero(chance.random(size) < rate).tolist():
        number = 1 + int(chance.random() < _SEVERAL) * int(chance.integers(1, 3))
        named = chance.choice(len(kinds), min(number, len(kinds)), replace=False, p=weight / weight.sum())
        chosen = [kinds[int(place)] for place in sorted(named.tolist())]
        if "travel" in chosen and before[row] < 0:
            chosen = [kind for kind in chosen if kind != "travel"] or ["place" if "place" in kinds else ""]
        for kind in chosen:
            _break(chance, habits, made, row, int(before[row]), kind, span, bursts)
        told[row] = "+".join(kind for kind in chosen if kind)
    for burst in bursts:
        for name, column in burst.items():
            if name != "kind":
                made[name] = np.concatenate([made[name], column])
        told = np.concatenate([told, burst["kind"]])
    return told


def _break(
    chance: np.random.Generator, habits: _Habits, made: dict[str, Array], row: int, before: int, kind: str,
    span: int, bursts: list[dict[str, Array]],
) -> None:  # fmt: skip
    user = int(made["user"][row])
    if kind == "amount":
        made["amount"][row] *= float(np.exp(chance.uniform(1.6, 4.0)))
    elif kind == "merchant":
        strange = int(np.argmin(np.diff(np.concatenate([[0.0], habits.taste[user]]))))
        made["category"][row], made["merchant"][row] = strange, _MERCHANTS + int(chance.integers(0, 400))
    elif kind == "hour":
        shift = float(chance.uniform(9.0, 15.0))
        day = int(made["time"][row]) // DAY * DAY
        hour = (float(habits.hour[user]) + shift) % 24
        made["time"][row] = min(day + int(hour * HOUR) + int(chance.integers(0, HOUR)) // 4, span - 1)
    elif kind == "method":
        others = sorted(set(range(len(_METHODS))) - {int(habits.method[user]), int(habits.second[user])})
        made["method"][row], made["device"][row] = others[int(chance.integers(0, len(others)))], 9
    elif kind in ("place", "travel"):
        far = [c for c in range(len(_COUNTRIES)) if _way(c, int(habits.home[user])) > 2_500]
        made["country"][row] = far[int(chance.integers(0, len(far)))]
        made["online"][row], made["distance"][row] = False, 0.0
        if kind == "travel":
            made["online"][before], made["country"][before] = False, habits.home[user]
            made["time"][row] = min(int(made["time"][before]) + int(chance.uniform(5, 80) * MINUTE), span - 1)
    elif kind == "rapid":
        count = int(chance.integers(5, 12))
        gaps = np.cumsum(chance.integers(4 * SECOND, 70 * SECOND, count))
        burst = {name: np.repeat(column[row : row + 1], count) for name, column in made.items()}
        burst["time"] = np.minimum(made["time"][row] + gaps, span - 1)
        burst["amount"] = burst["amount"] * np.exp(chance.normal(0.0, 0.3, count))
        burst["kind"] = np.full(count, "rapid", dtype="U64")
        bursts.append(burst)


def _way(one: int, other: int) -> float:
    return distance_km(_COUNTRIES[one], _COUNTRIES[other])


def _simulated(
    habits: _Habits, made: dict[str, Array], kinds: Array, wanted: TransactionSimulation
) -> Simulated:
    users = [f"u{number:06d}" for number in made["user"].tolist()]
    countries = [_COUNTRIES[c] for c in made["country"].tolist()]
    homes = [_COUNTRIES[c] for c in habits.home[made["user"]].tolist()]
    ways = np.array([distance_km(home, there) for home, there in zip(homes, countries, strict=True)])
    categories = [_CATEGORIES[c] for c in made["category"].tolist()]
    columns: dict[str, list[str] | Array] = {
        "transaction_id": [f"t{wanted.seed}-{number:08d}" for number in range(len(users))],
        "timestamp": made["time"],
        "user_id": users,
        "amount": np.round(made["amount"], 2),
        "merchant_category": categories,
        "merchant_id": [f"{c}-{m}" for c, m in zip(categories, made["merchant"].tolist(), strict=True)],
        "location": countries,
        "payment_method": [_METHODS[m] for m in made["method"].tolist()],
        "device": [f"{user}-{number}" for user, number in zip(users, made["device"].tolist(), strict=True)],
        "location_distance_km": np.round(ways + made["distance"], 1),
        "is_online": made["online"].astype(np.int64),
    }
    return Simulated(columns, made["time"] + BEGIN, kinds.tolist())
