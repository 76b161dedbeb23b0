"""The pictures of anomalies: lanes and counts over time, shares of features."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from dashboard.colours import Colours
from tapewatch.records import DAY, HOUR, MINUTE, SECOND

Document = dict[str, Any]

#: Steps of the swim lane; the finest is taken that cuts the range into no more than `MOST_STEPS`.
STEPS = (SECOND, 10 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY)
MOST_STEPS = 120
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


def _moment(ts: int) -> alt.DateTime:
    time = pd.Timestamp(ts, unit="ns")
    return alt.DateTime(
        utc=True, year=time.year, month=time.month, date=time.day, hours=time.hour, minutes=time.minute,
        seconds=time.second, milliseconds=time.microsecond // 1000,
    )  # fmt: skip


def time_axis(name: str, start: int, end: int) -> alt.X:
    """Return the x axis of a range of ``[start, end)`` ns, whatever of it has something to show."""
    labels = "%H:%M:%S" if end - start < 10 * MINUTE else "%H:%M" if end - start <= DAY else "%d %b"
    axis = alt.Axis(format=labels, labelOverlap="greedy", tickCount=8, grid=False)
    whole = [_moment(start), _moment(end)]
    return alt.X(f"{name}:T", scale=alt.Scale(type="utc", nice=False, domain=whole), title=None, axis=axis)


def swim_lane(lanes: list[Document], start: int, end: int, step: int, colours: Colours) -> alt.Chart:
    """Return keys (the worst on top) by time; a step's colour is the severity of its worst anomaly.

    A click chooses `CELL`: its ``key`` and ``ts_start``.
    """
    table = utc(lanes, "ts_start")
    table["ts_end"] = table["ts_start"] + pd.Timedelta(step, unit="ns")
    keys = list(dict.fromkeys(table["key"]))
    chosen = alt.selection_point(name=CELL, fields=["key", "ts_start"], on="click", clear="dblclick")
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_rect(cursor="pointer", stroke=colours.outline, strokeWidth=0.5)
        .encode(
            x=time_axis("ts_start", start // step * step, (end // step + 1) * step),
            x2="ts_end:T",
            y=alt.Y(
                "key:N", sort=keys, title=None,
                axis=alt.Axis(labelOverlap=False, domain=False, ticks=False, grid=False),
            ),
            color=alt.Color("severity:Q", scale=colours.scale, legend=None),
            opacity=alt.condition(chosen, alt.value(1.0), alt.value(0.55)),
            tooltip=[
                alt.Tooltip("ts_start:T", title="from (UTC)", format="%d %b %H:%M:%S"),
                "key:N",
                alt.Tooltip("severity:Q", format=".0f"),
                "detector:N",
                "anomalies:Q",
                "reason:N",
            ],
        )
        .add_params(chosen)
        .properties(height=alt.Step(17))
    )  # fmt: skip
    return chart


def counts(rows: list[Document], start: int, end: int, step: int, colours: Colours) -> alt.Chart:
    """Return how many anomalies there are in each step; the colour is the worst severity."""
    table = utc(rows, "ts_start")
    table = table.groupby("ts_start", as_index=False).agg(
        anomalies=("anomalies", "sum"), severity=("max_severity", "max")
    )
    table["ts_end"] = table["ts_start"] + pd.Timedelta(step, unit="ns")
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_rect(stroke=colours.outline, strokeWidth=0.5)
        .encode(
            x=time_axis("ts_start", start // step * step, (end // step + 1) * step),
            x2="ts_end:T",
            y=alt.Y("anomalies:Q", title=None, axis=alt.Axis(tickCount=3, tickMinStep=1)),
            y2=alt.datum(0),
            color=alt.Color("severity:Q", scale=colours.scale, legend=None),
            tooltip=[
                alt.Tooltip("ts_start:T", title="from (UTC)", format="%d %b %H:%M:%S"),
                "anomalies:Q",
                alt.Tooltip("severity:Q", title="worst severity", format=".0f"),
            ],
        )
        .properties(height=110)
    )
    return chart


def shares(contributions: dict[str, float | None], colours: Colours, most: int = 12) -> alt.Chart:
    """Return the largest shares of features in a score, the largest on top; what lowers it is grey."""
    known = {name: share for name, share in contributions.items() if share is not None}
    largest = sorted(known.items(), key=lambda item: (-abs(item[1]), item[0]))[:most]
    table = pd.DataFrame(
        [
            {"feature": name.replace("_", " "), "share": share, "towards": share >= 0}
            for name, share in largest
        ]
    )
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_bar(cornerRadius=2)
        .encode(
            x=alt.X("share:Q", title="share of the score", axis=alt.Axis(format=".0%", tickCount=5)),
            y=alt.Y("feature:N", sort=None, title=None, axis=alt.Axis(labelLimit=190, ticks=False)),
            color=alt.condition("datum.towards", alt.value(colours.line), alt.value(colours.volume)),
            tooltip=["feature:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(height=alt.Step(22))
    )
    return chart
