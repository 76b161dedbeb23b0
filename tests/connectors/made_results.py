"""Results to be written, for the tests of the sinks and of the store."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapewatch.documents import BAR, Anomaly, BarTable, Early, LateTable, Payment, Results, ScoreTable
from tapewatch.records import DAY, HOUR, MINUTE, SECOND, TRADE

#: 2024-06-03, the event day of everything made here unless said otherwise.
MONDAY = 19_877 * DAY


def anomaly(number: int = 1, **changes: Any) -> Anomaly:
    """Return an anomaly; its id and time follow from the number."""
    start = MONDAY + number * MINUTE
    values: dict[str, Any] = {
        "id": f"{number:032x}", "incident": f"{number:032x}", "revision": 1, "flow": "market",
        "detector": "high_volume", "dataset": "XSIM.TAPE", "publisher_id": 95, "instrument_id": 7,
        "key": "SPY", "symbol": "SPY", "ts_event": start + MINUTE, "ts_start": start,
        "ts_end": start + MINUTE, "severity": 50.0 + number % 50, "score": 6.5, "threshold": 4.0,
        "observed": 900.0, "expected": 100.0, "reason": "Volume is 9 times what is usual.",
        "contributions": {"volume": 0.75, "trades": 0.25}, "detected_at": MONDAY + DAY,
    }  # fmt: skip
    return Anomaly(**(values | changes))


def payment(number: int = 1, detector: str = "ensemble", **words: Any) -> Anomaly:
    """Return an anomaly of the payment ``t<number>``, of one of three users; its id is the detector's own."""
    user, ts = f"u{number % 3}", MONDAY + 9 * HOUR + number * MINUTE
    values: dict[str, Any] = {
        "transaction_id": f"t{number}", "user_id": user, "amount": 10.25 * (1 + number % 4),
        "merchant_category": ["grocery", "travel", None][number % 3], "location": ["DE", "BR"][number % 2],
        "payment_method": "card", "risk_level": "high",
    } | words  # fmt: skip
    return anomaly(
        1000 + number, id=f"{1000 + number:030x}{len(detector):02x}", incident=f"{1000 + number:032x}",
        flow="transactions", detector=detector, dataset="", publisher_id=0, instrument_id=0, key=user,
        symbol=user, ts_event=ts, ts_start=ts, ts_end=ts + 1, payment=Payment(**values),
    )  # fmt: skip


def profile(user: str = "u1", transactions: int = 3, last: int = MONDAY) -> tuple[Any, ...]:
    """Return a user's profile as a row."""
    return (
        user, '{"DE":2.0}', '{"grocery":2.0}', "{}", '{"7":1.0}', 1.25, 9.0, 3.5, transactions, 0, 8.0, MONDAY,
        last, '["p", 1]',
    )  # fmt: skip


def bars(
    *volumes: int,
    key: str = "SPY",
    first: int = 0,
    final: bool = True,
    detailed: bool = True,
    width: str = "1m",
    day: int = 0,
) -> BarTable:
    """Return consecutive bars with these volumes from minute ``first`` on."""
    width_ns = {"1s": SECOND, "1m": MINUTE}[width]
    rows = np.zeros(len(volumes), BAR)
    rows["instrument_id"] = 7
    rows["ts_start"] = MONDAY + day * DAY + (first + np.arange(len(volumes))) * width_ns
    rows["open"], rows["high"], rows["low"], rows["close"] = (
        10 * SECOND, 12 * SECOND, 9 * SECOND, 11 * SECOND
    )  # fmt: skip
    rows["volume"], rows["trades"], rows["max_size"] = volumes, 2, volumes
    notional = [volume * 10_500_000_000 for volume in volumes]
    rows["notional_high"], rows["notional_low"] = [n >> 32 for n in notional], [n % 2**32 for n in notional]
    rows["buy_volume"], rows["detailed"] = volumes, detailed
    return BarTable(width, width_ns, [key] * len(volumes), rows, np.full(len(volumes), final))


def scores(*values: float, detector: str = "high_volume", key: str = "SPY", first: int = 0) -> ScoreTable:
    """Return consecutive scores."""
    count = len(values)
    start = MONDAY + (first + np.arange(count)) * MINUTE
    ids, threshold = np.full(count, 7), np.full(count, 4.0)
    score = np.array(values, np.float64)
    return ScoreTable(detector, [key] * count, ids, start, start + MINUTE, score, threshold, 10 * score)


def early(anomaly: Anomaly, standing: Anomaly | None = None) -> Early:
    """Return the mark of an anomaly that rests on an unfinished window of its own."""
    return Early(anomaly.id, anomaly.detector, anomaly.key, anomaly.instrument_id, anomaly.ts_start, standing)


def late(*sizes: int, key: str = "SPY", clock: int = 10, day: int = 0) -> LateTable:
    """Return late trades with these sizes, a minute and more behind their instrument's clock in minutes."""
    records = np.zeros(len(sizes), TRADE)
    records["instrument_id"], records["publisher_id"] = 7, 95
    records["ts_event"] = MONDAY + day * DAY + (clock - 1) * MINUTE - np.arange(len(sizes))
    records["ts_recv"] = records["ts_event"] + 5
    records["price"], records["size"], records["side"], records["sequence"] = 10 * SECOND, sizes, b"B", 3
    clocks = np.full(len(sizes), MONDAY + day * DAY + clock * MINUTE)
    return LateTable([key] * len(sizes), records, clocks, np.arange(len(sizes)))


def results(**parts: Any) -> Results:
    """Return the results of one batch."""
    values: dict[str, Any] = {"partition": "day", "shard": 0, "dataset": "XSIM.TAPE", "flow": "market"}
    return Results(**(values | parts))
