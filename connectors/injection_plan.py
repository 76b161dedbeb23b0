"""Where, and how large: chooses a few anomalies for a session so that each can be told from the others."""

from __future__ import annotations

import math

import numpy as np

from connectors.injection_kinds import Injection
from connectors.injections import KINDS
from connectors.sessions import Session
from tapewatch.records import MINUTE

#: Nothing is injected in the first hour of a day, so that whoever watches has something to compare with.
_FIRST_NS = 60 * MINUTE
#: Between two anomalies of one symbol.
_APART_NS = 30 * MINUTE
#: Between a gap, which hits everyone, and any other anomaly.
_FROM_GAP_NS = 5 * MINUTE
_SYMBOLS_PER_INJECTION = 3.5
#: Who trades less in the mean is left alone: there would be nothing to measure an anomaly by.
_TRADES_PER_MINUTE = 4
_TRIES = 200
#: Lowest and highest size of each kind, in the units of `connectors.injections.inject`.
_SIZES = {
    "high_volume": (8.0, 20.0),
    "block_trade": (3.0, 20.0),
    "price_jump": (8.0, 20.0),
    "flash_crash": (3.0, 8.0),
    "bad_tick": (3.0, 10.0),
    "silence": (10.0, 20.0),
    "gap": (5.0, 60.0),
    "quote_burst": (200.0, 600.0),
}


def plan(session: Session, kinds: tuple[str, ...], rng: np.random.Generator) -> list[Injection]:
    """Return injections for a clean session, in time order.

    About one for each three or four symbols and day, each kind once where there is a symbol for it, never
    two on one symbol and day, none in a day's first hour. ``silence`` falls on busier symbols; a ``gap``
    is labelled with the busiest of all, and keeps five minutes from everything else.
    """
    ids = np.array(list(session.symbols))
    trades = np.bincount(np.searchsorted(ids, session.records["instrument_id"]), minlength=len(ids))
    minutes = sum(closes - opens for opens, closes in session.hours) / MINUTE
    busy_first = [
        session.symbols[int(ids[i])]
        for i in np.argsort(-trades, kind="stable")
        if trades[i] >= _TRADES_PER_MINUTE * minutes
    ]
    if not kinds or not busy_first:
        return []
    planned: list[Injection] = []
    for opens, closes in session.hours:
        planned += _day(busy_first, kinds, opens, closes, rng)
    return sorted(planned, key=lambda injection: (injection.at_ns, injection.key))


def _day(
    busy_first: list[str], kinds: tuple[str, ...], opens: int, closes: int, rng: np.random.Generator
) -> list[Injection]:
    count = max(math.ceil(len(busy_first) / _SYMBOLS_PER_INJECTION), min(len(kinds), len(busy_first)))
    order = [kinds[i] for i in rng.permutation(len(kinds))]
    dealt = sorted((order[i % len(order)] for i in range(count)), key=_hardest_to_place)
    free = [busy_first[i] for i in rng.permutation(len(busy_first))]
    if "gap" in dealt and len(free) > 1:
        free.remove(busy_first[0])
    busier = set(busy_first[: max(1, len(busy_first) // 2)])
    placed: list[Injection] = []
    for kind in dealt:
        if kind == "gap":
            key = busy_first[0]
        else:
            wanted = [k for k in free if k in busier] if kind == "silence" else free
            if not wanted:
                continue
            key = wanted[0]
        injection = _placed(kind, key, opens, closes, placed, rng)
        if injection is not None:
            placed.append(injection)
            if key in free:
                free.remove(key)
    return placed


def _hardest_to_place(kind: str) -> tuple[int, int]:
    return ("gap", "silence").index(kind) if kind in ("gap", "silence") else 2, KINDS.index(kind)


def _placed(
    kind: str, key: str, opens: int, closes: int, others: list[Injection], rng: np.random.Generator
) -> Injection | None:
    """Return an injection that keeps its distance from the others, or None if there is no room."""
    low, high = _SIZES[kind]
    size = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    duration: int | None = None
    if kind == "high_volume":
        duration = int(rng.integers(1, 4)) * MINUTE
    elif kind == "flash_crash":
        duration = int(rng.integers(5 * MINUTE, 9 * MINUTE))
    elif kind == "quote_burst":
        size = float(round(size))
    length = _length(kind, size, duration)
    room = closes - _FROM_GAP_NS - length - (opens + _FIRST_NS)
    if room <= 0:
        return None
    for at in opens + _FIRST_NS + rng.integers(0, room, _TRIES):
        start = int(at)
        if all(_apart(kind, key, start, start + length, other) for other in others):
            if duration and kind == "high_volume":
                size /= _fullest_minute(start, duration)
            return Injection(kind, key, start, size, duration)
    return None


def _length(kind: str, size: float, duration: int | None) -> int:
    if kind == "silence":
        return round(size * MINUTE)
    return duration or MINUTE


def _apart(kind: str, key: str, start: int, end: int, other: Injection) -> bool:
    distance = 0
    if key == other.key:
        distance = _APART_NS
    elif "gap" in (kind, other.kind):
        distance = _FROM_GAP_NS
    else:
        return True
    ends = other.at_ns + _length(other.kind, other.size, other.duration_ns)
    return start >= ends + distance or end + distance <= other.at_ns


def _fullest_minute(start: int, duration: int) -> float:
    """Return the largest part of a UTC minute that ``[start, start + duration)`` covers.

    >>> _fullest_minute(0, MINUTE), _fullest_minute(MINUTE // 4, MINUTE), _fullest_minute(7, 2 * MINUTE)
    (1.0, 0.75, 1.0)
    """
    first = start // MINUTE * MINUTE + MINUTE - start
    if duration - first >= MINUTE:
        return 1.0
    return max(min(first, duration), duration - first) / MINUTE
