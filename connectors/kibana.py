"""Kibana's data views, saved searches and dashboard as importable saved objects, and their import.

``python -m connectors.kibana > deploy/kibana/tapewatch.ndjson`` writes those of the default prefix.
"""

from __future__ import annotations

import base64
import sys
import urllib.error
import urllib.request
from typing import Any

import orjson

from connectors.elasticsearch_client import tls
from connectors.elasticsearch_schema import alias
from connectors.kibana_panels import panels
from tapewatch.errors import UserError
from tapewatch.settings_elasticsearch import ElasticsearchSettings

Json = dict[str, Any]

_CORE = "8.8.0"
#: The versions of the types that Kibana 8.9 wrote: later ones migrate them.
_TYPES = {"index-pattern": "8.0.0", "search": "8.0.0", "visualization": "8.5.0", "dashboard": "8.9.0"}
_VIEWS = {
    "anomalies": "Anomalies",
    "bars": "Bars",
    "scores": "Scores",
    "reviews": "Reviews",
    "dead-letters": "Refused documents",
}
_SECONDS = 60.0
_INDEX = "kibanaSavedObjectMeta.searchSourceJSON.index"
_BOUNDARY = "tapewatch-saved-objects"


def _text(value: object) -> str:
    """Return JSON as text: Kibana keeps what it does not search in this way."""
    return orjson.dumps(value).decode()


def _object(kind: str, name: str, attributes: Json, references: list[Json]) -> Json:
    return {
        "id": name,
        "type": kind,
        "attributes": attributes,
        "references": references,
        "coreMigrationVersion": _CORE,
        "typeMigrationVersion": _TYPES[kind],
        "managed": False,
    }


def _view(prefix: str, kind: str) -> Json:
    attributes = {
        "title": alias(prefix, kind),
        "name": f"{prefix}: {_VIEWS[kind]}",
        "timeFieldName": "@timestamp",
        "fields": "[]",
        "fieldAttrs": "{}",
        "fieldFormatMap": "{}",
        "runtimeFieldMap": "{}",
        "sourceFilters": "[]",
        "typeMeta": "{}",
    }
    return _object("index-pattern", f"{prefix}-view-{kind}", attributes, [])


def _search(prefix: str, name: str, title: str, kind: str, columns: list[str], sort: list[list[str]]) -> Json:
    source = {"indexRefName": _INDEX, "query": {"query": "", "language": "kuery"}, "filter": []}
    attributes = {
        "title": f"{prefix}: {title}",
        "description": "",
        "columns": columns,
        "sort": sort,
        "grid": {},
        "hideChart": True,
        "kibanaSavedObjectMeta": {"searchSourceJSON": _text(source)},
    }
    view = {"id": f"{prefix}-view-{kind}", "name": _INDEX, "type": "index-pattern"}
    return _object("search", f"{prefix}-search-{name}", attributes, [view])


def _dashboard(prefix: str, found: list[tuple[str, str, tuple[int, int, int, int]]]) -> Json:
    laid, references = [], []
    for number, (kind, name, (x, y, width, height)) in enumerate(found):
        index = f"panel-{number}"
        laid.append(
            {
                "type": kind,
                "gridData": {"x": x, "y": y, "w": width, "h": height, "i": index},
                "panelIndex": index,
                "embeddableConfig": {"enhancements": {}},
                "panelRefName": f"panel_{index}",
                "version": _CORE,
            }
        )
        references.append({"id": name, "name": f"{index}:panel_{index}", "type": kind})
    attributes = {
        "title": f"{prefix}: What is wrong, how badly, and why",
        "description": "Anomalies by time, detector and symbol, with their reasons.",
        "panelsJSON": _text(laid),
        "optionsJSON": _text({"useMargins": True, "hidePanelTitles": False}),
        "timeRestore": False,
        "version": 1,
        "kibanaSavedObjectMeta": {
            "searchSourceJSON": _text({"query": {"query": "", "language": "kuery"}, "filter": []})
        },
    }
    return _object("dashboard", f"{prefix}-dashboard", attributes, references)


def saved_objects(prefix: str) -> list[Json]:
    """Return the objects for indices with this prefix; their ids bear it too.

    >>> [o["id"] for o in saved_objects("paper") if o["type"] == "dashboard"]
    ['paper-dashboard']
    """
    drawn = panels(prefix)
    visualizations = []
    for panel in drawn:
        state = {"title": panel.title, "type": "vega", "aggs": [], "params": {"spec": _text(panel.spec)}}
        attributes = {
            "title": f"{prefix}: {panel.title}",
            "description": panel.description,
            "visState": _text(state),
            "uiStateJSON": "{}",
            "version": 1,
            "kibanaSavedObjectMeta": {"searchSourceJSON": "{}"},
        }
        visualizations.append(_object("visualization", f"{prefix}-{panel.name}", attributes, []))
    reasons = ["key", "detector", "severity", "reason"]
    newest, bars = [["@timestamp", "desc"]], ["key", "width", "close", "volume", "vwap", "final"]
    searches = [
        _search(prefix, "worst", "Worst anomalies", "anomalies", reasons, [["severity", "desc"]]),
        _search(prefix, "newest", "Newest anomalies", "anomalies", reasons, newest),
        _search(prefix, "bars", "Bars", "bars", bars, newest),
        _search(
            prefix, "refused", _VIEWS["dead-letters"], "dead-letters", ["index", "error", "reason"], newest
        ),
    ]
    laid = [("visualization", f"{prefix}-{panel.name}", panel.place) for panel in drawn]
    laid.append(("search", f"{prefix}-search-worst", (0, 28, 48, 18)))
    views = [_view(prefix, kind) for kind in _VIEWS]
    return [*views, *searches, *visualizations, _dashboard(prefix, laid)]


def ndjson(objects: list[Json]) -> bytes:
    """Return objects as Kibana imports them, one a line."""
    return b"".join(orjson.dumps(found, option=orjson.OPT_APPEND_NEWLINE) for found in objects)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the request holds who we are."""

    def redirect_request(self, *args: object) -> None:
        """Return no request."""


def upload(settings: ElasticsearchSettings) -> int:
    """Import the objects into Kibana over those of the same ids, and return their number.

    Raises
    ------
    UserError
        If Kibana does not answer, does not let us in, or does not take an object.
    """
    url = settings.kibana_url
    place = f"`sinks.elasticsearch.kibana_url` {url}"
    file = ndjson(saved_objects(settings.index_prefix))
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="tapewatch.ndjson"\r\n'
        "Content-Type: application/ndjson\r\n\r\n"
    )
    request = urllib.request.Request(  # noqa: S310 - the settings allow http and https only
        f"{url}/api/saved_objects/_import?overwrite=true",
        data=head.encode() + file + f"\r\n--{_BOUNDARY}--\r\n".encode(),
        headers={
            "Content-Type": f"multipart/form-data; boundary={_BOUNDARY}",
            "kbn-xsrf": "tapewatch",
            **_authorization(settings),
        },
        method="POST",
    )
    handlers: list[Any] = [_NoRedirects()]
    if url.startswith("https:"):
        handlers.append(urllib.request.HTTPSHandler(context=tls(settings.ca_certs)))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_SECONDS) as answer:
            found = orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        raise UserError(f"{place} {_refusal(error.code)}") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, "reason", error)
        raise UserError(f"{place} does not answer: {reason}; start Kibana or correct the address") from None
    except orjson.JSONDecodeError:
        raise UserError(f"{place} is another program than Kibana") from None
    if not isinstance(found, dict) or "successCount" not in found:
        raise UserError(f"{place} is another program than Kibana")
    if not found.get("success"):
        first = (found.get("errors") or [{}])[0]
        why = first.get("error", {}).get("type", "no reason")
        raise UserError(f"{place} did not take {first.get('type')} {first.get('id')}: {why}")
    return int(found["successCount"])


def _authorization(settings: ElasticsearchSettings) -> dict[str, str]:
    key, password = settings.api_key.get_secret_value(), settings.password.get_secret_value()
    if key:
        return {"Authorization": f"ApiKey {key}"}
    if settings.username:
        both = base64.b64encode(f"{settings.username}:{password}".encode()).decode()
        return {"Authorization": f"Basic {both}"}
    return {}


def _refusal(status: int) -> str:
    match status:
        case 401:
            return "does not let us in (401); it takes the user or API key of Elasticsearch"
        case 403:
            return "forbids it (403); importing needs the right to manage saved objects"
        case 404 | 405 | 301 | 302 | 307 | 308:
            return f"answered {status}; is it the address of Kibana, with its base path?"
    return f"answered {status}; look at Kibana's log"


if __name__ == "__main__":
    sys.stdout.buffer.write(ndjson(saved_objects("tapewatch")))
