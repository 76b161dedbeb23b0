"""What the market flow makes of real days: the worst incidents with what the tape says of them, and spending.

The flow itself judges the files, with the settings as they are; the tape is then read again for the facts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from connectors.store_questions import Document
from connectors.store_sqlite import SqliteStore
from models.remarks import DayTape, remark_on_silence, remark_on_trade, remark_on_window
from models.tapes import tapes_of_files
from operators.detectors import detectors
from operators.shards import Splitter
from tapewatch.documents import rfc3339
from tapewatch.errors import UserError
from tapewatch.records import DAY, PRICE_SCALE, Array
from tapewatch.settings import load

#: An instrument with fewer trades on a day is hardly judged on it.
_TRADES = 400
_ALL = 1_000_000
#: What a file of this study says that it is.
STUDY = "real days"


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident by its worst anomaly.

    Attributes
    ----------
    others
        Further detectors with a part in it.
    remark
        What the tape itself says.
    """

    ts_start: int
    key: str
    detector: str
    others: tuple[str, ...]
    severity: float
    reason: str
    remark: str


@dataclass(frozen=True, slots=True)
class Spending:
    """Anomalies of each detector for one instrument on one UTC day."""

    key: str
    day: int
    first: bool
    trades: int
    alarms: dict[str, int]


@dataclass(frozen=True, slots=True)
class RealDays:
    """Both tables, and the names of the detectors that are on."""

    worst: tuple[Incident, ...]
    spending: tuple[Spending, ...]
    detectors: tuple[str, ...]

    def rates(self) -> dict[str, dict[str, float | None]]:
        """Return the alarms of each detector per instrument and day: on first days, later ones, and all."""
        parts = {
            "first_day": [spent for spent in self.spending if spent.first],
            "later_days": [spent for spent in self.spending if not spent.first],
            "all_days": list(self.spending),
        }
        return {
            name: {
                part: round(sum(s.alarms.get(name, 0) for s in some) / len(some), 3) if some else None
                for part, some in parts.items()
            }
            for name in self.detectors
        }

    def as_json(self) -> dict[str, Any]:
        """Return the tables as plain values; times are RFC 3339."""
        return {
            "study": STUDY,
            "instrument_days": len(self.spending),
            "alarms_per_instrument_day": self.rates(),
            "worst": [{**asdict(i), "ts_start": rfc3339(i.ts_start)} for i in self.worst],
            "spending": [{**asdict(s), "day": rfc3339(s.day * DAY)[:10]} for s in self.spending],
        }


def judge_files(paths: Sequence[Path], database: Path) -> None:
    """Run the market flow over files, into a new database.

    Raises
    ------
    UserError
        If the flow refuses a file or a setting.
    """
    settings = {
        "TAPEWATCH_SOURCE__KIND": "files",
        "TAPEWATCH_SOURCE__SPEED": "max",
        "TAPEWATCH_SOURCE__PATHS": orjson.dumps([str(path) for path in paths]).decode(),
        "TAPEWATCH_SINKS__KINDS": '["sqlite"]',
        "TAPEWATCH_SINKS__SQLITE__PATH": str(database),
    }
    command = [sys.executable, "-m", "bytewax.run", "flows.market:flow"]
    done = subprocess.run(  # noqa: S603
        command, env={**os.environ, **settings}, check=False, capture_output=True, text=True
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["the market flow failed"]
        if done.returncode == 2:
            raise UserError(lines[-1].removeprefix("tapewatch: "))
        raise RuntimeError(lines[-1])


def real_days(paths: Sequence[Path], limit: int = 20) -> RealDays:
    """Judge files, and return the worst incidents and what each detector spent.

    Parameters
    ----------
    paths
        Files of trades, or of bars (of which little can be said beside the reasons).
    limit
        How many incidents, at most.

    Raises
    ------
    UserError
        If a file or a setting is refused.
    """
    with tempfile.TemporaryDirectory() as folder:
        database = Path(folder) / "results.db"
        judge_files(paths, database)
        with SqliteStore(database) as store:
            anomalies = store.anomalies(order="worst", limit=_ALL)
    incidents: dict[str, list[Document]] = {}
    for anomaly in anomalies:
        incidents.setdefault(anomaly["incident"], []).append(anomaly)
    worst = list(incidents.values())[:limit]
    trades, tapes = _read(paths, {(found[0]["key"], found[0]["ts_start"] // DAY) for found in worst})
    return RealDays(
        tuple(_incident(found, tapes.get((found[0]["key"], found[0]["ts_start"] // DAY))) for found in worst),
        _spending(anomalies, trades),
        tuple(sorted({*_switched_on(), *(anomaly["detector"] for anomaly in anomalies)})),
    )


def _switched_on() -> list[str]:
    return [detector.name for detector in detectors(load().detectors)]


def _read(
    paths: Sequence[Path], wanted: set[tuple[str, int]]
) -> tuple[Counter[tuple[str, int]], dict[tuple[str, int], DayTape]]:
    """Return how many trades each instrument had on each day, and the trades of some of these."""
    trades: Counter[tuple[str, int]] = Counter()
    parts: dict[tuple[str, int], list[tuple[Array, ...]]] = {}
    splitter = Splitter(1)
    for tape in tapes_of_files(paths):
        if tape.kind != "trades":
            continue
        (shard,) = splitter.split(tape)
        for i, key in enumerate(shard.keys):
            place = np.arange(shard.starts[i], shard.starts[i + 1])
            days = shard.times[place] // DAY
            for day, count in zip(*np.unique(days, return_counts=True), strict=True):
                trades[key, int(day)] += int(count)
                if (key, int(day)) in wanted:
                    mine = place[days == day]
                    records = shard.records[mine]
                    events, sizes = records["ts_event"].astype(np.int64), records["size"].astype(np.int64)
                    part = shard.times[mine], events, records["price"] / PRICE_SCALE, sizes
                    parts.setdefault((key, int(day)), []).append(part)
    joined = {place: DayTape(*map(np.concatenate, zip(*some, strict=True))) for place, some in parts.items()}
    return trades, joined


def _incident(found: list[Document], tape: DayTape | None) -> Incident:
    worst = found[0]
    others = dict.fromkeys(anomaly["detector"] for anomaly in found)
    others.pop(worst["detector"])
    return Incident(
        worst["ts_start"], worst["key"], worst["detector"], tuple(others), worst["severity"],
        worst["reason"], "" if tape is None else _remark(worst, tape),
    )  # fmt: skip


def _remark(anomaly: Document, tape: DayTape) -> str:
    start, end = anomaly["ts_start"], anomaly["ts_end"]
    if anomaly["detector"] == "feed_integrity":
        return remark_on_silence(tape, start, end)
    # Anomalies of windows have no publisher.
    if not anomaly["publisher_id"]:
        return remark_on_window(tape, start, end)
    size = int(anomaly["observed"]) if anomaly["detector"] == "block_trade" else None
    return remark_on_trade(tape, anomaly["ts_event"], size)


def _spending(anomalies: list[Document], trades: Counter[tuple[str, int]]) -> tuple[Spending, ...]:
    alarms: dict[tuple[str, int], Counter[str]] = {}
    for anomaly in anomalies:
        place = anomaly["key"], anomaly["ts_start"] // DAY
        alarms.setdefault(place, Counter())[anomaly["detector"]] += 1
    first: dict[str, int] = {}
    for key, day in sorted(trades, key=lambda place: place[1]):
        first.setdefault(key, day)
    return tuple(
        Spending(key, day, first[key] == day, count, dict(sorted(alarms.get((key, day), {}).items())))
        for (key, day), count in sorted(trades.items())
        if count >= _TRADES
    )


def tables(days: RealDays) -> str:
    """Return the results as Markdown."""
    names = days.detectors
    lines = ["| alarms per instrument and day | first days | later days | all |", "|---" * 4 + "|"]
    for name, rate in days.rates().items():
        cells = " | ".join("" if value is None else f"{value:.2f}" for value in rate.values())
        lines.append(f"| `{name}` | {cells} |")
    lines += [
        "",
        "| anomalies told | day | trades | " + " | ".join(f"`{name}`" for name in names) + " |",
        "|---|---|---|" + "---|" * len(names),
    ]
    for spent in days.spending:
        day = f"{rfc3339(spent.day * DAY)[:10]}{', its first' if spent.first else ''}"
        counts = " | ".join(str(spent.alarms.get(name, 0)) for name in names)
        lines.append(f"| {spent.key} | {day} | {spent.trades:,} | {counts} |")
    lines += ["", "| | time (UTC) | key | severity | detectors | reason | on the tape |", "|---" * 7 + "|"]
    for place, found in enumerate(days.worst, start=1):
        time = rfc3339(found.ts_start)[:19].replace("T", " ")
        by = ", ".join(f"`{name}`" for name in (found.detector, *found.others))
        lines.append(
            f"| {place} | {time} | {found.key} | {found.severity:.0f} | {by} | {found.reason} | "
            f"{found.remark} |"
        )
    return "\n".join(lines) + "\n"
