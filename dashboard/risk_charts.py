"""The pictures of predictions in Vega-Lite: the gauge of one, the severities and risk levels of many."""

from __future__ import annotations

import math
from itertools import pairwise

import pandas as pd

from dashboard.charts import Document, Spec, number, severity, told
from dashboard.colours import Colours
from dashboard.predictions import RISKS

_RADIUS, _THICK = 118, 26
#: Severities of a bar of the distribution.
_STEP = 5


def gauge(value: float, risk: str, colours: Colours) -> Spec:
    """Return a half circle from 0 to 100, filled up to a severity, around it where each risk level begins."""
    bounds = [*RISKS.values(), 100]
    bands = pd.DataFrame(
        [
            {"from": _angle(low), "to": _angle(high), "severity": (low + high) / 2, "risk": name}
            for (low, high), name in zip(pairwise(bounds), RISKS, strict=True)
        ]
    )
    cuts = pd.DataFrame(
        [
            {"x": 150 + 140 * math.sin(_angle(cut)), "y": 145 - 140 * math.cos(_angle(cut)), "cut": cut}
            for cut in bounds[1:-1]
        ]
    )
    this = pd.DataFrame(
        [{"to": _angle(value), "severity": value, "text": f"{value:.0f}", "risk": f"{risk} risk"}]
    )
    middle = {"x": {"value": 150}, "y": {"value": 145}}
    inner, outer = _RADIUS - _THICK, _RADIUS
    arc = {"type": "arc", "innerRadius": inner, "outerRadius": outer}
    text = {"type": "text", "color": colours.text}
    exact = {"type": "quantitative", "scale": None}
    return {
        "width": 300,
        "height": 165,
        "datasets": {"bands": bands, "this": this, "cuts": cuts},
        "layer": [
            {"mark": {**arc, "theta": _angle(0), "theta2": _angle(100), "color": colours.volume,
                      "opacity": 0.35}, "data": {"name": "this"}, "encoding": middle},
            {"mark": {**arc, "theta": _angle(0)}, "data": {"name": "this"},
             "encoding": {**middle, "theta2": {"field": "to", **exact}, "color": severity(colours)}},
            {"mark": {**arc, "innerRadius": outer + 3, "outerRadius": outer + 8}, "data": {"name": "bands"},
             "encoding": {**middle, "theta": {"field": "from", **exact}, "theta2": {"field": "to"},
                          "color": severity(colours), "tooltip": told("risk")}},
            {"mark": {**text, "fontSize": 11}, "data": {"name": "cuts"},
             "encoding": {"x": {"field": "x", **exact}, "y": {"field": "y", **exact},
                          "text": {"field": "cut"}}},
            {"mark": {**text, "fontSize": 44, "fontWeight": 600, "dy": -32}, "data": {"name": "this"},
             "encoding": {**middle, "text": {"field": "text"}}},
            {"mark": {**text, "fontSize": 15, "dy": 2}, "data": {"name": "this"},
             "encoding": {**middle, "text": {"field": "risk"}}},
        ],
    }  # fmt: skip


def _angle(value: float) -> float:
    """Return the angle of a severity, in radians from the top.

    >>> _angle(50.0)
    0.0
    """
    return (value - 50.0) / 100.0 * math.pi


def by_detector(severities: dict[str, float], colours: Colours) -> Spec:
    """Return the severity (0 to 100) that each detector gives, and where risks begin."""
    table = pd.DataFrame(
        [{"detector": name, "severity": value} for name, value in severities.items()]
    ).sort_values(["severity", "detector"], ascending=[False, True])
    cuts = pd.DataFrame([{"cut": cut} for cut in RISKS.values() if cut])
    return {
        "datasets": {"detectors": table, "cuts": cuts},
        "height": {"step": 24},
        "layer": [
            {
                "data": {"name": "detectors"},
                "mark": {"type": "bar", "cornerRadius": 2},
                "encoding": {
                    "x": number("severity", "severity", scale={"domain": [0, 100]},
                                axis={"tickCount": 5, "grid": False}),
                    "y": {"field": "detector", "type": "nominal", "title": None, "sort": None,
                          "axis": {"ticks": False, "labelLimit": 150}},
                    "color": severity(colours),
                    "tooltip": told("detector", "severity:.1f"),
                },
            },
            {
                "data": {"name": "cuts"},
                "mark": {"type": "rule", "strokeDash": [4, 3], "color": colours.text, "opacity": 0.6},
                "encoding": {"x": number("cut")},
            },
        ],
    }  # fmt: skip


def distribution(severities: list[float], colours: Colours) -> Spec:
    """Return how many payments have which severity (0 to 100), in steps of 5; counts on a root scale."""
    counts = [0] * (100 // _STEP)
    for value in severities:
        counts[min(int(value // _STEP), len(counts) - 1)] += 1
    rows: list[Document] = [
        {"from": at * _STEP, "to": (at + 1) * _STEP, "payments": count, "severity": (at + 0.5) * _STEP}
        for at, count in enumerate(counts)
    ]
    return {
        "datasets": {"severities": pd.DataFrame(rows)},
        "data": {"name": "severities"},
        "height": 190,
        "mark": {"type": "rect", "stroke": colours.outline, "strokeWidth": 1},
        "encoding": {
            "x": number(
                "from", "severity", scale={"domain": [0, 100]}, axis={"tickCount": 10, "grid": False}
            ),
            "x2": {"field": "to"},
            # The few that matter are to be seen beside the many that do not.
            "y": number("payments", scale={"type": "sqrt"}, axis={"tickCount": 4, "format": ",d"}),
            "y2": {"datum": 0},
            "color": severity(colours),
            "tooltip": told("from:d", "to:d", "payments:,"),
        },
    }


def risk_levels(counts: dict[str, int], colours: Colours) -> Spec:
    """Return how many payments have which risk level, and which part of all that is."""
    total = sum(counts.values()) or 1
    bounds = [*RISKS.values(), 100]
    rows: list[Document] = [
        {
            "risk": name, "payments": counts.get(name, 0), "severity": (low + high) / 2,
            "text": f"{counts.get(name, 0):,} · {counts.get(name, 0) / total:.1%}",
        }
        for (low, high), name in zip(pairwise(bounds), RISKS, strict=True)
    ]  # fmt: skip
    most = max(row["payments"] for row in rows) or 1
    names = {"field": "risk", "type": "nominal", "title": None, "sort": None, "axis": {"ticks": False}}
    return {
        "datasets": {"risks": pd.DataFrame(rows[::-1])},
        "data": {"name": "risks"},
        "height": {"step": 44},
        "encoding": {
            "x": number("payments", axis=None, scale={"type": "sqrt", "domain": [0, 1.9 * most]}),
            "y": names,
            "tooltip": told("risk", "payments:,"),
        },
        "layer": [
            {"mark": {"type": "bar", "cornerRadius": 2}, "encoding": {"color": severity(colours)}},
            {
                "mark": {"type": "text", "align": "left", "dx": 6, "color": colours.text},
                "encoding": {"text": {"field": "text"}},
            },
        ],
    }
