"""Half a year of results for `benchmarks.dashboard`: 100,000 anomalies in incidents, 1,000,000 bars."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tapewatch.documents import BAR, Anomaly, BarTable, Results, ScoreTable
from tapewatch.records import DAY, HOUR, MINUTE, SECOND

KEYS = [f"SYM{number:03d}" for number in range(20)]
DAYS, MINUTES, ANOMALIES = 128, 390, 100_000
DETECTORS = ("high_volume", "block_trade", "price_jump", "feed_integrity", "autoencoder", "ensemble")
_FIRST, _OPEN = 19_877 * DAY, 13 * HOUR + 30 * MINUTE


def trading_days() -> list[int]:
    """Return the opening times (ns) of as many weekdays as there are days."""
    days = [_FIRST + number * DAY for number in range(DAYS * 7 // 5 + 7)]
    return [day + _OPEN for day in days if (day // DAY + 3) % 7 < 5][:DAYS]


def results() -> Iterator[Results]:
    """Yield the results, a part for each instrument."""
    rng = np.random.default_rng(11)
    days = trading_days()
    starts = np.concatenate([day + np.arange(MINUTES) * MINUTE for day in days])
    count = len(starts)
    for number, key in enumerate(KEYS):
        close = np.cumsum(rng.integers(-30_000_000, 30_000_001, count)) + 400 * SECOND
        bars = np.zeros(count, BAR)
        bars["instrument_id"], bars["ts_start"] = number, starts
        bars["open"], bars["close"] = np.roll(close, 1), close
        bars["open"][0] = close[0]
        bars["high"] = np.maximum(bars["open"], close) + rng.integers(0, 30_000_000, count)
        bars["low"] = np.minimum(bars["open"], close) - rng.integers(0, 30_000_000, count)
        for name in ("volume", "trades", "buy_volume", "sell_volume", "max_size"):
            bars[name] = rng.integers(1, 10_000, count)
        bars["notional_high"], bars["detailed"] = rng.integers(1, 1000, count), True
        table = BarTable("1m", MINUTE, [key] * count, bars, np.ones(count, bool))
        last = slice(count - 5 * MINUTES, count)
        scores = [
            ScoreTable(
                name, [key] * (5 * MINUTES), np.full(5 * MINUTES, number), starts[last],
                starts[last] + MINUTE, rng.gamma(2.0, 1.0, 5 * MINUTES), np.full(5 * MINUTES, 8.0),
                rng.uniform(0, 60, 5 * MINUTES),
            )
            for name in DETECTORS[:3]
        ]  # fmt: skip
        anomalies = list(_anomalies(rng, number, key, starts))
        counters = {"records": 25_000_000, "late_records": 12}
        yield Results(
            key, number % 4, "XSIM.TAPE", "market", [table], anomalies, scores=scores, counters=counters
        )


def newest(number: int) -> Results:
    """Return one anomaly that comes after all others and is worse; numbers follow each other in time."""
    name, key = f"{number:032x}", KEYS[number % len(KEYS)]
    start = trading_days()[-1] + (MINUTES + number) * MINUTE
    anomaly = Anomaly(
        f"f{name[1:]}", f"f{name[1:]}", 1, "market", "high_volume", "XSIM.TAPE", 95, 0, key, key,
        start + MINUTE, start, start + MINUTE, 99.0, 6.5, 4.0, 90_000.0, 10_000.0,
        f"New anomaly {number} of the tape", {"trades": 1.0}, start + MINUTE + SECOND,
    )  # fmt: skip
    return Results(key, 0, "XSIM.TAPE", "market", [], [anomaly])


def _anomalies(
    rng: np.random.Generator, number: int, key: str, starts: np.ndarray[tuple[int], np.dtype[np.int64]]
) -> Iterator[Anomaly]:
    incident = ""
    for serial in range(ANOMALIES // len(KEYS)):
        name = f"{number:08x}{serial:024x}"
        # Two or three detectors often find the same.
        if serial % 5 not in (1, 3, 4):
            incident = name
            start = int(starts[int(rng.integers(0, len(starts)))])
        detector = DETECTORS[int(rng.integers(0, len(DETECTORS)))]
        severity = round(50 + 50 * float(rng.beta(1.0, 4.0)), 3)
        yield Anomaly(
            name, incident, 1, "market", detector, "XSIM.TAPE", 95, number, key, key, start + MINUTE, start,
            start + MINUTE, severity, 6.5, 4.0, 90_000.0, 10_000.0,
            f"Volume 90,000 {key}, 9 times the 10,000 expected at this time, mostly by more trades",
            {"trades": 0.75, "average_size": 0.25}, start + MINUTE + SECOND,
        )  # fmt: skip
