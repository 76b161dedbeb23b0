"""Looking after the results in Elasticsearch: preparing, emptying, pruning, and a look at its health."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from connectors.elasticsearch_client import check_server, connect, explained
from connectors.elasticsearch_schema import KINDS, SCHEMA_VERSION, alias, create, day_of, versions
from tapewatch.documents import rfc3339
from tapewatch.errors import UserError
from tapewatch.records import DAY
from tapewatch.settings_elasticsearch import ElasticsearchSettings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: What a flow writes; reviews stay, and what is known of users and payments.
_RESULTS = ("anomalies", "bars", "scores", "late", "counters")
#: Names in one request, as a URL must not be too long.
_NAMES = 50


@contextmanager
def _server(settings: ElasticsearchSettings) -> Iterator[tuple[Elasticsearch, str]]:
    with closing(connect(settings)) as client:
        version = check_server(client, settings)
        with explained(settings):
            yield client, version


def prepare(settings: ElasticsearchSettings) -> tuple[bool, str]:
    """Put templates and retention; return whether anything is new, and what retention there is."""
    with _server(settings) as (client, _):
        return create(client, settings)


def wipe(settings: ElasticsearchSettings) -> dict[str, int]:
    """Delete all results but keep reviews and profiles; return the number of documents deleted by kind."""
    with _server(settings) as (client, _):
        deleted = {kind: _delete(client, _indices(client, settings, kind)) for kind in _RESULTS}
        _delete(client, _indices(client, settings, "provisional"))
    return deleted


def prune(settings: ElasticsearchSettings, days: int, now: int) -> dict[str, int]:
    """Delete the indices of event days (UTC) over ``days`` before the day of ``now`` (ns).

    Only indices with the name of a day go, and the profiles of users who have not paid since; reviews and
    counters stay.
    """
    if days < 0:
        raise UserError(f"`--days` must be a whole number of at least 0, was {days}")
    before = now // DAY - days
    deleted = {}
    with _server(settings) as (client, _):
        for kind in ("anomalies", "bars", "scores", "late"):
            found = _indices(client, settings, kind)
            old = {
                name: count
                for name, count in found.items()
                if (day := day_of(settings.index_prefix, kind, name)) is not None and day < before
            }
            deleted[kind] = _delete(client, old)
        marks = alias(settings.index_prefix, "provisional")
        past = {"range": {"ts_start": {"lt": rfc3339(max(before - 1, 0) * DAY)}}}
        client.delete_by_query(index=marks, query=past, conflicts="proceed", ignore_unavailable=True)
        profiles = alias(settings.index_prefix, "profiles")
        client.indices.refresh(index=profiles, ignore_unavailable=True)
        away = {"range": {"ts_last": {"lt": rfc3339(max(before, 0) * DAY)}}}
        answer = client.delete_by_query(
            index=profiles, query=away, conflicts="proceed", ignore_unavailable=True
        )
        deleted["profiles"] = int(answer["deleted"])
    return deleted


def _indices(client: Elasticsearch, settings: ElasticsearchSettings, kind: str) -> dict[str, int]:
    """Return the number of documents of each index that the alias of a kind leads to."""
    name = alias(settings.index_prefix, kind)
    client.indices.refresh(index=name, ignore_unavailable=True)
    rows = client.cat.indices(index=f"{name}-*", h=["index", "docs.count"], format="json")
    found = {row["index"]: int(row["docs.count"] or 0) for row in rows.body if isinstance(row, dict)}
    # What only looks like ours, as that of a longer prefix, bears another alias.
    ours: dict[str, Any] = client.indices.get(index=f"{name}-*", features="aliases").body if found else {}
    return {index: count for index, count in found.items() if name in ours.get(index, {}).get("aliases", {})}


def _delete(client: Elasticsearch, indices: dict[str, int]) -> int:
    names = sorted(indices)
    for first in range(0, len(names), _NAMES):
        client.indices.delete(index=",".join(names[first : first + _NAMES]), ignore_unavailable=True)
    return sum(indices.values())


def look(settings: ElasticsearchSettings) -> str:
    """Return in words that the server is as a run needs it; `UserError` says what is not."""
    with _server(settings) as (client, version):
        health = client.cluster.health()
        if health["status"] == "red":
            raise UserError(
                f"the cluster at {settings.url} is red: {health['unassigned_shards']} shards have no place; "
                "look at its log and its disks"
            )
        found = versions(client, settings)
        wrong = [alias(settings.index_prefix, kind) for kind, v in found.items() if v != SCHEMA_VERSION]
        if wrong:
            raise UserError(
                f"the index templates {', '.join(wrong)} at {settings.url} are of another version; choose "
                "another `sinks.elasticsearch.index_prefix`"
            )
        if found and len(found) < len(KINDS):
            raise UserError(
                f"index templates are missing at {settings.url}; run `tapewatch init elasticsearch`"
            )
        letters = _letters(client, settings)
        words = "templates are there" if found else "templates will be put by the first run"
        return f"{settings.url}: Elasticsearch {version or 'of a version it does not tell'}, {words}{letters}"


def _letters(client: Elasticsearch, settings: ElasticsearchSettings) -> str:
    name = alias(settings.index_prefix, "dead-letters")
    number = client.count(index=name, ignore_unavailable=True)["count"]
    if not number:
        return ""
    return f"; {number:,} documents were refused, see {name}"
