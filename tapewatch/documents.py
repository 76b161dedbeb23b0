"""The documents that leave the program: anomalies, bars, scores, and how they are written.

Field names are the contract's. Times are int64 ns here; JSON writes them as RFC 3339 with nanoseconds.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import orjson

from tapewatch.records import PRICE_SCALE, SECOND, Array

#: One bar inside the program; ``row`` is the instrument's row in its shard. ``notional`` is the sum of
#: price x size in units of 1e-9, as ``high * 2**32 + low`` with ``0 <= low < 2**32``. ``trades`` counts the
#: records that went into the bar; they are trades, and the fields behind it known, where ``detailed``.
BAR = np.dtype(
    [
        ("row", "<i4"),
        ("instrument_id", "<u4"),
        ("ts_start", "<i8"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<i8"),
        ("trades", "<i8"),
        ("notional_high", "<i8"),
        ("notional_low", "<i8"),
        ("buy_volume", "<i8"),
        ("sell_volume", "<i8"),
        ("max_size", "<i8"),
        ("detailed", "?"),
    ]
)

ANOMALY_FIELDS = (
    "id", "incident", "revision", "flow", "detector", "dataset", "publisher_id", "instrument_id", "key",
    "symbol", "ts_event", "ts_start", "ts_end", "severity", "score", "threshold", "observed", "expected",
    "reason", "contributions", "detected_at",
)  # fmt: skip
BAR_FIELDS = (
    "key", "instrument_id", "dataset", "width", "ts_start", "ts_end", "open", "high", "low", "close",
    "volume", "trades", "vwap", "buy_volume", "sell_volume", "max_size", "final",
)  # fmt: skip
SCORE_FIELDS = (
    "flow", "detector", "key", "instrument_id", "ts_start", "ts_end", "score", "threshold", "severity",
)  # fmt: skip
_TIMES = frozenset(
    {"ts_event", "ts_recv", "ts_clock", "ts_start", "ts_end", "detected_at", "ts_first", "ts_last"}
)


#: What anomalies of transactions add, in the order of `Payment`.
PAYMENT_FIELDS = (
    "transaction_id", "user_id", "amount", "merchant_category", "location", "payment_method", "risk_level",
)  # fmt: skip
PROFILE_FIELDS = (
    "user_id", "locations", "merchant_categories", "payment_methods", "hours", "amount_min", "amount_max",
    "amount_mean", "transactions", "anomalies", "threshold", "ts_first", "ts_last", "state",
)  # fmt: skip
JUDGE_FIELDS = ("source", "partition", "version", "ts_last", "transactions", "state")

#: Those of a profile that are JSON text in its row.
PROFILE_OBJECTS = ("locations", "merchant_categories", "payment_methods", "hours")


class Payment(NamedTuple):
    """The transaction that an anomaly is about."""

    transaction_id: str
    user_id: str
    amount: float
    merchant_category: str | None
    location: str | None
    payment_method: str | None
    risk_level: str


class PublishedJudge(NamedTuple):
    """What a partition of the transaction flow knows, for predictions.

    ``ts_last`` (ns) is the partition's clock, ``transactions`` how many it has judged, ``state`` of numbers,
    texts, arrays, tuples and tables (`operators.transaction_published`), ``version`` that of its form.
    """

    partition: str
    version: int
    ts_last: int
    transactions: int
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Anomaly:
    """One anomaly as the contract describes it; times in ns, ``contributions`` feature -> signed share."""

    id: str
    incident: str
    revision: int
    flow: str
    detector: str
    dataset: str
    publisher_id: int
    instrument_id: int
    key: str
    symbol: str
    ts_event: int
    ts_start: int
    ts_end: int
    severity: float
    score: float
    threshold: float
    observed: float
    expected: float
    reason: str
    contributions: Mapping[str, float]
    detected_at: int = 0
    payment: Payment | None = None


@dataclass(frozen=True, slots=True)
class BarTable:
    """Bars of one width to be stored: ``bars`` of dtype `BAR`, their keys, and whether each is final."""

    width: str
    width_ns: int
    keys: list[str]
    bars: Array
    final: Array


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Scores of one detector to be kept; every array has shape ``(n,)``."""

    detector: str
    keys: list[str]
    instrument_ids: Array
    ts_start: Array
    ts_end: Array
    scores: Array
    thresholds: Array
    severities: Array


@dataclass(frozen=True, slots=True)
class LateTable:
    """Records that came after their window was closed; every array has shape ``(n,)``.

    ``records`` are ``TRADE`` or ``OHLCV``. ``clocks`` (int64 ns) is the instrument's clock when each came,
    ``ordinals`` its place among those that came at that clock: together with the key they name it.
    """

    keys: list[str]
    records: Array
    clocks: Array
    ordinals: Array


@dataclass(frozen=True, slots=True)
class Early:
    """Says that an anomaly is told from windows that may still change.

    ``ts_start`` (ns) is the first of them, ``standing`` the anomaly as it is without them, None if it is not.
    """

    id: str
    detector: str
    key: str
    instrument_id: int
    ts_start: int
    standing: Anomaly | None


@dataclass(frozen=True, slots=True)
class Results:
    """What one batch of one shard leads to; a sink writes it as one transaction.

    Attributes
    ----------
    deleted
        Ids of anomalies written earlier from an unfinished window that turned out to be none.
    taken_back
        Keys by id of these and of all others that were told with a window that is none of theirs; the latter
        are among ``anomalies`` as they stand without it.
    early
        Which of the ``anomalies`` rest on windows that may still change. A run that is killed forgets what it
        has told since its last snapshot, so a sink remembers these.
    judged
        Windows that were judged, by detector. What an earlier run told early of one of them, and this one
        does not tell, turned out to be nothing.
    late
        Late records; they are in no bar.
    counters
        Totals so far of ``(partition, name)``; writing them twice changes nothing.
    clock
        The source partition's clock with this batch, ns; 0 where it is not told.
    profiles
        Users' profiles as they are now, in the order of `PROFILE_FIELDS`.
    judges
        What the transaction flow publishes for predictions, the newest last.
    """

    partition: str
    shard: int
    dataset: str
    flow: str
    bars: list[BarTable] = field(default_factory=list)
    anomalies: list[Anomaly] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    scores: list[ScoreTable] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    seq: int = 0
    credit: str = ""
    taken_back: dict[str, str] = field(default_factory=dict)
    early: list[Early] = field(default_factory=list)
    judged: list[tuple[str, BarTable]] = field(default_factory=list)
    late: LateTable | None = None
    clock: int = 0
    profiles: Sequence[tuple[Any, ...]] = field(default_factory=list)
    judges: list[PublishedJudge] = field(default_factory=list)


def anomaly_id(flow: str, source: str, detector: str, key: str, instrument_id: int, *place: int | str) -> str:
    """Return the 32 hex digits that name an anomaly, a hash of what it is about.

    ``place`` is ``ts_start`` and, for a single record, its ``ts_event``, price, size, side and ordinal.

    >>> anomaly_id("market", "", "high_volume", "SPY", 7, 0)
    'f94afa0e55ab61dcd97b8b16153c096a'
    """
    words = orjson.dumps([flow, source, detector, key, instrument_id, *place])
    return hashlib.blake2b(words, digest_size=16).hexdigest()


def rfc3339(ns: int) -> str:
    """Return a UTC time with nanoseconds.

    >>> rfc3339(1_381_132_800_464_165_001)
    '2013-10-07T08:00:00.464165001Z'
    """
    seconds, rest = divmod(ns, SECOND)
    minute, second = divmod(seconds, 60)
    return f"{_minute(minute)}:{second:02d}.{rest:09d}Z"


@lru_cache(maxsize=4096)
def _minute(number: int) -> str:
    return f"{dt.datetime.fromtimestamp(number * 60, dt.UTC):%Y-%m-%dT%H:%M}"


def vwap(bars: Array) -> Array:
    """Return the volume-weighted average price of each bar as a decimal, NaN where it is unknown.

    The sum of price x size is exact; only the final division rounds.
    """
    known = bars["detailed"] & (bars["volume"] > 0)
    volume = np.where(known, bars["volume"], 1).astype(np.float64)
    value = (bars["notional_high"].astype(np.float64) * 2.0**32 + bars["notional_low"]) / volume / PRICE_SCALE
    return np.where(known, value, np.nan)


def decimals(prices: Array) -> list[float]:
    """Return prices in units of 1e-9 (int64) as the nearest decimals.

    >>> decimals(np.array([1_500_000_000, 2**57 + 1]))
    [1.5, 144115188.07585588]
    """
    if len(prices) and max(int(prices.max()), -int(prices.min())) > 2**53:
        # Beyond what float64 holds exactly NumPy would round twice.
        return [price / PRICE_SCALE for price in prices.tolist()]
    quotients: list[float] = (prices / PRICE_SCALE).tolist()
    return quotients


def bar_rows(table: BarTable, dataset: str) -> Iterator[tuple[Any, ...]]:
    """Yield one tuple per bar in the order of `BAR_FIELDS`; prices as decimals, what is unknown as None."""
    bars = table.bars
    detailed = bars["detailed"].tolist()

    def known(values: list[Any]) -> list[Any]:
        return [v if d else None for v, d in zip(values, detailed, strict=True)]

    every = len(bars) and all(detailed)
    columns: list[list[Any]] = [
        bars[name].tolist() for name in ("trades", "buy_volume", "sell_volume", "max_size")
    ]
    average = vwap(bars)
    averages = (
        average.tolist() if not np.isnan(average).any() else [None if v != v else v for v in average.tolist()]
    )
    if not every:
        columns = [known(c) for c in columns]
    start = bars["ts_start"]
    count = len(bars)
    return zip(
        table.keys,
        bars["instrument_id"].tolist(),
        [dataset] * count,
        [table.width] * count,
        start.tolist(),
        (start + table.width_ns).tolist(),
        decimals(bars["open"]),
        decimals(bars["high"]),
        decimals(bars["low"]),
        decimals(bars["close"]),
        bars["volume"].tolist(),
        columns[0],
        averages,
        columns[1],
        columns[2],
        columns[3],
        table.final.astype(int).tolist(),
        strict=True,
    )


def score_rows(table: ScoreTable, flow: str) -> Iterator[tuple[Any, ...]]:
    """Yield one tuple per score in the order of `SCORE_FIELDS`."""
    count = len(table.keys)
    columns = (
        table.instrument_ids,
        table.ts_start,
        table.ts_end,
        table.scores,
        table.thresholds,
        table.severities,
    )
    return zip(
        [flow] * count, [table.detector] * count, table.keys, *(c.tolist() for c in columns), strict=True
    )


def anomaly_row(anomaly: Anomaly) -> tuple[Any, ...]:
    """Return the anomaly's values in the order of `ANOMALY_FIELDS`, contributions as JSON text."""
    values = [getattr(anomaly, name) for name in ANOMALY_FIELDS]
    values[ANOMALY_FIELDS.index("contributions")] = orjson.dumps(
        dict(anomaly.contributions), option=orjson.OPT_SERIALIZE_NUMPY
    ).decode()
    return tuple(values)


def anomaly_document(anomaly: Anomaly) -> dict[str, Any]:
    """Return an anomaly for JSON and Elasticsearch, with the transaction it is about if there is one."""
    document = to_json(ANOMALY_FIELDS, anomaly_row(anomaly))
    return document if anomaly.payment is None else document | anomaly.payment._asdict()


def told_anomaly(row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a stored anomaly, `ANOMALY_FIELDS` and behind them `PAYMENT_FIELDS`, for JSON.

    What belongs to payments is left out of those of markets.
    """
    document = to_json(ANOMALY_FIELDS, row[: len(ANOMALY_FIELDS)])
    payment = dict(zip(PAYMENT_FIELDS, row[len(ANOMALY_FIELDS) :], strict=False))
    return document if payment.get("transaction_id") is None else document | payment


def profile_document(row: tuple[Any, ...], *, state: bool = False) -> dict[str, Any]:
    """Return a user's profile, in the order of `PROFILE_FIELDS`, for JSON and Elasticsearch.

    Its exact state, which predictions need, is left out of what is told to people and other programs.
    """
    document = to_json(PROFILE_FIELDS, row)
    for name in PROFILE_OBJECTS:
        if document[name] is not None:
            document[name] = orjson.loads(document[name])
    if not state:
        document.pop("state", None)
    return document


def to_json(fields: tuple[str, ...], row: tuple[Any, ...]) -> dict[str, Any]:
    """Return a document for JSON and Elasticsearch: times as RFC 3339, objects as objects, ``@timestamp``."""
    document: dict[str, Any] = {}
    for name, value in zip(fields, row, strict=True):
        if name in _TIMES:
            document[name] = None if value is None else rfc3339(value)
        elif name == "contributions" and isinstance(value, str):
            document[name] = orjson.loads(value)
        elif name == "final":
            document[name] = bool(value)
        else:
            document[name] = value
    event = next(name for name in ("ts_event", "ts_start", "ts_last") if name in document)
    document["@timestamp"] = document[event]
    return document
