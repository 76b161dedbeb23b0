"""What first days cost on real tapes: many dates, each judged as if nothing had come before it.

A few real days say little of how many alarms an instrument's first day brings. Started afresh on its second
day a tape has another first day, and years of bars have hundreds. Streams of one source do not share a date;
instruments of one date do have its news in common, so that the standard errors are a little too small.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from connectors.chain import open_records
from models.bar_series import MOST_BARS, Series, series_of_files
from models.quality import judged_tapes, judging
from models.tapes import session_of_files, tapes_of_session
from tapewatch.documents import Anomaly
from tapewatch.records import DAY, MINUTE, OHLCV, Array, Int64s, Tape
from tapewatch.symbology import Interval, Symbols

#: Dates of a stream: its first, and those after it.
_DAYS = 3
#: An instrument with fewer trades, or bars, on a date is hardly judged on it.
_TRADES, _BARS = 400, 100
_MINUTE_BARS = 33


@dataclass(frozen=True, slots=True)
class Spent:
    """Alarms of each detector on each date of one stream, the first first."""

    source: str
    alarms: tuple[dict[str, int], ...]


@dataclass(frozen=True, slots=True)
class Cost:
    """Alarms of one detector per instrument and day of one source, with standard errors.

    Attributes
    ----------
    streams, later_days
        How many first days there are, and how many later ones.
    first, first_error, later, later_error
        Alarms a day; None where there are no days, no error of a single stream.
    """

    source: str
    detector: str
    streams: int
    first: float
    first_error: float | None
    later_days: int
    later: float | None
    later_error: float | None


@dataclass(frozen=True, slots=True)
class FirstDays:
    """Costs of each detector that has something to judge, by source."""

    costs: tuple[Cost, ...]

    def as_json(self) -> list[dict[str, Any]]:
        """Return the costs as plain values."""
        return [
            {name: round(value, 4) if isinstance(value, float) else value for name, value in row.items()}
            for row in map(asdict, self.costs)
        ]

    def table(self) -> str:
        """Return the costs as Markdown, one row for each detector."""
        sources = list(dict.fromkeys((c.source, c.streams, c.later_days) for c in self.costs))
        cells = {(c.detector, c.source): _cell(c) for c in self.costs}
        titles = (f"{name}: {first} first, {later} later days" for name, first, later in sources)
        lines = [
            "| alarms per instrument and day, first / later | " + " | ".join(titles) + " |",
            "|---" * (len(sources) + 1) + "|",
        ]
        for detector in sorted({c.detector for c in self.costs}):
            row = " | ".join(cells.get((detector, name), "") for name, _, _ in sources)
            lines.append(f"| `{detector}` | {row} |")
        return "\n".join(lines) + "\n"


def _cell(cost: Cost) -> str:
    pairs = ((cost.first, cost.first_error), (cost.later, cost.later_error))
    told = (
        "" if value is None else f"{value:.2f}" if error is None else f"{value:.2f} ± {error:.2f}"
        for value, error in pairs
    )
    return " / ".join(told)


def first_days(paths: Sequence[Path], starts: int = 20) -> FirstDays:
    """Judge every date of tapes, and some dates of series of minute bars, as the first of its instruments.

    Parameters
    ----------
    paths
        Trades and ``ohlcv-1m`` that the market flow reads, and ``.parquet`` of one instrument's bars each.
    starts
        Most streams of one series of bars. They are spread over what no model was trained on; over all
        of a series too short for that.

    Raises
    ------
    UserError
        If a file cannot be read.
    """
    trades = [path for path in paths if path.suffix != ".parquet" and _holds_trades(path)]
    spent = list(_of_trades(trades)) if trades else []
    spent += (s for path in paths if path not in trades for s in _of_bars(path, starts))
    return FirstDays(tuple(costs(spent)))


def _holds_trades(path: Path) -> bool:
    records = open_records(path, 1)
    try:
        return records.header.kind == "trades"
    finally:
        records.close()


def _of_trades(paths: Sequence[Path]) -> Iterator[Spent]:
    session = session_of_files(paths)
    times, ids = session.records["ts_recv"].astype(np.int64), session.records["instrument_id"]
    for opens, _ in session.hours:
        last = (opens // DAY + _DAYS) * DAY
        part = slice(*np.searchsorted(times, (opens, last)).tolist())
        alarms = judged_tapes(tapes_of_session(replace(session, records=session.records[part])), judging())
        for number, key in session.symbols.items():
            mine = times[part][ids[part] == number]
            yield from _stream("trades", key, mine, _TRADES, alarms, _names(trades=True))


def _of_bars(path: Path, starts: int) -> Iterator[Spent]:
    source = path.name.split(".")[0]
    for series in series_of_files([path], most=1 << 40):
        some = streams(series, starts)
        if not some:
            continue
        keys = [f"{series.number} {number}" for number in range(len(some))]
        alarms = judged_tapes(_tapes(some, keys), judging())
        names = _names(trades=False, volume=bool(series.bars["volume"].any()))
        for key, bars in zip(keys, some, strict=True):
            yield from _stream(source, key, bars["ts_start"], _BARS, alarms, names)


def streams(series: Series, starts: int) -> list[Array]:
    """Return the bars of streams of three dates that have no date in common, spread over a series."""
    bars, trained = series.bars, max(len(series.bars) - MOST_BARS, 0)
    dates = bars["ts_start"] // DAY
    begin = np.flatnonzero(np.diff(dates, prepend=-1))
    lengths = np.diff(np.append(begin, len(bars)))
    begin, lengths = begin[lengths >= _BARS], lengths[lengths >= _BARS]
    if not len(begin):
        return []
    groups = [
        (int(begin[at]), int(begin[at : at + _DAYS][-1] + lengths[at : at + _DAYS][-1]))
        for at in range(0, max(len(begin) - _DAYS, 0) + 1, _DAYS)
    ]
    unseen = [(a, b) for a, b in groups if b <= trained or a >= series.cut] or groups
    chosen = np.unique(np.linspace(0, len(unseen) - 1, starts).round().astype(np.int64))
    return [bars[slice(*unseen[place])] for place in chosen.tolist()]


def _tapes(some: Sequence[Array], keys: Sequence[str]) -> Iterator[Tape]:
    """Yield the bars of streams as the flow gets bars from files, each stream an instrument."""
    records = np.zeros(sum(map(len, some)), OHLCV)
    records["length"], records["rtype"] = OHLCV.itemsize // 4, _MINUTE_BARS
    records["instrument_id"] = np.repeat(np.arange(1, len(some) + 1), [len(bars) for bars in some])
    for name in ("open", "high", "low", "close", "volume"):
        records[name] = np.concatenate([bars[name] for bars in some])
    records["ts_event"] = np.concatenate([bars["ts_start"] for bars in some])
    records = records[np.argsort(records["ts_event"], kind="stable")]
    symbols = Symbols(Interval(key, number, 0, 1 << 31) for number, key in enumerate(keys, start=1))
    times = records["ts_event"].astype(np.int64)
    yield Tape("study", 1, "bars", "", records, times, symbols, int(times[-1]), width_ns=MINUTE)
    # Half an hour later the last bars are over.
    clock = int(times[-1]) + 30 * MINUTE
    yield Tape("study", 2, "bars", "", records[:0], times[:0], symbols, clock, width_ns=MINUTE)


def _names(*, trades: bool, volume: bool = True) -> list[str]:
    """Return the names of the detectors that have something to judge."""
    judges = (d for d in judging().detectors if trades or d.reads != "records")
    return list(dict.fromkeys(d.name for d in judges if volume or d.name != "high_volume"))


def _stream(
    source: str, key: str, times: Int64s, fewest: int, alarms: Iterable[Anomaly], names: Sequence[str]
) -> Iterator[Spent]:
    days, counts = np.unique(times // DAY, return_counts=True)
    days = days[counts >= fewest].tolist()
    if not days:
        return
    spent: dict[int, dict[str, int]] = {day: dict.fromkeys(names, 0) for day in days}
    for alarm in alarms:
        day = alarm.ts_start // DAY
        if alarm.key == key and day in spent and alarm.detector in spent[day]:
            spent[day][alarm.detector] += 1
    # Not if the date before had a few records: they were an instrument's first ones.
    if int(times[0]) // DAY == days[0]:
        yield Spent(source, tuple(spent.values()))


def costs(spent: Iterable[Spent]) -> Iterator[Cost]:
    """Yield what each detector costs, by source.

    The error of later days is that of the streams' own means: alarms of one stream are not by chance alone.

    Examples
    --------
    >>> some = [Spent("x", ({"d": 2}, {"d": 1})), Spent("x", ({"d": 0}, {"d": 0}))]
    >>> [(c.first, c.first_error, c.later, c.later_days) for c in costs(some)]
    [(1.0, 1.0, 0.5, 2)]
    """
    ordered = sorted(spent, key=lambda s: s.source)
    for source, group in groupby(ordered, key=lambda s: s.source):
        some = list(group)
        for name in sorted(some[0].alarms[0]):
            first = [s.alarms[0][name] for s in some]
            later = [[day[name] for day in s.alarms[1:]] for s in some if len(s.alarms) > 1]
            days = [alarms for stream in later for alarms in stream]
            yield Cost(
                source, name, len(first), float(np.mean(first)), _error(first), len(days),
                float(np.mean(days)) if days else None, _error([float(np.mean(s)) for s in later]),
            )  # fmt: skip


def _error(values: Sequence[float]) -> float | None:
    """Return the standard error of the mean."""
    if len(values) < 2:
        return None
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))
