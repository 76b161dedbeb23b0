"""The pictures of the page, from documents of the results store."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from tapewatch.records import DAY, HOUR, MINUTE, SECOND

Document = dict[str, Any]

#: Steps of the swim lane; the finest is taken that cuts the range into no more than `MOST_STEPS`.
STEPS = (SECOND, 10 * SECOND, MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY, 7 * DAY, 28 * DAY)
MOST_STEPS = 120

# Severity 50 is once a day, 75 once in a hundred days: the colours change where the meaning does.
_COLOURS = alt.Scale(
    domain=[0, 50, 75, 90, 100],
    range=["#c6d4e1", "#f4d35e", "#ee964b", "#d1495b", "#7b1e3a"],
    interpolate="rgb",
)
_PRICE, _VOLUME = "#2f6690", "#9bb8cd"


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


def _time(name: str, start: int, end: int, **scale: Any) -> alt.X:  # noqa: ANN401 - what alt.Scale takes
    labels = "%H:%M:%S" if end - start < 10 * MINUTE else "%H:%M" if end - start <= DAY else "%d %b %H:%M"
    axis = alt.Axis(format=labels, labelOverlap="greedy")
    return alt.X(f"{name}:T", scale=alt.Scale(type="utc", nice=False, **scale), title=None, axis=axis)


def swim_lane(lanes: list[Document], start: int, end: int, step: int) -> alt.Chart:
    """Return keys (the worst on top) by time; a step's colour is the severity of its worst anomaly."""
    table = utc(lanes, "ts_start")
    table["ts_end"] = table["ts_start"] + pd.Timedelta(step, unit="ns")
    keys = list(dict.fromkeys(table["key"]))
    # The whole range, whatever of it has anomalies; in ms, as the browser counts.
    whole = [start // step * step // 1_000_000, (end // step + 1) * step // 1_000_000]
    chart: alt.Chart = (
        alt.Chart(table)
        .mark_rect()
        .encode(
            x=_time("ts_start", start, end, domain=whole),
            x2="ts_end:T",
            y=alt.Y("key:N", sort=keys, title=None, axis=alt.Axis(labelOverlap=False)),
            color=alt.Color("severity:Q", scale=_COLOURS, legend=alt.Legend(values=[0, 25, 50, 75, 100])),
            tooltip=[
                alt.Tooltip("ts_start:T", title="from (UTC)", format="%d %b %H:%M:%S"),
                "key:N",
                "detector:N",
                alt.Tooltip("severity:Q", format=".0f"),
                "anomalies:Q",
                "reason:N",
            ],
        )
        .properties(height=alt.Step(16))
    )
    return chart


def price_and_volume(
    bars: list[Document], anomalies: list[Document]
) -> tuple[alt.LayerChart, alt.LayerChart]:
    """Return the closes and the volumes of one key's ``bars``, its ``anomalies`` marked where they begin."""
    start, end = bars[0]["ts_start"], bars[-1]["ts_end"]
    table = utc(bars, "ts_start", "ts_end")
    # A line through a night or a halt would tell of prices that nobody paid.
    table["session"] = (table["ts_start"].diff() > 30 * (table["ts_end"] - table["ts_start"])).cumsum()
    base = alt.Chart(table).encode(x=_time("ts_start", start, end))
    price = base.mark_line(color=_PRICE, strokeWidth=1.3).encode(
        y=alt.Y("close:Q", title="close", scale=alt.Scale(zero=False)), detail="session:N"
    )
    volume = base.mark_rect(color=_VOLUME).encode(
        y=alt.Y("volume:Q", title="volume"), y2=alt.datum(0), x2="ts_end:T"
    )
    marked = pd.DataFrame(columns=["ts_start", "detector", "severity", "reason"])
    if anomalies:
        marked = utc(anomalies, "ts_start")[list(marked.columns)]
    marks = (
        alt.Chart(marked)
        .mark_rule(strokeWidth=2, opacity=0.7)
        .encode(
            x=_time("ts_start", start, end),
            color=alt.Color("severity:Q", scale=_COLOURS, legend=None),
            tooltip=["detector:N", alt.Tooltip("severity:Q", format=".0f"), "reason:N"],
        )
    )
    return (price + marks).properties(height=220), (volume + marks).properties(height=130)
