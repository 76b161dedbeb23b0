"""The pictures of one key's tape: candles and volume with anomalies on them, scores with their threshold."""

from __future__ import annotations

import pandas as pd

from dashboard.charts import Document, Spec, number, severity, time_axis, told, utc
from dashboard.colours import Colours

_OF_A_BAR = told("ts_start:time", "open:,.6~g", "high:,.6~g", "low:,.6~g", "close:,.6~g", "volume:,", "width")
_OF_A_SCORE = told("ts_start:time", "score:,.4~g", "threshold:,.4~g", "severity:.0f")
_SHOWN_OF_A_BAR = [
    "ts_start", "middle", "left", "right", "open", "high", "low", "close", "volume", "width"
]  # fmt: skip
_SCALE = {"zero": False, "nice": True}


def candles(
    bars: list[Document],
    anomalies: list[Document],
    start: int,
    end: int,
    colours: Colours,
    chosen: str | None = None,
) -> Spec:
    """Return the candles of one key's ``bars``; a diamond is an anomaly, its reason in the tooltip.

    ``chosen`` is the id of an anomaly whose time is shaded.
    """
    table = _with_bodies(bars)
    rising = {
        "condition": {"test": "datum.close >= datum.open", "value": colours.up},
        "value": colours.down,
    }
    common = {"color": rising, "tooltip": _OF_A_BAR}
    middle = {**common, "x": time_axis("middle", start, end)}
    of_bars = {"name": "bars"}
    layers: list[Spec] = [
        {
            "data": of_bars,
            "mark": {"type": "rule", "strokeWidth": 1},
            "encoding": {
                **middle,
                "y": number("low", scale=_SCALE, axis={"tickCount": 5, "minExtent": 44}),
                "y2": {"field": "high"},
            },
        },
        {
            "data": of_bars,
            "mark": {"type": "rect"},
            "encoding": {
                **common,
                "x": time_axis("left", start, end),
                "x2": {"field": "right"},
                "y": number("open", scale=_SCALE),
                "y2": {"field": "close"},
            },
        },
        # A body without height would not be seen.
        {
            "data": of_bars,
            "transform": [{"filter": "datum.open == datum.close"}],
            "mark": {"type": "tick", "thickness": 1.2, "orient": "horizontal"},
            "encoding": {**middle, "y": number("close", scale=_SCALE)},
        },
    ]
    datasets = {"bars": table[_SHOWN_OF_A_BAR]}
    if anomalies:
        marked = _placed(anomalies, table)
        datasets["marks"] = marked.drop(columns=["id", "shade_start", "shade_end"])
        shaded = marked[marked["id"] == chosen]
        if len(shaded):
            datasets["shaded"] = shaded[["shade_start", "shade_end", "severity"]]
            layers.insert(0, _shade(start, end, colours))
        layers.append(_diamonds(start, end, colours))
    return {"datasets": datasets, "layer": layers, "height": 260}


def _shade(start: int, end: int, colours: Colours) -> Spec:
    return {
        "data": {"name": "shaded"},
        "mark": {"type": "rect", "opacity": 0.22},
        "encoding": {
            "x": time_axis("shade_start", start, end),
            "x2": {"field": "shade_end"},
            "color": severity(colours),
        },
    }


def _with_bodies(bars: list[Document]) -> pd.DataFrame:
    table = utc(bars, "ts_start", "ts_end")
    width = table["ts_end"] - table["ts_start"]
    table["middle"] = table["ts_start"] + width / 2
    table["left"], table["right"] = table["ts_start"] + width * 0.12, table["ts_end"] - width * 0.12
    return table


def _placed(anomalies: list[Document], bars: pd.DataFrame) -> pd.DataFrame:
    """Return the anomalies at their times, above the bar in which they began."""
    # The worst last, that is, on top.
    marked = utc(anomalies, "ts_start", "ts_end").sort_values("severity", kind="stable")
    marked = marked[["id", "ts_start", "ts_end", "severity", "detector", "reason"]]
    least = bars["ts_end"].iloc[0] - bars["ts_start"].iloc[0]
    # What takes no time is shaded as wide as the bar that it is in.
    middle = marked["ts_start"] + (marked["ts_end"] - marked["ts_start"]) / 2
    half = ((marked["ts_end"] - marked["ts_start"]) / 2).clip(lower=least / 2)
    marked["shade_start"], marked["shade_end"] = middle - half, middle + half
    at = bars["ts_start"].searchsorted(marked["ts_start"], side="right") - 1
    marked["height"] = bars["high"].to_numpy()[at.clip(0)]
    return marked


def _diamonds(start: int, end: int, colours: Colours) -> Spec:
    return {
        "data": {"name": "marks"},
        "mark": {
            "type": "point", "shape": "diamond", "filled": True, "size": 95, "opacity": 1,
            "stroke": colours.outline, "yOffset": -9,
        },
        "encoding": {
            "x": time_axis("ts_start", start, end),
            "y": number("height", scale=_SCALE),
            "color": severity(colours),
            "tooltip": told("ts_start:time", "detector", "severity:.0f", "reason"),
        },
    }  # fmt: skip


def volumes(bars: list[Document], start: int, end: int, colours: Colours) -> Spec:
    """Return the volumes of one key's bars."""
    return {
        "datasets": {"bars": _with_bodies(bars)[_SHOWN_OF_A_BAR]},
        "data": {"name": "bars"},
        "height": 90,
        "mark": {"type": "rect", "color": colours.volume},
        "encoding": {
            "x": time_axis("left", start, end),
            "x2": {"field": "right"},
            "y": number("volume", axis={"tickCount": 3, "format": "~s", "minExtent": 44}),
            "y2": {"datum": 0},
            "tooltip": _OF_A_BAR,
        },
    }


def score_line(rows: list[Document], start: int, end: int, colours: Colours) -> Spec:
    """Return a detector's scores of one key, and the threshold above which they are anomalies."""
    both = {"x": time_axis("ts_start", start, end), "tooltip": _OF_A_SCORE}
    above = {"type": "point", "filled": True, "size": 40, "color": colours.threshold, "opacity": 1}
    limit = {"type": "line", "color": colours.threshold, "strokeDash": [5, 3], "strokeWidth": 1.2}
    return {
        "datasets": {"scores": utc(rows, "ts_start")[["ts_start", "score", "threshold", "severity"]]},
        "data": {"name": "scores"},
        "height": 120,
        "layer": [
            {
                "mark": {"type": "line", "color": colours.line, "strokeWidth": 1.2},
                "encoding": {**both, "y": number("score", axis={"tickCount": 3, "minExtent": 44})},
            },
            {"mark": limit, "encoding": {**both, "y": number("threshold")}},
            {
                "transform": [{"filter": "datum.score >= datum.threshold"}],
                "mark": above,
                "encoding": {**both, "y": number("score")},
            },
        ],
    }
