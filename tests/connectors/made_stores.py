"""The same results in SQLite and in Elasticsearch: many ties, all kinds of values, payments of two detectors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from connectors.sqlite import SqliteWriter
from connectors.store import Store
from tapewatch.documents import PublishedJudge
from tapewatch.records import DAY, HOUR, MINUTE, SECOND

make: Any = import_module("tests.connectors.made_results")

KEYS = ["SPY", "QQQ", "spy", "ESM4 C5000", "über", 'a"*?\\%_']


DETECTORS = ["high_volume", "block_trade", "price_jump"]


REASONS = [
    "Volume is 9 times what is usual.",
    "VOLUME of 100% at 5_000.",
    "One trade of 250,000 (ß, É).",
    r"back\slash * star ? mark",
]


FIRST = make.MONDAY + 8 * HOUR


def anomalies(count: int) -> list[Any]:
    """Return anomalies with many ties and all kinds of values."""
    rng = np.random.default_rng(7)
    made = []
    for number in range(count):
        start = FIRST + int(rng.integers(0, 4)) * DAY + int(rng.integers(0, 40)) * 10 * MINUTE
        record = bool(rng.integers(0, 2))
        start += int(rng.integers(0, 10**9)) if record else 0
        severity = float(rng.choice([10.0, 50.0, 50.5, 75.25, 99.999]))
        made.append(
            make.anomaly(
                number,
                key=KEYS[int(rng.integers(0, len(KEYS)))],
                detector=DETECTORS[int(rng.integers(0, len(DETECTORS)))],
                ts_start=start,
                ts_event=start if record else start + MINUTE,
                ts_end=start + (1 if record else MINUTE),
                severity=float("nan") if number % 29 == 0 else severity,
                reason=REASONS[number % len(REASONS)],
                contributions={"volume": 0.5, "a.b": -0.5} if number % 2 else {},
                # Large incidents and small ones, some of a single anomaly.
                incident=f"i{int(rng.integers(0, 9)) ** 2}" if number % 5 else f"{number:032x}",
            )
        )
    return made


def parts() -> list[Any]:
    """Return results of a few days: bars of all shapes, scores, counters."""
    rng = np.random.default_rng(3)
    volumes = [int(v) for v in rng.integers(0, 10**6, 600)]
    bars = [
        make.bars(*volumes, key="SPY"),
        make.bars(*volumes[:50], key="SPY", day=1, detailed=False),
        make.bars(*volumes[:300], key="SPY", width="1s"),
        make.bars(*volumes[:7], key="QQQ", first=3, final=False),
    ]
    for table in bars:
        moves = rng.integers(-(10**9), 10**9, (4, len(table.bars)))
        for name, move in zip(("open", "high", "low", "close"), moves, strict=True):
            table.bars[name] += move
    other = make.bars(*volumes[:100], key="SPY")
    other.bars["instrument_id"] = 9
    scores = [
        make.scores(*(float(v) for v in rng.integers(0, 9, 900)), key="SPY"),
        make.scores(1.5, -2.5, float("nan"), key="SPY", detector="block_trade"),
    ]
    near = make.scores(*(float(v) for v in rng.integers(0, 9, 30)), key="QQQ", detector="block_trade")
    at = FIRST + np.sort(rng.integers(0, 3 * SECOND, 30))
    scores.append(replace(near, ts_start=at, ts_end=at + 1))
    early = anomalies(2)[1]
    return [
        make.results(
            anomalies=anomalies(400), bars=bars, scores=scores, counters={"records": 1234, "late_records": 5}
        ),
        make.results(late=make.late(1, 2, 3), anomalies=[early], early=[make.early(early)]),
        make.results(judges=[judge("a", FIRST + 2, 5), judge("a", FIRST + 1, 3), judge("b", FIRST + 1, 4)]),
        make.results(judges=[judge("b", FIRST, 9), judge("c", FIRST + 2, 1)]),
        make.results(
            anomalies=[payment(n, name) for n in range(12) for name in ("ensemble", "rules")[n % 3 // 2 :]],
            profiles=[make.profile(f"u{n}") for n in range(3)],
            flow="transactions",
        ),
        make.results(bars=[other], dataset="OTHER.TAPE", partition="b", counters={"records": 2**53 + 1}),
    ]


def payment(number: int, detector: str) -> Any:
    """Return an anomaly of a payment: two happen in each instant, and of each either detector may say more."""
    severity = {"rules": 55.0, "ensemble": [80.0, 40.0, 55.0, float("nan")][number % 4]}[detector]
    amount = [0.1, 1e14 + 0.25, 10.25, 0.7][number % 4]
    made = make.payment(number, detector, amount=amount)
    ts = make.payment(number - number % 2).ts_event
    name = f"{len(detector)}{number:031x}"
    return replace(made, id=name, severity=severity, ts_event=ts, ts_start=ts, ts_end=ts + 1)


def judge(partition: str, ts: int, transactions: int) -> PublishedJudge:
    return PublishedJudge(partition, 1, ts, transactions, {"weights": np.arange(transactions), "clock": ts})


REVIEWS: list[dict[str, Any]] = [
    {"anomaly_id": f"{n % 4:032x}" if n % 3 else None, "transaction_id": None if n % 3 else f"t{n}", "label": n % 2,
     "reviewer": ["me", "you", None][n % 3], "notes": "it's ß", "reviewed_at": FIRST + n // 2 * HOUR + n // 2}
    for n in range(12)
]  # fmt: skip


PROFILES: list[dict[str, Any]] = [
    {"user_id": f"v{n}", "locations": {"Berlin": 3}, "merchant_categories": {}, "payment_methods": None, "hours": {"7": 1},
     "amount_min": 1.25, "amount_max": 9.0, "amount_mean": 3.5, "transactions": n, "anomalies": 0, "threshold": None,
     "ts_first": FIRST, "ts_last": FIRST + n, "state": f'["p", {n}]' if n else None}
    for n in range(5)
]  # fmt: skip


@dataclass(frozen=True)
class Both:
    """The two stores with the same content."""

    sqlite: Store
    elasticsearch: Store

    def ask(self, question: Callable[[Store], Any]) -> Any:
        """Return the answer of both, after checking that it is one."""
        answer = question(self.sqlite)
        assert question(self.elasticsearch) == answer
        return answer


def fill(path: Path, place: Any, results: list[Any]) -> None:
    """Write the same to both stores."""
    with SqliteWriter(path, "paper") as sqlite:
        sqlite.write(results)
    with closing(sqlite3.connect(path)) as connection, connection:
        for table, rows in (("reviews", REVIEWS), ("profiles", PROFILES)):
            for row in rows if results else []:
                values = [orjson.dumps(v).decode() if isinstance(v, dict) else v for v in row.values()]
                marks = ", ".join("?" * len(row))
                connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", values)  # noqa: S608
    client = connect(place)
    create(client, place)
    writer = BulkWriter(client, place, "paper")
    writer.write(results)
    if results:
        writer.write_documents("reviews", REVIEWS)
        writer.write_documents("profiles", PROFILES)
    writer.refresh()
    client.close()
