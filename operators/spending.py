"""The alarm budget of an instrument: how long its day is, what it has spent, how rare an alarm has to be."""

from __future__ import annotations

import math

import numpy as np

from tapewatch.records import DAY, HOUR, MINUTE

#: Times are ns.
SPENDING = [
    ("opened", "i8"),  # first time of the day
    ("seen_today", "i8"),
    ("alarms_today", "i8"),  # those that follow another closely left aside
    ("alarmed_at", "i8"),  # the last time of an alarm
    ("spent_since", "i8"),  # of ``alarms_today``, since the last fit
    ("paced_seen", "i8"),  # of ``seen_today``, when the pace was taken
    ("paced_at", "i8"),
    ("pace", "f8"),  # observations a nanosecond
    ("usual_day", "f8"),  # observations on its days so far
    ("spent", "f8"),  # alarms on its days so far as a multiple of the budget
]
#: No alarm is made of what is not at least this rare, however quiet the instrument.
_COMMONEST_ALARM = 0.01
_SESSION = 390 * MINUTE
#: What trades so soon after the UTC day began is taken to trade around the clock.
_AROUND_THE_CLOCK = HOUR
#: An instrument's pace is not taken from less time than this: trades come in bursts.
_PACE_TIME = 8 * MINUTE
#: Thresholds are set for this many times the budget: caution and the control of spending save as much.
_AIM = 1.4
#: Logarithm of how much rarer a score has to be at one standard deviation of spending beyond the budget, and
#: the power with which it grows: alarms of an instrument that go on are ever less likely to be chance.
_STRICTNESS, _POWER = 1.0, 1.5
#: However much was spent, what is this many times rarer is told.
_LARGEST_TODAY = 1e4
#: Spending on the days before, in budgets, that is taken for chance, and how much rarer it can ask for.
_TOLERATED_BEFORE, _LARGEST_BEFORE = 3.0, 8.0


def rarity(known: np.void, per_day: float, budget: float, restraint: float = 0.0) -> float:
    """Return how rare a score has to be to be an alarm.

    Parameters
    ----------
    known
        The fields of `SPENDING`.
    per_day
        Observations a day.
    budget
        Alarms a day.
    restraint
        How many standard deviations below the budget spending is held back from, once anything is spent.

    Examples
    --------
    >>> known = np.zeros(1, SPENDING)[0]
    >>> round(1 / rarity(known, 14_000.0, 1.0))
    10000
    >>> for alarms in range(1, 6):
    ...     known["alarms_today"] = alarms
    ...     print(round(rarity(np.zeros(1, SPENDING)[0], 14_000.0, 1.0) / rarity(known, 14_000.0, 1.0)))
    1
    3
    17
    181
    2981
    >>> known["alarms_today"] = 1
    >>> round(rarity(known, 14_000.0, 1.0) / rarity(known, 14_000.0, 1.0, restraint=1.0), 2)
    2.72
    """
    # Alarms that come by chance are as good as Poisson: their variance is their mean.
    alarms = int(known["alarms_today"])
    beyond = max((alarms - budget) / math.sqrt(budget) + restraint, 0.0) if alarms else 0.0
    today = math.exp(min(_STRICTNESS * beyond**_POWER, math.log(_LARGEST_TODAY)))
    before = min(float(known["spent"]) / _TOLERATED_BEFORE, _LARGEST_BEFORE)
    return min(_AIM * budget / per_day, _COMMONEST_ALARM) / max(today, before, 1.0)


def observations_a_day(known: np.void, now: int) -> float:
    """Return observations a day of an instrument: what its days had, or its first one is going to have.

    A first day is taken for a session as long as most, at the latest pace, which is noted in ``known``. One
    that has gone on for longer is taken to go on for as long again as it was longer, at most to its end; one
    that began with the UTC day, to go on to its end.

    Examples
    --------
    >>> known = np.zeros(1, SPENDING)[0]
    >>> known["opened"], known["paced_at"], known["seen_today"] = 8 * HOUR, 8 * HOUR, 400
    >>> observations_a_day(known, 8 * HOUR + 39 * MINUTE)
    4000.0
    >>> known["seen_today"] = 6_000
    >>> round(observations_a_day(known, 18 * HOUR), 1)
    8096.3
    >>> known["opened"], known["paced_at"], known["paced_seen"] = 0, 0, 0
    >>> observations_a_day(known, 10 * HOUR)
    14400.0
    """
    seen = int(known["seen_today"])
    usual = float(known["usual_day"])
    if usual:
        return max(usual, float(seen))
    since = seen - int(known["paced_seen"])
    if 3 * since >= seen:
        known["pace"] = since / max(now - int(known["paced_at"]), _PACE_TIME)
        known["paced_seen"], known["paced_at"] = seen, now
    pace = float(known["pace"])
    # Hours before the session, with few trades, are no part of it.
    gone = min(max(now - int(known["opened"]), 0), seen / pace if pace else math.inf)
    left: float = DAY - now % DAY
    if int(known["opened"]) % DAY >= _AROUND_THE_CLOCK:
        left = min(abs(_SESSION - gone), left)
    return max(seen + pace * left, 1.0)
