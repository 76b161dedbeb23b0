"""The five kinds of events that detectors are measured on, put into real bars with known sizes.

*Contextual* events break what goes together (volume without range, range without volume, a move on thin
volume); *patterns* are spikes, dips, level shifts and changes of trend; *collective* ones are flash crashes,
jumps on volume and busy minutes; *subtle* ones are small and of several bars; *mixed* ones are two at once.
A size is in sigmas (`models.bar_sigmas`) of the feature (one-minute move, log volume) at that time of day; of
a move that takes minutes, in those of moves over as many, and an event of several features moves each by its
size.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from models.bar_sigmas import USUAL, Reading, local_sigmas
from models.injected_bars import busier, shifted
from tapewatch.records import MINUTE, Array

#: Smallest and largest size; those of subtle events end below ``SUBTLE``. Drawn log-uniformly.
SIZES, SUBTLE = (0.5, 30.0), 3.0
#: Bars an event keeps from the next one and from the end.
APART = 60
_LAST = 30
_PAUSE = 30 * MINUTE
#: Volume grows no more than by this many natural logarithms.
_MOST_GROWTH = 5.0
_THIN = 0.5


@dataclass(frozen=True, slots=True)
class Event:
    """One injected event: bars ``first`` up to ``last - 1``, its kind, its variant and its size in sigmas."""

    kind: str
    variant: str
    first: int
    last: int
    size: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event goes: its first bar, the sigmas of price (in integer units) and log volume, chance."""

    at: int
    price: float
    log_volume: float
    chance: np.random.Generator

    def sign(self) -> int:
        """Return 1 or -1 by chance."""
        return 1 if self.chance.random() < 0.5 else -1


_Variant = Callable[[Array, Place, float], int]


def inject(
    bars: Array,
    first: int,
    events_per_bar: float,
    rng: np.random.Generator,
    kinds: tuple[str, ...] = (),
    reading: Reading = USUAL,
) -> tuple[Array, list[Event]]:
    """Return the bars of one instrument with events in them from ``first`` on, and what these are.

    Parameters
    ----------
    bars
        dtype `tapewatch.documents.BAR`, in order; not changed.
    first
        No event begins before this bar.
    events_per_bar
        How many events there are to be, on average.
    rng
        Source of what is left to chance.
    kinds
        Kinds to draw from, all if none.
    reading
        What a sigma is, one of `models.bar_sigmas.READINGS`.
    """
    bars = bars.copy()
    room = len(bars) - first - _LAST
    events: list[Event] = []
    if room <= 0:
        return bars, events
    names = kinds or tuple(KINDS)
    with_volume = bool((bars["volume"] > 0).mean() > _THIN)
    moves = np.diff(bars["close"], prepend=bars["close"][:1]).astype(np.float64)
    before = bars.copy()
    for at in np.sort(rng.integers(first, first + room, rng.poisson(events_per_bar * len(bars[first:])))):
        if events and at - events[-1].last < APART:
            continue
        # Not across the hours in which nothing is traded.
        if np.diff(bars["ts_start"][at : at + _LAST + 1]).max() > _PAUSE:
            continue
        kind = names[int(rng.integers(len(names)))]
        low, high = SIZES
        size = float(np.exp(rng.uniform(np.log(low), np.log(SUBTLE if kind == "subtle" else high))))
        variants = [name for name in KINDS[kind] if with_volume or name not in NEED_VOLUME]
        variant = variants[int(rng.integers(len(variants)))]
        place = Place(int(at), *local_sigmas(before, moves, int(at), reading), rng)
        events.append(Event(kind, variant, int(at), KINDS[kind][variant](bars, place, size), size))
    bars["low"] = np.minimum(bars["low"], np.minimum(bars["open"], bars["close"]))
    bars["high"] = np.maximum(bars["high"], np.maximum(bars["open"], bars["close"]))
    return bars, events


def _grow(bars: Array, place: Place, sigmas: float) -> None:
    busier(bars, float(np.exp(min(sigmas * place.log_volume, _MOST_GROWTH))))


def _set_move(bars: Array, at: int, shift: int) -> None:
    """Let the close of a bar, and all that follows, be somewhere else."""
    bars["close"][at] += shift
    shifted(bars, at + 1, len(bars), np.full(len(bars) - at - 1, shift, np.int64))


def _volume_without_range(bars: Array, place: Place, size: float) -> int:
    last = place.at + int(place.chance.integers(1, 4))
    _grow(bars[place.at : last], place, size)
    return last


def _range_without_volume(bars: Array, place: Place, size: float) -> int:
    more = round(size * place.price / 2)
    bars["high"][place.at] += more
    bars["low"][place.at] -= more
    return place.at + 1


def _move_on_thin_volume(bars: Array, place: Place, size: float) -> int:
    at = place.at
    thin = bars["volume"][max(at - 60, 0) : at]
    wanted = float(np.quantile(thin, 0.25)) if len(thin) else 0.0
    busier(bars[at : at + 1], min(max(wanted, 1.0) / max(float(bars["volume"][at]), 1.0), 1.0))
    _set_move(bars, at, round(size * place.price) * place.sign())
    return at + 1


def _spike(bars: Array, place: Place, size: float) -> int:
    """Go far up or down and come back: within the bar, or with the next one."""
    at, far = place.at, round(size * place.price) * place.sign()
    if place.chance.random() < _THIN:
        side = "high" if far > 0 else "low"
        extreme = (
            max(bars["open"][at], bars["close"][at]) if far > 0 else min(bars["open"][at], bars["close"][at])
        )
        bars[side][at] = (max if far > 0 else min)(bars[side][at], extreme + far)
        return at + 1
    bars["close"][at] += far
    bars["open"][at + 1] += far
    return at + 2


def _level_shift(bars: Array, place: Place, size: float) -> int:
    _set_move(bars, place.at, round(size * place.price) * place.sign())
    return place.at + 1


def _trend(bars: Array, place: Place, size: float) -> int:
    """Drift for a quarter of an hour, in all by so many standard deviations of such a time's move."""
    bars_of_it = int(place.chance.integers(10, 21))
    step = round(size * place.price / np.sqrt(bars_of_it)) * place.sign()
    for at in range(place.at, place.at + bars_of_it):
        _set_move(bars, at, step)
    return place.at + bars_of_it


def _flash_crash(bars: Array, place: Place, size: float) -> int:
    """Fall for some minutes, by so many standard deviations of such a time's move, and recover."""
    count = int(place.chance.integers(5, 11))
    fall, last = count // 3 + 1, place.at + count
    depth = np.interp(np.arange(count), [-1, fall - 1, count - 1], [0.0, np.sqrt(fall), 0.0])
    shift = -np.rint(depth * size * place.price).astype(np.int64)
    shifted(bars, place.at, last, shift)
    bars["open"][place.at : last] += np.concatenate([[0], shift[:-1]]) - shift
    _grow(bars[place.at : last], place, size)
    return last


def _jump_on_volume(bars: Array, place: Place, size: float) -> int:
    _set_move(bars, place.at, round(size * place.price) * place.sign())
    _grow(bars[place.at : place.at + 3], place, size)
    return place.at + 3


def _busy(bars: Array, place: Place, size: float) -> int:
    """Trade heavily over minutes, with wide bars, and go nowhere."""
    last = place.at + int(place.chance.integers(3, 7))
    more = round(size * place.price / 2)
    bars["high"][place.at : last] += more
    bars["low"][place.at : last] -= more
    _grow(bars[place.at : last], place, size)
    return last


def _zigzag(bars: Array, place: Place, size: float) -> int:
    """Close up and down in turn."""
    count = int(place.chance.integers(5, 9))
    far = round(size * place.price / 2) * place.sign()
    for number in range(count):
        side = far if number % 2 else -far
        bars["close"][place.at + number] += side
        bars["open"][place.at + number + 1] += side
    return place.at + count


def _quiet_growth(bars: Array, place: Place, size: float) -> int:
    last = place.at + int(place.chance.integers(5, 11))
    _grow(bars[place.at : last], place, size)
    return last


def _two(first: _Variant, second: _Variant) -> _Variant:
    return lambda bars, place, size: max(first(bars, place, size), second(bars, place, size))


#: What changes bars, by kind and variant; each returns the end of the event.
KINDS: dict[str, dict[str, _Variant]] = {
    "contextual": {
        "volume_without_range": _volume_without_range,
        "range_without_volume": _range_without_volume,
        "move_on_thin_volume": _move_on_thin_volume,
    },
    "pattern": {"spike": _spike, "level_shift": _level_shift, "trend": _trend},
    "collective": {"flash_crash": _flash_crash, "jump_on_volume": _jump_on_volume, "busy": _busy},
    "subtle": {
        "small_shift": _level_shift,
        "zigzag": _zigzag,
        "small_trend": _trend,
        "quiet_growth": _quiet_growth,
    },
    "mixed": {
        "spike_and_volume": _two(_spike, _volume_without_range),
        "shift_and_range": _two(_level_shift, _range_without_volume),
        "crash_and_zigzag": _two(_flash_crash, _zigzag),
        "trend_and_volume": _two(_trend, _volume_without_range),
    },
}
#: What bars without volume cannot show.
NEED_VOLUME = frozenset({"volume_without_range", "move_on_thin_volume", "quiet_growth"})
