"""Anomalies put into bars, so that a model can be validated on real data that has no labels.

Sizes are relative to what the instrument was like in the hour before, as `operators.features` sees it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tapewatch.records import Array, Int64s

#: Bars an event keeps from the next one, from the beginning, and from the end.
APART, CONTEXT, _LAST = 40, 120, 20
_LOCAL = 60
_LOW = 0xFFFF_FFFF
_SIGMA_OF_LOG_VOLUME = 0.6
_CRASH_BARS = 6


def inject(
    bars: Array, events_per_bar: float, sizes: tuple[float, float], rng: np.random.Generator
) -> tuple[Array, list[tuple[str, int, int]]]:
    """Return the bars of one instrument with events of every kind in them, and where these are.

    Parameters
    ----------
    bars
        dtype `tapewatch.documents.BAR`, in order; not changed.
    events_per_bar
        How many events there are to be, on average.
    sizes
        Smallest and largest size, in local standard deviations; drawn log-uniformly.
    rng
        Source of what is left to chance.

    Returns
    -------
    tuple
        The changed bars, and ``(kind, first, last + 1)`` of each event.
    """
    bars = bars.copy()
    count = rng.poisson(events_per_bar * len(bars))
    room = len(bars) - CONTEXT - _LAST
    events: list[tuple[str, int, int]] = []
    if room <= 0:
        return bars, events
    kinds = list(KINDS)
    for at in np.sort(rng.integers(CONTEXT, CONTEXT + room, count)).tolist():
        if events and at - events[-1][2] < APART:
            continue
        kind = kinds[int(rng.integers(len(kinds)))]
        size = float(np.exp(rng.uniform(np.log(sizes[0]), np.log(sizes[1]))))
        near = bars[at - _LOCAL : at]
        unit = max(int(np.median(near["high"] - near["low"])), abs(int(bars["close"][at])) // 100_000, 1)
        last = KINDS[kind](bars, at, size, unit, rng)
        events.append((kind, at, last))
    return bars, events


def _volume_alone(bars: Array, at: int, size: float, unit: int, rng: np.random.Generator) -> int:
    """Trade heavily without moving."""
    busier(bars[at : at + 1], float(np.exp(size * _SIGMA_OF_LOG_VOLUME)))
    return at + 1


def _range_alone(bars: Array, at: int, size: float, unit: int, rng: np.random.Generator) -> int:
    """Widen a bar on usual volume that ends where it would have."""
    more = round(size * unit * 0.5)
    bars["high"][at] += more
    bars["low"][at] -= more
    return at + 1


def _spike(bars: Array, at: int, size: float, unit: int, rng: np.random.Generator) -> int:
    """Print a price far off to one side, at once reverted."""
    if rng.random() < 0.5:
        bars["high"][at] += round(size * unit * 0.6)
    else:
        bars["low"][at] -= round(size * unit * 0.6)
    return at + 1


def _jump(bars: Array, at: int, size: float, unit: int, rng: np.random.Generator) -> int:
    """Move for good."""
    shift = round(size * unit * 0.6) * int(rng.choice([-1, 1]))
    shifted(bars, at + 1, len(bars), np.full(len(bars) - at - 1, shift, np.int64))
    bars["close"][at] += shift
    bars["high"][at], bars["low"][at] = (
        max(bars["high"][at], bars["close"][at]),
        min(bars["low"][at], bars["close"][at]),
    )
    return at + 1


def _crash(bars: Array, at: int, size: float, unit: int, rng: np.random.Generator) -> int:
    """Fall over minutes and recover, on heavy volume."""
    last = at + _CRASH_BARS
    depth = np.interp(np.arange(_CRASH_BARS), [0, 1, _CRASH_BARS - 1], [0.5, 1.0, 0.0])
    shift = -np.rint(depth * size * unit * 0.8).astype(np.int64)
    shifted(bars, at, last, shift)
    before = np.concatenate([[0], shift[:-1]])
    bars["open"][at:last] += before - shift
    for name, extreme in (("high", np.maximum), ("low", np.minimum)):
        bars[name][at:last] = extreme(bars[name][at:last], bars["open"][at:last])
    busier(bars[at:last], 1 + size / 4)
    return last


#: What changes bars from ``at`` on, by kind: it is given bars, place, size, unit and chance, returns the end.
KINDS: dict[str, Callable[[Array, int, float, int, np.random.Generator], int]] = {
    "volume_alone": _volume_alone,
    "range_alone": _range_alone,
    "spike": _spike,
    "jump": _jump,
    "crash": _crash,
}


def busier(bars: Array, factor: float) -> None:
    """Multiply what was traded, in place; the average price stays, sizes and number share the growth."""
    old = bars["volume"].copy()
    bars["volume"] = np.rint(old * factor)
    grown = bars["volume"] - old
    for name, share in (("buy_volume", factor), ("sell_volume", factor), ("trades", factor**0.7)):
        bars[name] = np.rint(bars[name] * share)
    bars["max_size"] = np.minimum(np.rint(bars["max_size"] * factor**0.3), bars["volume"])
    told = bars["detailed"] & (old > 0)
    price = [
        notional // volume if known else 0
        for notional, volume, known in zip(_notional(bars), old.tolist(), told.tolist(), strict=True)
    ]
    _add_notional(bars, [p * g for p, g in zip(price, grown.tolist(), strict=True)])


def shifted(bars: Array, first: int, last: int, shift: Int64s) -> None:
    """Move all prices of ``bars[first:last]`` in place."""
    part = bars[first:last]
    for name in ("open", "high", "low", "close"):
        part[name] += shift
    if part["detailed"].any():
        _add_notional(part, [s * v for s, v in zip(shift.tolist(), part["volume"].tolist(), strict=True)])


def _notional(bars: Array) -> list[int]:
    return [
        (high << 32) + low
        for high, low in zip(bars["notional_high"].tolist(), bars["notional_low"].tolist(), strict=True)
    ]


def _add_notional(bars: Array, more: list[int]) -> None:
    total = [old + new for old, new in zip(_notional(bars), more, strict=True)]
    bars["notional_high"] = [value >> 32 for value in total]
    bars["notional_low"] = [value & _LOW for value in total]
