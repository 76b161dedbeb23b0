"""What a tape itself says of an anomaly: facts beside which a person judges whether it is worth a look."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapewatch.records import MINUTE, SECOND, Array, Floats, Int64s

_NEAR = 5 * MINUTE
_NEIGHBOURS = 20
#: Trading sets in, or ends, where there is so many times more of it on one side, not counting a few.
_EDGE, _LEAST = 8, 5
#: Share of the day's volume.
_WORTH_TELLING = 0.01
_MOST_REPEATS = 3


@dataclass(frozen=True, slots=True)
class DayTape:
    """All trades of one instrument on one UTC day, in their order; every array has shape ``(n,)``.

    Attributes
    ----------
    times
        Event time, as windows have it, int64 ns.
    events
        ``ts_event``, as anomalies of single trades have it, int64 ns.
    prices
        Decimals.
    sizes
        Int64.
    """

    times: Int64s
    events: Int64s
    prices: Floats
    sizes: Int64s


def remark_on_window(tape: DayTape, start: int, end: int) -> str:
    """Return the facts of the trades in a window ``[start, end)``, ns.

    Examples
    --------
    >>> at = np.arange(200) * 10 * SECOND
    >>> tape = DayTape(at, at, np.full(200, 20.0), np.full(200, 100))
    >>> tape.sizes[100], tape.prices[100] = 9_000, 20.5
    >>> for fact in remark_on_window(tape, int(at[95]), int(at[105])).split("; "):
    ...     print(fact)
    one trade of 9,000 at 20.5 is 91 % of it
    34 % of the day's volume
    prices of 20 before, as far as 20.5 in it, 20 after
    """
    places = np.flatnonzero((tape.times >= start) & (tape.times < end))
    if not len(places):
        return remark_on_silence(tape, start, end)
    sizes = tape.sizes[places]
    largest = int(places[sizes.argmax()])
    facts = [_edge(tape, places)]
    if len(places) > 1 and 2 * sizes.max() >= sizes.sum():
        share = _percent(sizes.max() / sizes.sum())
        facts.append(f"one trade of {sizes.max():,} at {tape.prices[largest]:g} is {share} of it")
    facts += [_share_of_day(tape, places), _prices(tape, places), _repeats(tape, largest)]
    return "; ".join(fact for fact in facts if fact)


def remark_on_trade(tape: DayTape, event: int, size: int | None = None) -> str:
    """Return the facts of a single trade with this ``ts_event``, ns, and this size if given.

    Examples
    --------
    >>> at = np.arange(200) * 10 * SECOND
    >>> tape = DayTape(at, at, np.full(200, 20.0), np.full(200, 100))
    >>> tape.sizes[100] = 9_001
    >>> remark_on_trade(tape, int(at[100]), 9_001)
    "31 % of the day's volume; at the price of its neighbours"
    """
    places = np.flatnonzero(tape.events == event)
    if size is not None:
        places = places[tape.sizes[places] == size]
    if not len(places):
        return ""
    place = places[:1]
    facts = [_edge(tape, place), _share_of_day(tape, place), _price(tape, int(place[0]))]
    facts.append(_repeats(tape, int(place[0])))
    return "; ".join(fact for fact in facts if fact)


def remark_on_silence(tape: DayTape, start: int, end: int) -> str:
    """Return how much was traded about ``[start, end)``, ns.

    Examples
    --------
    >>> at = np.concatenate([np.arange(100), 160 + np.arange(50)]) * SECOND
    >>> tape = DayTape(at, at, np.full(150, 20.0), np.full(150, 100))
    >>> remark_on_silence(tape, 99 * SECOND, 160 * SECOND)
    '99 trades in the five minutes before, 50 after'
    """
    return (
        f"{_count(tape, start - _NEAR, start):,} trades in the five minutes before, "
        f"{_count(tape, end, end + _NEAR):,} after"
    )


def _count(tape: DayTape, start: int, end: int) -> int:
    low, high = np.searchsorted(np.maximum.accumulate(tape.times), (start, end))
    return int(high - low)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _edge(tape: DayTape, places: Array) -> str:
    """Tell the beginning or the end of continuous trading."""
    first, last = int(tape.times[places[0]]), int(tape.times[places[-1]])
    before = _count(tape, first - _NEAR, first - SECOND)
    after = _count(tape, last + MINUTE, last + MINUTE + _NEAR)
    if after > _EDGE * max(before, _LEAST):
        return f"trading sets in ({before:,} trades in the five minutes before, {after:,} after)"
    if before > _EDGE * max(after, _LEAST):
        return f"trading ends ({before:,} trades in the five minutes before, {after:,} after)"
    return ""


def _share_of_day(tape: DayTape, places: Array) -> str:
    share = float(tape.sizes[places].sum() / tape.sizes.sum())
    return f"{_percent(share)} of the day's volume" if share >= _WORTH_TELLING else ""


def _around(tape: DayTape, places: Array) -> tuple[Floats, Floats]:
    """Return the prices of the nearest trades before and after."""
    first, last = int(places[0]), int(places[-1]) + 1
    return tape.prices[max(first - _NEIGHBOURS, 0) : first], tape.prices[last : last + _NEIGHBOURS]


def _price(tape: DayTape, place: int) -> str:
    around = np.concatenate(_around(tape, np.array([place])))
    if not len(around):
        return ""
    price = float(tape.prices[place])
    if around.min() <= price <= around.max():
        return "at the price of its neighbours"
    off = price / float(np.median(around)) - 1
    return f"{100 * abs(off):.2f} % {'above' if off > 0 else 'below'} its neighbours"


def _prices(tape: DayTape, places: Array) -> str:
    before, after = _around(tape, places)
    if not len(before) or not len(after):
        return ""
    was, then, inside = float(np.median(before)), float(np.median(after)), tape.prices[places]
    if before.min() <= inside.min() and inside.max() <= before.max():
        return "at the prices of before"
    far = float(inside[np.abs(inside / was - 1).argmax()])
    if abs(far / was - 1) > 2 * abs(then / was - 1):
        return f"prices of {was:g} before, as far as {far:g} in it, {then:g} after"
    return f"the price goes from {was:g} to {then:g}"


def _repeats(tape: DayTape, place: int) -> str:
    """Tell of trades of the very same odd size: one trade reported twice, or one order in parts."""
    size = int(tape.sizes[place])
    if size < 1_000 or size % 100 == 0:
        return ""
    same = np.flatnonzero(tape.sizes == size)
    others = [_clock(int(tape.times[i])) for i in same if i != place][:_MOST_REPEATS]
    return f"a trade of the very same size at {', '.join(others)}" if others else ""


def _clock(time: int) -> str:
    seconds = time // SECOND % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
