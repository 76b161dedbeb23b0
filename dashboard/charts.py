"""The pictures of anomalies in Vega-Lite: lanes and counts over time, shares of features.

They are written as Vega-Lite's own specifications: making them of objects that check each other took nine
tenths of a look at the monitor. The rows are in ``datasets``, by name.
"""

from __future__ import annotations

import datetime as dt
from typing import Any

import pandas as pd

from dashboard.colours import Colours
from tapewatch.records import DAY, HOUR, MINUTE, SECOND

Document = dict[str, Any]
#: A specification of Vega-Lite, or a part of one.
Spec = dict[str, Any]

#: Steps of the swim lane; the finest is taken that cuts the range into no more than `MOST_STEPS`.
STEPS = (SECOND, 10 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY)
MOST_STEPS = 120
# A day that is cut into steps is a little longer than a day.
_LABELS = ((10 * MINUTE, "%H:%M:%S"), (36 * HOUR, "%H:%M"), (4 * DAY, "%d %b %H:%M"))
#: The name of what a click on a lane chooses.
CELL = "cell"


def step_ns(start: int, end: int) -> int:
    """Return the step of the swim lane for a range of ``[start, end)`` ns.

    >>> step_ns(0, 390 * MINUTE) // MINUTE
    5
    """
    return next((step for step in STEPS if (end - start) // step < MOST_STEPS), STEPS[-1])


def utc(documents: list[Document], *times: str) -> pd.DataFrame:
    """Return the documents as a table whose columns ``times`` (ns since 1970) are UTC timestamps."""
    table = pd.DataFrame(documents)
    for name in times:
        table[name] = pd.to_datetime(table[name], unit="ns", utc=True)
    return table


def number(field: str, title: str | None = None, **options: Any) -> Spec:  # noqa: ANN401 - Vega-Lite's
    """Return a channel of numbers, without a title unless it is given one.

    >>> number("volume", axis={"format": "~s"})
    {'field': 'volume', 'type': 'quantitative', 'title': None, 'axis': {'format': '~s'}}
    """
    return {"field": field, "type": "quantitative", "title": title, **options}


def time_axis(name: str, start: int, end: int) -> Spec:
    """Return the x axis of a range of ``[start, end)`` ns, whatever of it has something to show."""
    labels = next((form for longest, form in _LABELS if end - start <= longest), "%d %b")
    return {
        "field": name,
        "type": "temporal",
        "title": None,
        "scale": {"type": "utc", "nice": False, "domain": [_moment(start), _moment(end)]},
        "axis": {"format": labels, "labelOverlap": "greedy", "tickCount": 8, "grid": False},
    }


def _moment(ts: int) -> dict[str, Any]:
    """Return a time (ns) in Vega-Lite's parts: Streamlit's Vega takes a number for a year.

    >>> _moment(1_717_425_822_425_752_562)["hours"]
    14
    """
    at = dt.datetime.fromtimestamp(ts // 1_000_000_000, dt.UTC)
    parts = {"year": at.year, "month": at.month, "date": at.day}
    parts |= {"hours": at.hour, "minutes": at.minute, "seconds": at.second}
    return {**parts, "milliseconds": ts // 1_000_000 % 1_000, "utc": True}


def told(*fields: str) -> list[Spec]:
    """Return a tooltip: a name, and behind a colon the format of a number, or ``time``.

    >>> told("ts_start:time", "severity:.0f", "reason")[1:]
    [{'field': 'severity', 'type': 'quantitative', 'format': '.0f'}, {'field': 'reason', 'type': 'nominal'}]
    """
    found: list[Spec] = []
    for field in fields:
        name, _, form = field.partition(":")
        if form == "time":
            found.append(
                {"field": name, "type": "temporal", "format": "%d %b %H:%M:%S", "title": "from (UTC)"}
            )
        elif form:
            found.append({"field": name, "type": "quantitative", "format": form})
        else:
            found.append({"field": name, "type": "nominal"})
    return found


def severity(colours: Colours) -> Spec:
    """Return the channel that colours by severity."""
    return {"field": "severity", "type": "quantitative", "scale": colours.scale, "legend": None}


def swim_lane(lanes: list[Document], start: int, end: int, step: int, colours: Colours) -> Spec:
    """Return keys (the worst on top) by time; a step's colour is the severity of its worst anomaly.

    A click chooses `CELL`: its ``key`` and ``ts_start``.
    """
    table = utc(lanes, "ts_start")
    table["ts_end"] = table["ts_start"] + pd.Timedelta(step, unit="ns")
    return {
        "datasets": {"lanes": table},
        "data": {"name": "lanes"},
        "params": [
            {
                "name": CELL,
                "select": {
                    "type": "point",
                    "fields": ["key", "ts_start"],
                    "on": "click",
                    "clear": "dblclick",
                },
            }
        ],
        "height": {"step": 17},
        "mark": {"type": "rect", "cursor": "pointer", "stroke": colours.outline, "strokeWidth": 0.5},
        "encoding": {
            "x": time_axis("ts_start", start // step * step, (end // step + 1) * step),
            "x2": {"field": "ts_end"},
            "y": {
                "field": "key",
                "type": "nominal",
                "title": None,
                "sort": list(dict.fromkeys(table["key"])),
                "axis": {
                    "labelOverlap": False,
                    "labelFlush": False,
                    "labelBound": False,
                    "domain": False,
                    "ticks": False,
                    "grid": False,
                },
            },
            "color": severity(colours),
            "opacity": {"condition": {"param": CELL, "value": 1.0}, "value": 0.55},
            "tooltip": told("ts_start:time", "key", "severity:.0f", "detector", "anomalies:,", "reason"),
        },
    }


def counts(rows: list[Document], start: int, end: int, step: int, colours: Colours) -> Spec:
    """Return how many anomalies there are in each step; the colour is the worst severity."""
    table = utc(rows, "ts_start")
    table = table.groupby("ts_start", as_index=False).agg(
        anomalies=("anomalies", "sum"), severity=("max_severity", "max")
    )
    table["ts_end"] = table["ts_start"] + pd.Timedelta(step, unit="ns")
    return {
        "datasets": {"counts": table},
        "data": {"name": "counts"},
        "height": 110,
        "mark": {"type": "rect", "stroke": colours.outline, "strokeWidth": 0.5},
        "encoding": {
            "x": time_axis("ts_start", start // step * step, (end // step + 1) * step),
            "x2": {"field": "ts_end"},
            "y": number("anomalies", axis={"tickCount": 3, "tickMinStep": 1}),
            "y2": {"datum": 0},
            "color": severity(colours),
            "tooltip": told("ts_start:time", "anomalies:,", "severity:.0f"),
        },
    }


def shares(contributions: dict[str, float | None], colours: Colours, most: int = 12) -> Spec:
    """Return the largest shares of features in a score, the largest on top; what lowers it is grey."""
    known = {name: share for name, share in contributions.items() if share is not None}
    largest = sorted(known.items(), key=lambda item: (-abs(item[1]), item[0]))[:most]
    table = pd.DataFrame([{"feature": name.replace("_", " "), "share": share} for name, share in largest])
    raises = {"test": "datum.share >= 0", "value": colours.line}
    return {
        "datasets": {"shares": table},
        "data": {"name": "shares"},
        "height": {"step": 22},
        "mark": {"type": "bar", "cornerRadius": 2},
        "encoding": {
            "x": number("share", "share of the score", axis={"format": ".0%", "tickCount": 5}),
            "y": {
                "field": "feature",
                "type": "nominal",
                "title": None,
                "sort": None,
                "axis": {"labelLimit": 190, "ticks": False},
            },
            "color": {"condition": raises, "value": colours.volume},
            "tooltip": told("feature", "share:.1%"),
        },
    }
