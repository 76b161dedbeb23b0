"""What Elasticsearch holds: the names of indices and aliases, their mappings, templates and retention."""

from __future__ import annotations

import hashlib
import re
from datetime import date, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from connectors.elasticsearch_client import explained
from tapewatch.errors import UserError
from tapewatch.records import DAY
from tapewatch.settings_elasticsearch import ElasticsearchSettings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Raised whenever a mapping changes; kept as the ``version`` of the templates.
SCHEMA_VERSION = 1
#: Kinds of documents with an index for each day of their events.
DAILY = ("anomalies", "bars", "scores", "late", "reviews")
#: Kinds that have no day: what is usual for a user, what a flow counted, which anomalies are told early, and
#: documents that were refused.
TIMELESS = ("profiles", "counters", "provisional", "dead-letters")
KINDS = (*DAILY, *TIMELESS)
_TIMELESS_SUFFIX = "all"

_WORD = {"type": "keyword", "ignore_above": 8191}
_TIME = {"type": "date_nanos"}
_NUMBER = {"type": "double"}
_WHOLE = {"type": "long"}
_YES_NO = {"type": "boolean"}
_OBJECT = {"type": "flattened", "ignore_above": 8191}
# Sentences are searched by words, and (in `raw`) by what they contain.
_TEXT = {"type": "text", "fields": {"raw": _WORD}}
# Charted, summed and sorted, but seldom searched: half the cost of writing, and searching still works.
_SHOWN_NUMBER = {"type": "double", "index": False}
_SHOWN_WHOLE = {"type": "long", "index": False}
_SHOWN_TIME = {"type": "date_nanos", "index": False}
_KEPT = {"type": "keyword", "index": False, "doc_values": False}


def _fields(kind: dict[str, Any], *names: str) -> dict[str, Any]:
    return dict.fromkeys(names, kind)


MAPPINGS: dict[str, dict[str, Any]] = {
    "anomalies": {
        **_fields(_TIME, "@timestamp", "ts_event", "ts_start", "ts_end", "detected_at"),
        **_fields(_WORD, "id", "incident", "flow", "detector", "dataset", "key", "symbol"),
        **_fields(_WHOLE, "revision", "publisher_id", "instrument_id"),
        **_fields(_NUMBER, "severity", "score", "threshold", "observed", "expected", "amount"),
        **_fields(_WORD, "transaction_id", "user_id", "merchant_category", "location", "payment_method"),
        **_fields(_WORD, "risk_level"),
        "reason": _TEXT,
        "contributions": _OBJECT,
    },
    "bars": {
        **_fields(_TIME, "@timestamp", "ts_start"),
        **_fields(_WORD, "key", "dataset", "width"),
        **_fields(_WHOLE, "instrument_id"),
        **_fields(_SHOWN_NUMBER, "open", "high", "low", "close", "vwap"),
        **_fields(_SHOWN_WHOLE, "volume", "trades", "buy_volume", "sell_volume", "max_size"),
        "ts_end": _SHOWN_TIME,
        "final": _YES_NO,
    },
    "scores": {
        **_fields(_TIME, "@timestamp", "ts_start"),
        **_fields(_WORD, "flow", "detector", "key"),
        **_fields(_WHOLE, "instrument_id"),
        **_fields(_NUMBER, "score", "severity"),
        "threshold": _SHOWN_NUMBER,
        "ts_end": _SHOWN_TIME,
    },
    "reviews": {
        **_fields(_TIME, "@timestamp", "reviewed_at"),
        **_fields(_WORD, "anomaly_id", "transaction_id", "reviewer"),
        "label": {"type": "byte"},
        "notes": {"type": "text"},
    },
    "profiles": {
        **_fields(_TIME, "@timestamp", "ts_first", "ts_last"),
        **_fields(_WORD, "user_id"),
        **_fields(_OBJECT, "locations", "merchant_categories", "payment_methods", "hours"),
        **_fields(_NUMBER, "amount_min", "amount_max", "amount_mean", "threshold"),
        **_fields(_WHOLE, "transactions", "anomalies"),
        "state": _KEPT,
    },
    "late": {
        **_fields(_TIME, "@timestamp", "ts_event", "ts_recv", "ts_clock"),
        **_fields(_WORD, "key", "dataset", "side"),
        **_fields(_WHOLE, "instrument_id", "publisher_id", "ordinal"),
        **_fields(_SHOWN_WHOLE, "size", "sequence"),
        "price": _SHOWN_NUMBER,
    },
    "provisional": {
        **_fields(_WORD, "id", "flow", "source", "detector", "key"),
        **_fields(_WHOLE, "instrument_id"),
        "ts_start": _TIME,
        "standing": _KEPT,
    },
    "counters": {
        **_fields(_WORD, "flow", "source", "partition", "name"),
        **_fields(_WHOLE, "value"),
    },
    "dead-letters": {
        **_fields(_TIME, "@timestamp"),
        **_fields(_WORD, "index", "document_id", "error"),
        "reason": {"type": "text"},
        "document": _KEPT,
    },
}


def alias(prefix: str, kind: str) -> str:
    """Return the name under which all documents of a kind are found."""
    return f"{prefix}-{kind}"


@lru_cache(maxsize=1024)
def daily_index(prefix: str, kind: str, day: int) -> str:
    """Return the index of a kind for a day, counted from 1970-01-01 (UTC).

    >>> daily_index("tapewatch", "bars", 15_985)
    'tapewatch-bars-2013.10.07'
    """
    return f"{prefix}-{kind}-{date(1970, 1, 1) + timedelta(days=day):%Y.%m.%d}"


def timeless_index(prefix: str, kind: str) -> str:
    """Return the one index of a kind that has no days."""
    return f"{prefix}-{kind}-{_TIMELESS_SUFFIX}"


def index_of(prefix: str, kind: str, ts: int) -> str:
    """Return the index for a document of a kind whose event is at ``ts`` ns."""
    if kind in TIMELESS:
        return timeless_index(prefix, kind)
    return daily_index(prefix, kind, ts // DAY)


def day_of(prefix: str, kind: str, index: str) -> int | None:
    """Return the day of a daily index, None if the name is not one of ours."""
    found = re.fullmatch(rf"{re.escape(prefix)}-{kind}-(\d{{4}})\.(\d\d)\.(\d\d)", index)
    if found is None:
        return None
    try:
        return (date(int(found[1]), int(found[2]), int(found[3])) - date(1970, 1, 1)).days
    except ValueError:
        return None


def document_id(*names: object) -> str:
    """Return 32 hex digits that name a document by what it is about."""
    words = "\0".join(f"{len(str(name))}:{name}" for name in names)
    return hashlib.blake2b(words.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def template(prefix: str, kind: str, retention: str | None = None) -> dict[str, Any]:
    """Return the index template of a kind; ``retention`` names a policy for its daily indices."""
    settings: dict[str, Any] = {
        "number_of_shards": 1,
        "auto_expand_replicas": "0-1",
        "refresh_interval": "1s",
    }
    if retention is not None and kind in DAILY and kind != "reviews":
        # The age of an index is that of its day, not of the moment at which it was written.
        settings |= {"lifecycle.name": retention, "lifecycle.parse_origination_date": True}
    return {
        "index_patterns": [f"{alias(prefix, kind)}-*"],
        "priority": 200,
        "version": SCHEMA_VERSION,
        "template": {
            "settings": {"index": settings},
            "mappings": {"dynamic": "strict", "properties": MAPPINGS[kind]},
            "aliases": {alias(prefix, kind): {}},
        },
        "_meta": {"description": f"{kind} of tapewatch"},
    }


def create(client: Elasticsearch, settings: ElasticsearchSettings) -> tuple[bool, str]:
    """Put the templates, and the retention policy where the server has them.

    Returns
    -------
    bool
        Whether anything was not there before.
    str
        What retention there is, in words.

    Raises
    ------
    UserError
        If the server refuses, or holds results of a later version.
    """
    prefix = settings.index_prefix
    with explained(settings):
        before = _versions(client, prefix)
        _check_versions(before, settings)
        _check_aliases(client, settings)
        policy, words = _retention(client, settings)
        for kind in KINDS:
            client.indices.put_index_template(name=alias(prefix, kind), **_arguments(prefix, kind, policy))
    return any(before.get(kind) != SCHEMA_VERSION for kind in KINDS), words


def _arguments(prefix: str, kind: str, policy: str | None) -> dict[str, Any]:
    body = template(prefix, kind, policy)
    body["meta"] = body.pop("_meta")
    return body


def ensure(client: Elasticsearch, settings: ElasticsearchSettings) -> None:
    """Put the templates if they are not there; without the right to look, trust that they are.

    Raises
    ------
    UserError
        If they are of another version, or are not there and must not be put.
    """
    import elasticsearch

    prefix = settings.index_prefix
    with explained(settings):
        try:
            versions = _versions(client, prefix)
        except elasticsearch.AuthorizationException:
            return
        _check_versions(versions, settings)
    if len(versions) < len(KINDS):
        create(client, settings)


def versions(client: Elasticsearch, settings: ElasticsearchSettings) -> dict[str, int]:
    """Return the version of the template of each kind that has one."""
    with explained(settings):
        return _versions(client, settings.index_prefix)


def _versions(client: Elasticsearch, prefix: str) -> dict[str, int]:
    import elasticsearch

    found: dict[str, int] = {}
    names = {alias(prefix, kind): kind for kind in KINDS}
    try:
        answer = client.indices.get_index_template(name=f"{prefix}-*")
    except elasticsearch.NotFoundError:
        return {}
    for entry in answer["index_templates"]:
        if entry["name"] in names:
            found[names[entry["name"]]] = entry["index_template"].get("version", 0)
    return found


def _check_versions(found: dict[str, int], settings: ElasticsearchSettings) -> None:
    for kind, version in found.items():
        if version != SCHEMA_VERSION:
            raise UserError(
                f"the index template {alias(settings.index_prefix, kind)} at {settings.url} is of version "
                f"{version}, this program reads and writes version {SCHEMA_VERSION}; choose another "
                "`sinks.elasticsearch.index_prefix`, or use the version of tapewatch that made it"
            )


def _check_aliases(client: Elasticsearch, settings: ElasticsearchSettings) -> None:
    """Refuse to work beside an index that bears the name of one of our aliases."""
    names = [alias(settings.index_prefix, kind) for kind in KINDS]
    for name in client.indices.get(index=names, ignore_unavailable=True, features="aliases"):
        if name in names:
            raise UserError(
                f"{settings.url} has an index {name!r}, which is to be an alias; delete it, or choose "
                "another `sinks.elasticsearch.index_prefix`"
            )


def _retention(client: Elasticsearch, settings: ElasticsearchSettings) -> tuple[str | None, str]:
    """Put the policy; return its name, None where there is none, and what is to be told of it."""
    import elasticsearch

    days = settings.retention_days
    if not days:
        return None, "results are kept (`sinks.elasticsearch.retention_days` is 0)"
    name = f"{settings.index_prefix}-retention"
    try:
        client.ilm.put_lifecycle(
            name=name,
            policy={
                "phases": {
                    "hot": {"min_age": "0ms", "actions": {}},
                    "delete": {"min_age": f"{days}d", "actions": {"delete": {}}},
                }
            },
        )
    except elasticsearch.ApiError as error:
        if error.meta.status not in (400, 404, 405):
            raise
        return None, f"this server has no ILM: run `tapewatch prune --days {days}` once a day"
    return name, f"results of days more than {days} days ago are deleted (ILM policy {name})"
