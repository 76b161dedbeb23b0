"""What is usual for one user, learned one transaction at a time, and how far a transaction is from it.

Everything here is of one user, bounded, and plain Python: a transaction touches few numbers, and the calls
into an array library would cost more than they save. Amounts are told by the quartiles of the last ones
(robust location and scale), words by decayed counts, hours by a circular histogram, velocity by the last
transactions.
Each transaction is measured **before** it is learned, and learned only if it is judged legitimate: by the
profile itself, so that the judgement needs no other user's data.
"""

from __future__ import annotations

import math
from array import array
from typing import Any

import orjson

from operators.measured import Measured, strangeness
from operators.profile_text import written
from operators.velocity import since_ns, velocity
from operators.word_counts import Counts, count_word, make_room, surprise
from tapewatch.places import distance_km
from tapewatch.records import DAY, HOUR
from tapewatch.transactions import Row

STATE_VERSION = 1
#: What a profile remembers of each kind, at most.
_AMOUNTS, _RECENT = 128, 24
#: Every so many learned transactions the counts of words and hours are halved.
_HALVED = 256
#: A scale of log amounts that is believed as much as this many transactions.
_PRIOR_SCALE, _PRIOR_COUNT = 0.8, 4
#: Transactions after which half of what a profile says is believed.
_TRUST = 5.0
#: A transaction this strange is not learned, unless so many in a row were.
_STRANGE, _NEW_HABIT = 8.0, 5
_MOST = 20.0
#: Deviations from which on an amount is remembered for some days as raised, and how many of one count at
#: most: a leaked card pays too much again and again, while one large payment alone says little of the next.
_RAISED, _RAISED_MOST, _RAISED_DAYS = 2.0, 3.0, 7.0
_NAN = math.nan
#: Shorter ways than this are within what a place's name tells.
_SHORT_WAY_KM = 150.0


class Profile:
    """One user.

    Parameters
    ----------
    resume
        A `snapshot` to go on from.

    Examples
    --------
    >>> profile, day = Profile(), 86_400_000_000_000
    >>> def pay(at, amount, place):
    ...     words = (None, None, place, None, None)
    ...     return profile.update(Row(0, at, at, amount, *words, *[_NAN] * 3, 12.0, *[_NAN] * 2))
    >>> for n in range(20):
    ...     _ = pay(n * day, 10.0 + n % 3, "DE")
    >>> strange = pay(20 * day, 500.0, "BR")
    >>> strange.own_amount > 4, strange.own_place > 1, profile.learned
    (True, True, 20)
    """

    __slots__ = (
        "alarms",
        "amounts",
        "at",
        "categories",
        "devices",
        "distance",
        "first",
        "hours",
        "last",
        "learned",
        "locations",
        "merchants",
        "methods",
        "pace",
        "place",
        "place_at",
        "raised",
        "recent",
        "seen",
        "streak",
        "surprise",
    )  # fmt: skip

    def __init__(self, resume: tuple[Any, ...] | None = None) -> None:
        if resume is not None:
            self._restore(resume)
            return
        self.seen = self.learned = self.streak = self.alarms = self.at = 0
        self.first = self.last = self.place_at = -1
        self.amounts = array("d")
        self.recent = array("d")
        self.hours = array("f", [0.0] * 24)
        self.categories: dict[str, tuple[float, float, float]] = {}
        self.locations: Counts = {}
        self.merchants: Counts = {}
        self.methods: Counts = {}
        self.devices: Counts = {}
        #: How surprising merchants, places usually are to this user: who is always elsewhere is nowhere new.
        self.surprise = (1.0, 1.0)
        self.pace = 0.0
        #: How far the amounts of the last days were raised, fading.
        self.raised = 0.0
        self.place: str | None = None
        self.distance = _NAN

    def snapshot(self) -> tuple[Any, ...]:
        """Return the state to resume from; nothing in it changes later."""
        return (
            STATE_VERSION, self.seen, self.learned, self.streak, self.alarms, self.at, self.first, self.last,
            self.place_at, self.amounts.tobytes(), self.recent.tobytes(), self.hours.tobytes(),
            tuple(self.categories.items()), tuple(self.locations.items()), tuple(self.merchants.items()),
            tuple(self.methods.items()), tuple(self.devices.items()), self.surprise, self.pace,
            self.raised, self.place, self.distance,
        )  # fmt: skip

    def _restore(self, saved: tuple[Any, ...]) -> None:
        (
            _, self.seen, self.learned, self.streak, self.alarms, self.at, self.first, self.last,
            self.place_at, amounts, recent, hours, categories, locations, merchants, methods, devices,
            self.surprise, self.pace, self.raised, self.place, self.distance,
        ) = saved  # fmt: skip
        self.amounts, self.recent, self.hours = array("d", amounts), array("d", recent), array("f", hours)
        self.categories, self.locations, self.merchants = dict(categories), dict(locations), dict(merchants)
        self.methods, self.devices = dict(methods), dict(devices)

    def document(self, user: str, partition: str) -> tuple[Any, ...]:
        """Return what is published of the profile, in the order of `tapewatch.documents.PROFILE_FIELDS`.

        The last field is its exact state as `profile_text.written` has it, with the partition it is of.
        """
        amounts = sorted(self.amounts)
        total = 0.0
        for amount in amounts:
            total += amount
        categories = {word: values[0] for word, values in self.categories.items()}
        hours = {str(hour): number for hour, number in enumerate(self.hours) if number}
        counts = (self.locations, categories, self.methods, hours)
        return (
            user, *(orjson.dumps(count).decode() for count in counts),
            amounts[0] if amounts else None, amounts[-1] if amounts else None,
            total / len(amounts) if amounts else None, self.seen, self.alarms, _STRANGE, self.first,
            self.last, written(self.snapshot(), partition),
        )  # fmt: skip

    def idle(self, clock: int, idle_ns: int) -> bool:
        """Return whether the user has been away for so long that nothing known counts any more."""
        return self.seen > 0 and clock - self.last > idle_ns

    def update(self, row: Row) -> Measured:
        """Measure a transaction, then learn it if it looks legitimate."""
        measured = self.measure(row)
        strange = strangeness(measured)
        self.seen += 1
        if strange < _STRANGE or self.streak >= _NEW_HABIT:
            self.streak = 0
            self._learn(row)
        else:
            self.streak += 1
            self.alarms += 1
        self._follow(row, measured.own_linear)
        return measured

    def measure(self, row: Row) -> Measured:
        """Return how far a transaction is from what is usual; nothing changes."""
        ts, amount = row.ts, row.amount
        learned = self.learned
        trust = learned / (learned + _TRUST)
        since = row.since
        if since != since and self.seen:
            since = (ts - self.last if ts >= self.last else since_ns(self.recent, ts)) / 6e10
        count_1h, count_24h, total_24h = velocity(self.recent, ts, amount)
        if row.count_1h == row.count_1h:
            count_1h = row.count_1h
        if row.total_24h == row.total_24h:
            total_24h = row.total_24h
        size = math.log(amount) if amount > 1e-3 else -7.0
        own_amount = own_linear = own_maximum = 0.0
        usual = _NAN
        if learned:
            ordered = sorted(self.amounts)
            count = len(ordered)
            low, middle, high = ordered[count // 4], ordered[count // 2], ordered[3 * count // 4]
            usual = middle
            spread = (math.log(high) - math.log(low)) / 1.349
            weight = count / (count + _PRIOR_COUNT)
            spread = math.sqrt(weight * spread * spread + (1 - weight) * _PRIOR_SCALE**2)
            own_amount = _bounded(trust * (size - math.log(middle)) / max(spread, 0.1))
            linear = weight * (high - low) / 1.349 + (1 - weight) * middle + 0.05 * middle
            own_linear = _bounded(trust * (amount - middle) / linear)
            own_maximum = trust * (size - math.log(ordered[-1]))
        own_category = own_new = 0.0
        if row.category is not None and learned:
            known = self.categories.get(row.category)
            if known is not None:
                number, mean, square = known
                weight = number / (number + _PRIOR_COUNT)
                variance = weight * square / number + (1 - weight) * _PRIOR_SCALE**2
                own_category = _bounded(weight * (size - mean) / math.sqrt(variance + 0.01))
            total = 0.0
            for values in self.categories.values():
                total += values[0]
            own_new = trust * -math.log(((known[0] if known else 0.0) + 0.5) / (total + 1.0))
        usual_new, usual_far = self.surprise
        own_merchant = trust * (surprise(self.merchants, row.merchant) - usual_new)
        own_place = trust * (surprise(self.locations, row.location) - usual_far)
        return Measured(
            since, count_1h, total_24h, own_amount, own_linear, own_maximum, own_category,
            own_place if row.location is not None else 0.0,
            own_merchant if row.merchant is not None else 0.0,
            own_new,
            trust * surprise(self.methods, row.method),
            trust * surprise(self.devices, row.device),
            trust * self._hour(int(row.hour) % 24) if learned else 0.0,
            self._pace(ts, count_24h, trust),
            self._travel(row),
            self._recent(ts),
            usual,
            float(learned),
        )  # fmt: skip

    def _pace(self, ts: int, count_24h: float, trust: float) -> float:
        if self.seen < 3:
            return 0.0
        days = max(ts - self.first, DAY) / DAY
        usual = max(self.seen / days, 0.2)
        return _bounded(trust * (count_24h - usual) / math.sqrt(usual + 0.5))

    def _hour(self, hour: int) -> float:
        """Return how surprising an hour is, in nats against an even day."""
        hours = self.hours
        total = sum(hours)
        near = hours[hour] + 0.5 * (hours[hour - 1] + hours[(hour + 1) % 24])
        return max(-math.log((near + 0.5) / (2.0 * total + 12.0) * 24.0), 0.0)

    def _travel(self, row: Row) -> float:
        """Return the logarithm of the speed (km/h) that a way would have asked for; 0 for a short one."""
        if row.online == 1.0 or self.place_at < 0:
            return 0.0
        way = _NAN
        if row.location is not None and self.place is not None:
            way = distance_km(self.place, row.location)
        if way != way:
            way = abs(row.distance - self.distance)
        if not way > _SHORT_WAY_KM:
            return 0.0
        hours = max(row.ts - self.place_at, 0) / HOUR
        if row.since == row.since:
            hours = max(hours, row.since / 60.0) if self.place_at == self.last else row.since / 60.0
        return math.log(way / max(hours, 0.05))

    def _recent(self, ts: int) -> float:
        days = max(ts - self.last, 0) / DAY if self.seen else 0.0
        return self.raised * math.exp(-days / _RAISED_DAYS)

    def _learn(self, row: Row) -> None:
        self.learned += 1
        if self.learned % _HALVED == 0:
            self._halve()
        amount = max(row.amount, 1e-3)
        if len(self.amounts) < _AMOUNTS:
            self.amounts.append(amount)
        else:
            self.amounts[self.at] = amount
            self.at = (self.at + 1) % _AMOUNTS
        if row.category is not None:
            number, mean, square = self.categories.get(row.category, (0.0, 0.0, 0.0))
            change = math.log(amount) - mean
            number += 1.0
            mean += change / number
            square += change * (math.log(amount) - mean)
            make_room(self.categories, row.category, lambda values: values[0])
            self.categories[row.category] = (number, mean, square)
        new, far = self.surprise
        if row.merchant is not None:
            new += 0.05 * (surprise(self.merchants, row.merchant) - new)
            count_word(self.merchants, row.merchant)
        if row.location is not None:
            far += 0.05 * (surprise(self.locations, row.location) - far)
            count_word(self.locations, row.location)
        self.surprise = (new, far)
        if row.method is not None:
            count_word(self.methods, row.method)
        if row.device is not None:
            count_word(self.devices, row.device)
        self.hours[int(row.hour) % 24] += 1.0

    def _halve(self) -> None:
        for counts in (self.merchants, self.locations, self.methods, self.devices):
            for word in counts:
                counts[word] *= 0.5
        for word, (number, mean, square) in self.categories.items():
            self.categories[word] = (number / 2, mean, square / 2)
        self.hours = array("f", [value / 2 for value in self.hours])

    def _follow(self, row: Row, amount: float) -> None:
        """Note what happened, whether it was legitimate or not."""
        ts = row.ts
        raised = min(max(amount - _RAISED, 0.0), _RAISED_MOST)
        self.raised = min(self._recent(ts) + raised, 50.0)
        if self.first < 0:
            self.first = ts
        self.last = max(self.last, ts)
        self.recent.append(float(ts))
        self.recent.append(row.amount)
        if len(self.recent) > 2 * _RECENT:
            del self.recent[:2]
        if row.online != 1.0 and (row.location is not None or row.distance == row.distance):
            self.place, self.distance, self.place_at = row.location, row.distance, ts


def _bounded(value: float) -> float:
    return -_MOST if value < -_MOST else _MOST if value > _MOST else value
