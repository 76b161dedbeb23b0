"""What each kind of anomaly does to the trades of one instrument."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from tapewatch.records import MINUTE, SECOND, Array, Floats, Int64s

_TICK = 10_000_000
_MILLISECOND = 1_000_000
#: Minutes from which the local median volume and the local volatility are taken.
_LOCAL_MINUTES = 30


class Injection(NamedTuple):
    """One anomaly to be injected.

    Attributes
    ----------
    kind
        One of `KINDS`.
    key
        Symbol of the instrument, and of the label.
    at_ns
        When it begins.
    size
        How large, in the kind's own unit (see `inject`).
    duration_ns
        How long it lasts, for ``high_volume`` and ``flash_crash``; None for the kind's own.
    """

    kind: str
    key: str
    at_ns: int
    size: float
    duration_ns: int | None = None


@dataclass(frozen=True, slots=True)
class InstrumentTape:
    """Records of one instrument in time order, those outside of earlier anomalies, and a source of chance."""

    records: Array
    clean: Array
    rng: np.random.Generator

    @property
    def times(self) -> Int64s:
        """Return when each record was received, ns."""
        return self.records["ts_recv"].astype(np.int64)

    def between(self, start: int, end: int) -> slice:
        """Return where the records of ``[start, end)`` are."""
        low, high = np.searchsorted(self.times, (start, end))
        return slice(int(low), int(high))

    def minute_volumes(self, end: int) -> Int64s:
        """Return the volumes of the 30 minutes before the one that ``end`` lies in, shape ``(30,)``."""
        begin = end // MINUTE * MINUTE - _LOCAL_MINUTES * MINUTE
        near = self.records[self.between(begin, begin + _LOCAL_MINUTES * MINUTE)]
        minute = (near["ts_recv"].astype(np.int64) - begin) // MINUTE
        return np.bincount(minute, weights=near["size"], minlength=_LOCAL_MINUTES).astype(np.int64)

    def minute_sigma(self, end: int) -> float:
        """Return the standard deviation of one-minute log-returns in the 30 minutes before ``end``."""
        begin = end - _LOCAL_MINUTES * MINUTE
        last = np.searchsorted(self.times, begin + MINUTE * np.arange(_LOCAL_MINUTES + 1)) - 1
        last = last[last >= 0]
        returns = np.diff(np.log(self.records["price"][last].astype(np.float64)))
        price = float(self.records["price"][max(0, self.between(0, end).stop - 1)])
        return max(float(returns.std()) if len(returns) > 1 else 0.0, _TICK / price)

    def prints(self, times: Int64s, sizes: Int64s, factor: float | Floats = 1.0, ticks: int = 1) -> Array:
        """Return new trades at the price that prevailed, times ``factor``, give or take some ticks."""
        before = np.maximum(np.searchsorted(self.times, times, side="right") - 1, 0)
        added: Array = self.records[before].copy()
        count = len(times)
        wander = self.rng.integers(-ticks, ticks + 1, count) * _TICK
        added["price"] = np.maximum(_scaled(added["price"], factor) + wander, _TICK)
        added["size"] = sizes
        added["side"] = np.array([b"A", b"B"])[self.rng.integers(0, 2, count)]
        added["ts_recv"] = times
        added["ts_event"] = added["ts_recv"] - self.rng.integers(20_000, 300_000, count, dtype=np.uint64)
        added["sequence"] = 1
        return added

    def usual_sizes(self, count: int) -> Int64s:
        """Return sizes drawn from the instrument's own."""
        return self.rng.choice(self.clean["size"], count).astype(np.int64)


#: The changed records and the window of the label, ns, half-open.
Change = tuple[Array, int, int]


def _high_volume(tape: InstrumentTape, injection: Injection) -> Change:
    start = injection.at_ns if injection.duration_ns else injection.at_ns // MINUTE * MINUTE
    end = start + (injection.duration_ns or MINUTE)
    volume = injection.size * float(np.median(tape.minute_volumes(start)))
    if round(volume) < 1:
        raise ValueError(f"{injection.key} traded in too few of the {_LOCAL_MINUTES} minutes before {start}")
    records = tape.records.copy()
    parts = [records]
    # Each clock minute gets its share exactly: chance must not leave all of them below the size asked for.
    edges = [start, *range((start // MINUTE + 1) * MINUTE, end, MINUTE), end]
    for low, high in pairwise(edges):
        target = round(volume * (high - low) / MINUTE)
        if target > 0:
            parts.append(_raised(tape, records, low, high, target))
    return in_time(np.concatenate(parts)), start, end


def _raised(tape: InstrumentTape, records: Array, start: int, end: int, target: int) -> Array:
    """Change sizes of ``records`` in place and return trades to add: the window's volume is ``target``."""
    here = tape.between(start, end)
    kept = records["size"][here].astype(np.int64)
    growth = target / max(1, int(kept.sum()))
    # Both more trades and larger ones, as when a market wakes up.
    more = round(max(1, len(kept)) * max(0.0, growth**0.6 - 1.0))
    more = min(max(more, 0 if len(kept) else 1), target)
    added = tape.prints(tape.rng.integers(start, end, more), tape.usual_sizes(more), ticks=2)
    sizes = _summing_to(np.concatenate([kept, added["size"].astype(np.int64)]), target)
    records["size"][here], added["size"] = sizes[: len(kept)], sizes[len(kept) :]
    return added


def _block_trade(tape: InstrumentTape, injection: Injection) -> Change:
    size = max(1, round(injection.size * float(np.quantile(tape.clean["size"], 0.9999))))
    block = tape.prints(np.array([injection.at_ns]), np.array([size]), ticks=3)
    return in_time(np.concatenate([tape.records, block])), *_span(block)


def _price_jump(tape: InstrumentTape, injection: Injection) -> Change:
    here = tape.between(injection.at_ns, injection.at_ns + MINUTE)
    move = tape.rng.choice([-1.0, 1.0]) * injection.size * tape.minute_sigma(injection.at_ns)
    records = tape.records.copy()
    after = slice(here.start, None)
    records["price"][after] = _scaled(records["price"][after], float(np.exp(move)))
    start = int(records["ts_event"][here.start]) if here.stop > here.start else injection.at_ns
    return records, start, start + MINUTE


def _flash_crash(tape: InstrumentTape, injection: Injection) -> Change:
    start, end = injection.at_ns, injection.at_ns + (injection.duration_ns or 7 * MINUTE)
    bottom = start + int((end - start) * tape.rng.uniform(0.2, 0.3))
    here = tape.between(start, end)
    more = round(max(10, here.stop - here.start) * tape.rng.uniform(3.0, 6.0))
    # Trading is heaviest about the bottom.
    when = tape.rng.triangular(start, bottom, end, more).astype(np.int64)
    records = in_time(np.concatenate([tape.records, tape.prints(when, tape.usual_sizes(more), ticks=2)]))
    times = records["ts_recv"].astype(np.int64)
    depth = np.interp(times, [start, bottom, end], [0.0, injection.size / 100, 0.0])
    records["price"] = _scaled(records["price"], 1.0 - depth)
    return records, start, end


def _bad_tick(tape: InstrumentTape, injection: Injection) -> Change:
    count = int(tape.rng.integers(1, 4))
    times = injection.at_ns + np.cumsum(tape.rng.integers(_MILLISECOND, 100 * _MILLISECOND, count))
    factor = 1.0 + float(tape.rng.choice([-1.0, 1.0])) * injection.size / 100
    prints = tape.prints(times, np.minimum(tape.usual_sizes(count), 100), factor)
    return in_time(np.concatenate([tape.records, prints])), *_span(prints)


def _silence(tape: InstrumentTape, injection: Injection) -> Change:
    start, end = injection.at_ns, injection.at_ns + round(injection.size * MINUTE)
    return np.delete(tape.records, tape.between(start, end)), start, end


def _quote_burst(tape: InstrumentTape, injection: Injection) -> Change:
    count = max(1, round(injection.size))
    length = int(tape.rng.integers(2 * SECOND, 5 * SECOND))
    times = np.sort(injection.at_ns + tape.rng.integers(0, length, count))
    prints = tape.prints(times, np.ones(count, np.int64))
    return in_time(np.concatenate([tape.records, prints])), *_span(prints)


#: What changes one instrument, by kind.
CHANGES: dict[str, Callable[[InstrumentTape, Injection], Change]] = {
    "high_volume": _high_volume,
    "block_trade": _block_trade,
    "price_jump": _price_jump,
    "flash_crash": _flash_crash,
    "bad_tick": _bad_tick,
    "silence": _silence,
    "quote_burst": _quote_burst,
}


def in_time(records: Array) -> Array:
    """Return records in the order of ``ts_recv``; equal times keep their order."""
    ordered: Array = records[np.argsort(records["ts_recv"], kind="stable")]
    return ordered


def _scaled(prices: Array, factor: float | Floats) -> Int64s:
    """Return prices times a factor, on the tick and above zero."""
    ticks = np.rint(prices / _TICK * factor)
    return np.maximum(ticks, 1).astype(np.int64) * _TICK


def _span(prints: Array) -> tuple[int, int]:
    """Return the half-open window from the first print's event to just behind the last one's receipt."""
    return int(prints["ts_event"].min()), int(prints["ts_recv"].max()) + 1


def _summing_to(sizes: Int64s, target: int) -> Int64s:
    """Return sizes scaled to an exact sum of at least their number, round lots where they are large enough.

    >>> _summing_to(np.array([100, 100, 7]), 1234).tolist()
    [600, 500, 134]
    """
    scaled = np.maximum(sizes * (target / max(1, int(sizes.sum()))), 1.0)
    whole: Int64s = np.where(scaled >= 100, scaled // 100 * 100, scaled // 1).astype(np.int64)
    lots, rest = divmod(target - int(whole.sum()), 100)
    if lots >= 0:
        largest = np.argsort(-whole, kind="stable")
        whole[largest] += 100 * (lots // len(whole))
        whole[largest[: lots % len(whole)]] += 100
        whole[largest[-1]] += rest
        return whole
    # Many sizes were raised to 1: take what is too much from the largest.
    excess = int(whole.sum()) - target
    for place in np.argsort(-whole, kind="stable"):
        taken = min(excess, int(whole[place]) - 1)
        whole[place] -= taken
        excess -= taken
        if not excess:
            break
    return whole
