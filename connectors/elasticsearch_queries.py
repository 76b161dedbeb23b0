"""What Elasticsearch is asked and answers, between the words of the store and JSON."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any

from connectors.elasticsearch_schema import alias, daily_index
from connectors.store_questions import TERMS, Document, Wanted, step_name
from tapewatch.documents import rfc3339
from tapewatch.records import DAY

Query = dict[str, Any]

MS = 1_000_000
#: Most hits of one request (``index.max_result_window``); what is more comes page by page.
PAGE = 10_000
SORT: dict[str, list[Query]] = {
    "newest": [{"ts_event": "desc"}, {"id": "asc"}],
    "oldest": [{"ts_event": "asc"}, {"id": "asc"}],
    "worst": [{"severity": "desc"}, {"ts_event": "asc"}, {"id": "asc"}],
}
_NANOSECONDS = "strict_date_optional_time_nanos"
LATEST = 2**63 - 1
#: The time of a document that says in which day's index it is.
_DAY = {"anomalies": "ts_event", "bars": "ts_start", "scores": "ts_start"}
#: Days that a search names one by one, and how long their names may be together: a server reads an address
#: of 4,096 bytes.
_MOST_DAYS, _LONGEST_NAMES = 32, 3_000
_TIMES = frozenset({"ts_event", "ts_start", "ts_end", "detected_at", "reviewed_at", "ts_first", "ts_last"})
PROFILE_FIELDS = (
    "user_id", "locations", "merchant_categories", "payment_methods", "hours", "amount_min", "amount_max",
    "amount_mean", "transactions", "anomalies", "threshold", "ts_first", "ts_last",
)  # fmt: skip
REVIEW_FIELDS = ("anomaly_id", "transaction_id", "label", "reviewer", "notes", "reviewed_at")
COUNTER_FIELDS = ("flow", "source", "partition", "name", "value")

#: The first and last times of documents, in whole milliseconds.
ENDS: Query = {
    "first": {"min": {"field": "ts_start"}},
    "last_end": {"max": {"field": "ts_end"}},
    "last_event": {"max": {"field": "ts_event"}},
}
COARSER_AGGREGATIONS: Query = {
    "first": {
        "top_hits": {"size": 1, "_source": ["open"], "sort": [{"ts_start": "asc"}, {"instrument_id": "asc"}]}
    },
    "last": {
        "top_hits": {
            "size": 1,
            "_source": ["close", "instrument_id"],
            "sort": [{"ts_start": "desc"}, {"instrument_id": "desc"}],
        }
    },
    "high": {"max": {"field": "high"}},
    "low": {"min": {"field": "low"}},
    "max_size": {"max": {"field": "max_size"}},
    "vwap": {"weighted_avg": {"value": {"field": "vwap"}, "weight": {"field": "volume"}}},
    "open_ones": {"filter": {"term": {"final": False}}},
    **{name: {"stats": {"field": name}} for name in ("volume", "trades", "buy_volume", "sell_volume")},
}


def coarser_bar(bucket: Query, key: str, step_ns: int) -> Document:
    """Return the bar of a bucket that has `COARSER_AGGREGATIONS`."""
    first = bucket["first"]["hits"]["hits"][0]["_source"]
    last = bucket["last"]["hits"]["hits"][0]["_source"]
    start = bucket["key"]["step"] * MS
    sums = {
        name: int(bucket[name]["sum"]) if bucket[name]["count"] else None
        for name in ("volume", "trades", "buy_volume", "sell_volume")
    }
    vwap, most = bucket["vwap"]["value"], bucket["max_size"]["value"]
    return {
        "key": key,
        "instrument_id": last["instrument_id"],
        "dataset": bucket["key"]["dataset"],
        "width": step_name(step_ns),
        "ts_start": start,
        "ts_end": start + step_ns,
        "open": first["open"],
        "high": bucket["high"]["value"],
        "low": bucket["low"]["value"],
        "close": last["close"],
        "volume": sums["volume"],
        "trades": sums["trades"],
        "vwap": None if vwap is None else round(vwap, 9),
        "buy_volume": sums["buy_volume"],
        "sell_volume": sums["sell_volume"],
        "max_size": None if most is None else int(most),
        "final": not bucket["open_ones"]["doc_count"],
    }


def ends_of(answer: Query) -> dict[str, int]:
    """Return what `ENDS` tell, in ns cut to milliseconds; nothing of what no document has."""
    told = {name: found["value"] for name, found in answer.get("aggregations", {}).items() if name in ENDS}
    return {name: int(value) * MS for name, value in told.items() if value is not None}


def total_of(answer: Query) -> int:
    """Return how many documents were found, of an answer that counted all."""
    return int(answer["hits"]["total"]["value"])


def buckets_of(answer: Query, name: str) -> list[Query]:
    """Return the buckets of an aggregation."""
    # Without a single index there are no aggregations.
    return list(answer.get("aggregations", {}).get(name, {}).get("buckets", ()))


def steps_of(field: str, step_ns: int) -> Query:
    """Return the source of a composite aggregation that cuts time into steps."""
    return {"step": {"date_histogram": {"field": field, "fixed_interval": f"{step_ns // MS}ms"}}}


def exact(sort: Query) -> Query:
    """Return a sort whose times come back, and may be given, with nanoseconds."""
    ((name, how),) = sort.items()
    if name not in _TIMES:
        return sort
    return {name: {"order": how, "format": _NANOSECONDS}}


def document_of(source: Query, fields: Sequence[str]) -> Document:
    """Return some fields of a document, times in ns, what it does not have as None."""
    return {
        name: ns_of(value) if name in _TIMES and (value := source.get(name)) is not None else source.get(name)
        for name in fields
    }


def ns_of(text: str) -> int:
    """Return the nanoseconds of a time as `tapewatch.documents.rfc3339` writes it.

    >>> ns_of("2013-10-07T08:00:00.464165001Z")
    1381132800464165001
    """
    moment = dt.datetime.fromisoformat(text[:19] + "+00:00")
    return int(moment.timestamp()) * 1_000_000_000 + int(text[20:].rstrip("Z").ljust(9, "0") or 0)


def range_of(field: str, start: int | None, end: int | None) -> list[Query]:
    """Return the condition ``[start, end)`` ns; nothing is before 1970 or after what int64 holds."""
    bounds = {}
    if start is not None and start > 0:
        bounds["gte"] = rfc3339(min(start, LATEST))
    if end is not None and end <= LATEST:
        bounds["lt"] = rfc3339(max(end, 0))
    return [{"range": {field: bounds}}] if bounds else []


def indices_of(prefix: str, kind: str, query: Sequence[Query]) -> str:
    """Return the indices to search for documents of a kind: those of the days that the query bounds.

    Each index that is named in vain costs the server something. For more days than an address can name, or
    without bounds, it is all of the kind.

    >>> indices_of("tapewatch", "bars", range_of("ts_start", 15_985 * DAY, 15_986 * DAY + 1))
    'tapewatch-bars-2013.10.07,tapewatch-bars-2013.10.08'
    >>> [indices_of("tapewatch", "bars", range_of("ts_start", 0, end)) for end in (None, 34 * DAY, 0)]
    ['tapewatch-bars', 'tapewatch-bars', 'tapewatch-bars']
    >>> len(indices_of("t" * 90, "bars", range_of("ts_start", DAY, 33 * DAY)).split(","))
    1
    """
    field = _DAY.get(kind)
    bounds: Query = next((c["range"][field] for c in query if field in c.get("range", ())), {})
    if "gte" in bounds and "lt" in bounds:
        first, last = ns_of(bounds["gte"]) // DAY, (ns_of(bounds["lt"]) - 1) // DAY
        if first <= last < first + _MOST_DAYS:
            names = ",".join(daily_index(prefix, kind, day) for day in range(first, last + 1))
            if len(names) <= _LONGEST_NAMES:
                return names
    return alias(prefix, kind)


def series_filter(start: int | None, end: int | None, **terms: str) -> list[Query]:
    """Return the conditions for documents with these terms that start in ``[start, end)`` ns."""
    return [*({"term": {name: value}} for name, value in terms.items()), *range_of("ts_start", start, end)]


def filters(wanted: Wanted) -> list[Query]:
    """Return the conditions for anomalies that are wanted."""
    found = range_of("ts_event", wanted.get("start"), wanted.get("end"))
    terms = {name: wanted.get(name) for name in TERMS}
    found += [{"term": {name: value}} for name, value in terms.items() if value is not None]
    least = wanted.get("min_severity")
    if least is not None:
        found.append({"range": {"severity": {"gte": least}}})
    for name, asked in (
        ("id", wanted.get("ids")),
        ("incident", wanted.get("incidents")),
        ("transaction_id", wanted.get("transactions")),
    ):
        if asked is not None:
            found.append({"terms": {name: list(asked)}})
    if (feature := wanted.get("feature")) is not None:
        found.append({"exists": {"field": f"contributions.{feature}"}})
    for word in (wanted.get("text") or "").split():
        pattern = "".join(f"\\{letter}" if letter in "\\*?" else letter for letter in word)
        contains = {"value": f"*{pattern}*", "case_insensitive": True}
        anywhere = [{"wildcard": {field: contains}} for field in ("reason.raw", "key")]
        found.append({"bool": {"should": anywhere, "minimum_should_match": 1}})
    return found
