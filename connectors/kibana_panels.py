"""The panels of the Kibana dashboard: what each asks Elasticsearch, and its Vega-Lite specification."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from connectors.elasticsearch_schema import alias

Json = dict[str, Any]

_SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"
#: Colours of severity, which change where its meaning does: once a day, once in a hundred days.
_SEVERITY = {"domain": [0, 50, 75, 90, 100], "range": ["#c6d4e1", "#f4d35e", "#ee964b", "#d1495b", "#7b1e3a"]}
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
    return {"field": field, "type": "temporal", "scale": {"type": "utc"}, "title": None}


def _colour(field: str, *, legend: bool) -> Json:
    return {
        "field": field,
        "type": "quantitative",
        "scale": {**_SEVERITY, "interpolate": "rgb"},
        "title": "severity",
        **({} if legend else {"legend": None}),
    }


def _spec(data: Json, **rest: Any) -> Json:  # noqa: ANN401 - any Vega-Lite
    return {"$schema": _SCHEMA, "data": data, "config": {"view": {"stroke": None}}, **rest}


def panels(prefix: str) -> list[Panel]:
    """Return the panels for indices with this prefix."""
    counted = {"field": "cell.doc_count", "type": "quantitative", "title": "anomalies"}
    severe = {"field": "cell.worst.value", "type": "quantitative", "title": "severity", "format": ".0f"}
    when = {"field": "key", "type": "temporal", "title": "from (UTC)", "format": "%d %b %H:%M:%S"}
    return [
        Panel(
            "severity-over-time",
            "Severity over time by detector",
            "The worst anomaly of each detector and moment; the area tells how many there are.",
            (0, 0, 32, 12),
            _spec(
                _data(prefix, "time", _by_time("detectors", "detector", 20)),
                transform=[{"flatten": ["detectors.buckets"], "as": ["cell"]}],
                mark={"type": "point", "filled": True, "opacity": 0.75},
                encoding={
                    "x": _time_axis("key"),
                    "y": {
                        "field": "cell.worst.value",
                        "type": "quantitative",
                        "title": "worst severity",
                        "scale": {"domain": [0, 100]},
                    },
                    "color": {"field": "cell.key", "type": "nominal", "title": "detector"},
                    "size": {**counted, "scale": {"range": [30, 300]}, "legend": None},
                    "tooltip": [
                        when,
                        {"field": "cell.key", "type": "nominal", "title": "detector"},
                        severe,
                        counted,
                    ],
                },
            ),
        ),
        Panel(
            "top-symbols",
            "Top symbols",
            "The symbols with the worst anomalies; the length tells how many there are.",
            (32, 0, 16, 12),
            _spec(
                _data(
                    prefix,
                    "keys",
                    {
                        "keys": {
                            "terms": {
                                "field": "key",
                                "size": 15,
                                "order": [{"worst": "desc"}, {"_key": "asc"}],
                            },
                            "aggs": {"worst": {"max": {"field": "severity"}}},
                        }
                    },
                ),
                mark={"type": "bar"},
                encoding={
                    "y": {
                        "field": "key",
                        "type": "nominal",
                        "title": None,
                        "sort": {"field": "worst.value", "op": "max", "order": "descending"},
                    },
                    "x": {"field": "doc_count", "type": "quantitative", "title": "anomalies"},
                    "color": _colour("worst.value", legend=False),
                    "tooltip": [
                        {"field": "key", "type": "nominal", "title": "symbol"},
                        {
                            "field": "worst.value",
                            "type": "quantitative",
                            "title": "severity",
                            "format": ".0f",
                        },
                        {"field": "doc_count", "type": "quantitative", "title": "anomalies"},
                    ],
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
                transform=[{"flatten": ["keys.buckets"], "as": ["cell"]}],
                mark={"type": "square", "size": 90, "opacity": 1},
                encoding={
                    "x": _time_axis("key"),
                    "y": {
                        "field": "cell.key",
                        "type": "nominal",
                        "title": None,
                        "sort": {"field": "cell.worst.value", "op": "max", "order": "descending"},
                        "axis": {"grid": True, "labelOverlap": False},
                    },
                    "color": _colour("cell.worst.value", legend=True),
                    "tooltip": [
                        when,
                        {"field": "cell.key", "type": "nominal", "title": "symbol"},
                        severe,
                        counted,
                    ],
                },
            ),
        ),
    ]
