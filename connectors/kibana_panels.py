"""The panels of the Kibana dashboard: what each asks Elasticsearch, and its Vega-Lite specification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connectors.elasticsearch_schema import alias

Json = dict[str, Any]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
#: Colours of severity, which change where its meaning does: once a day, once in a hundred days.
_SEVERITY = {"domain": [0, 50, 75, 90, 100], "range": ["#c6d4e1", "#f4d35e", "#ee964b", "#d1495b", "#7b1e3a"]}
#: 24 hours, and days where they begin.
_CLOCK = {"seconds": "%H:%M:%S", "minutes": "%H:%M", "hours": "%H:%M", "date": "%d %b", "month": "%b %Y"}
#: Buckets of time that a panel is cut into, at most; Elasticsearch chooses round ones.
_STEPS = 90
_KEYS = 25


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of the dashboard; ``place`` is x, y, width and height on its grid of 48 columns."""

    name: str
    title: str
    description: str
    place: tuple[int, int, int, int]
    spec: Json


def _data(prefix: str, path: str, aggregations: Json) -> Json:
    """Return data that Kibana fetches for the time and the filters of the dashboard."""
    return {
        "url": {
            "%context%": True,
            "%timefield%": "@timestamp",
            "index": alias(prefix, "anomalies"),
            "body": {"size": 0, "aggs": aggregations},
        },
        "format": {"property": f"aggregations.{path}.buckets"},
    }


def _by_time(inner: str, field: str, size: int) -> Json:
    worst = {"worst": {"max": {"field": "severity"}}}
    terms = {"field": field, "size": size, "order": {"worst": "desc"}}
    return {
        "time": {
            "auto_date_histogram": {"field": "@timestamp", "buckets": _STEPS},
            "aggs": {inner: {"terms": terms, "aggs": worst}},
        }
    }


def _time_axis(field: str) -> Json:
    return {
        "field": field,
        "type": "temporal",
        "scale": {"type": "utc"},
        "title": None,
        "axis": {"format": _CLOCK},
    }


def _colour(*, legend: bool) -> Json:
    return {
        "field": "severity",
        "type": "quantitative",
        "scale": {**_SEVERITY, "interpolate": "rgb"},
        **({} if legend else {"legend": None}),
    }


def _spec(data: Json, **rest: Any) -> Json:  # noqa: ANN401 - any Vega-Lite
    return {"$schema": _SCHEMA, "data": data, "config": {"view": {"stroke": None}}, **rest}


def _rows(inner: str = "") -> list[Json]:
    """Return what makes flat rows of buckets: ``severity``, ``anomalies``, ``from`` and ``name``."""
    bucket = "datum.cell" if inner else "datum"
    flat: list[Json] = [
        {"calculate": f"{bucket}.key", "as": "name"},
        {"calculate": f"{bucket}.worst.value", "as": "severity"},
        {"calculate": f"{bucket}.doc_count", "as": "anomalies"},
    ]
    if not inner:
        return flat
    # As text, for a tooltip would tell the time of the browser.
    moment = {"calculate": "utcFormat(datum.key, '%d %b %Y %H:%M:%S')", "as": "from"}
    return [{"flatten": [f"{inner}.buckets"], "as": ["cell"]}, *flat, moment]


def _tooltip(name: str, *, time: bool) -> list[Json]:
    return [
        *([{"field": "from", "type": "nominal", "title": "from (UTC)"}] if time else []),
        {"field": "name", "type": "nominal", "title": name},
        {"field": "severity", "type": "quantitative", "title": "worst severity", "format": ".0f"},
        {"field": "anomalies", "type": "quantitative"},
    ]


def _names(*, labels: Json) -> Json:
    """Return an axis of names, the worst on top."""
    order = {"field": "severity", "op": "max", "order": "descending"}
    return {"field": "name", "type": "nominal", "title": None, "sort": order, **labels}


def panels(prefix: str) -> list[Panel]:
    """Return the panels for indices with this prefix."""
    severity = {"field": "severity", "type": "quantitative", "title": "worst severity"}
    number = {"field": "anomalies", "type": "quantitative"}
    ranked = {"field": "key", "size": 15, "order": [{"worst": "desc"}, {"_key": "asc"}]}
    keys = {"keys": {"terms": ranked, "aggs": {"worst": {"max": {"field": "severity"}}}}}
    return [
        Panel(
            "severity-over-time",
            "Severity over time by detector",
            "The worst anomaly of each detector and moment; the area tells how many there are.",
            (0, 0, 32, 12),
            _spec(
                _data(prefix, "time", _by_time("detectors", "detector", 20)),
                transform=_rows("detectors"),
                mark={"type": "point", "filled": True, "opacity": 0.75},
                encoding={
                    "x": _time_axis("key"),
                    "y": {**severity, "scale": {"domain": [0, 100]}},
                    "color": {"field": "name", "type": "nominal", "title": "detector"},
                    "size": {**number, "scale": {"range": [30, 300]}, "legend": None},
                    "tooltip": _tooltip("detector", time=True),
                },
            ),
        ),
        Panel(
            "top-symbols",
            "Top symbols",
            "The symbols with the worst anomalies; the length tells how many there are.",
            (32, 0, 16, 12),
            _spec(
                _data(prefix, "keys", keys),
                transform=_rows(),
                mark={"type": "bar"},
                encoding={
                    "y": _names(labels={}),
                    "x": number,
                    "color": _colour(legend=False),
                    "tooltip": _tooltip("symbol", time=False),
                },
            ),
        ),
        Panel(
            "swim-lane",
            "Swim lane by symbol",
            "The worst severity of each symbol and moment.",
            (0, 12, 48, 16),
            _spec(
                _data(prefix, "time", _by_time("keys", "key", _KEYS)),
                transform=_rows("keys"),
                mark={"type": "square", "size": 90, "opacity": 1},
                encoding={
                    "x": _time_axis("key"),
                    "y": _names(labels={"axis": {"grid": True, "labelOverlap": False}}),
                    "color": _colour(legend=True),
                    "tooltip": _tooltip("symbol", time=True),
                },
            ),
        ),
    ]
