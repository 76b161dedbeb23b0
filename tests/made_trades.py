"""Trades with outliers, made by chance, and tapes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tapewatch.records import DAY, SECOND, TRADE, Array, Tape
from tapewatch.symbology import Interval, Symbols

_MONDAY = 19_877 * DAY  # 2024-06-03


def random_trades(
    seed: int,
    *,
    count: int = 1500,
    instruments: int = 5,
    days: int = 3,
    jitter_ns: int = 0,
    first_day: int = 0,
) -> Array:
    """Return trades of some days with outliers, the last of them in windows that are never finished.

    Times are those of the tape; with ``jitter_ns`` each is up to that much earlier than its neighbours'.
    """
    rng = np.random.default_rng(seed)
    trades = np.zeros(count, TRADE)
    day = np.sort(rng.integers(0, days, count))
    span = max(count // days // 4, 30)
    within = rng.integers(0, span * SECOND, count)
    within[rng.random(count) < 0.05] //= SECOND // 1_000
    within[rng.random(count) < 0.3] //= SECOND
    times = _MONDAY + (first_day + day) * DAY + 14 * 3600 * SECOND + within
    times.sort()
    times -= rng.integers(0, jitter_ns + 1, count)
    trades["ts_recv"], trades["ts_event"] = times, times - rng.integers(0, 1_000_000, count)
    trades["length"], trades["publisher_id"], trades["action"] = 12, 95, b"T"
    trades["instrument_id"] = 1 + rng.zipf(1.5, count) % instruments
    walk = np.cumsum(rng.integers(-2, 3, count))
    trades["price"] = (10_000 + walk) * 10_000_000
    size = np.maximum(rng.lognormal(3, 1, count), 1).astype(np.uint32)
    size[rng.random(count) < 0.01] *= 40
    size[-2:] *= 60
    trades["size"] = size
    trades["side"] = rng.choice([b"A", b"B", b"N"], count)
    trades["sequence"] = np.arange(1, count + 1)
    return trades


SYMBOLS = {number: f"SYM{number}" for number in range(1, 40)}


def tape_of(records: Array, seq: int = 0, clock: int | None = None) -> Tape:
    """Return valid trades as one batch of a tape with symbols."""
    times = records["ts_recv"].astype(np.int64)
    symbols = Symbols(Interval(name, number, 0, 1 << 31) for number, name in SYMBOLS.items())
    latest = int(times.max()) if len(times) else 0
    return Tape(
        "TAPE", seq, "trades", "XSIM.TAPE", records, times, symbols, latest if clock is None else clock
    )


def tapes_of(records: Array, cuts: Sequence[int]) -> list[Tape]:
    """Return the batches that cutting at these places makes; empty ones too."""
    clock, tapes = 0, []
    for seq, part in enumerate(np.split(records, sorted(min(cut, len(records)) for cut in cuts))):
        clock = max(clock, int(part["ts_recv"].max(initial=0)))
        tapes.append(tape_of(part, seq, clock))
    return tapes
