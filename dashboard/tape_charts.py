"""The pictures of one key's tape: candles and volume with anomalies on them, scores with their threshold."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from dashboard.charts import Document, time_axis, utc
from dashboard.colours import Colours

_BAR_TOOLTIP = [
    alt.Tooltip("ts_start:T", title="from (UTC)", format="%d %b %H:%M:%S"),
    *(alt.Tooltip(f"{name}:Q", format=",.6~g") for name in ("open", "high", "low", "close")),
    alt.Tooltip("volume:Q", format=","),
    alt.Tooltip("width:N"),
]


def candles(
    bars: list[Document],
    anomalies: list[Document],
    start: int,
    end: int,
    colours: Colours,
    chosen: str | None = None,
) -> Any:  # noqa: ANN401 - Altair's layers
    """Return the candles of one key's ``bars``; a diamond is an anomaly, its reason in the tooltip.

    ``chosen`` is the id of an anomaly whose time is shaded.
    """
    table = _with_bodies(bars)
    rising = alt.condition("datum.close >= datum.open", alt.value(colours.up), alt.value(colours.down))
    base = alt.Chart(table).encode(x=time_axis("middle", start, end), color=rising, tooltip=_BAR_TOOLTIP)
    scale = alt.Scale(zero=False, nice=True)
    wicks = base.mark_rule(strokeWidth=1).encode(
        y=alt.Y("low:Q", title=None, scale=scale, axis=alt.Axis(tickCount=5, minExtent=44)), y2="high:Q"
    )
    bodies = base.mark_rect().encode(
        x=time_axis("left", start, end), x2="right:T", y=alt.Y("open:Q", scale=scale), y2="close:Q"
    )
    # A body without height would not be seen.
    flat = base.transform_filter("datum.open == datum.close").mark_tick(thickness=1.2, orient="horizontal")
    layers = [wicks, bodies, flat.encode(y=alt.Y("close:Q", scale=scale))]
    if anomalies:
        marked = _placed(anomalies, table)
        shaded = marked[marked["id"] == chosen]
        if len(shaded):
            layers.insert(
                0,
                alt.Chart(shaded)
                .mark_rect(opacity=0.22)
                .encode(
                    x=time_axis("shade_start", start, end),
                    x2="shade_end:T",
                    color=alt.Color("severity:Q", scale=colours.scale, legend=None),
                ),
            )
        layers.append(_diamonds(marked, start, end, scale, colours))
    chart: Any = alt.layer(*layers).properties(height=260)
    return chart


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


def _diamonds(marked: pd.DataFrame, start: int, end: int, scale: alt.Scale, colours: Colours) -> alt.Chart:
    chart: alt.Chart = (
        alt.Chart(marked)
        .mark_point(shape="diamond", filled=True, size=95, opacity=1, stroke=colours.outline, yOffset=-9)
        .encode(
            x=time_axis("ts_start", start, end),
            y=alt.Y("height:Q", scale=scale),
            color=alt.Color("severity:Q", scale=colours.scale, legend=None),
            tooltip=[
                alt.Tooltip("ts_start:T", title="from (UTC)", format="%d %b %H:%M:%S"),
                "detector:N",
                alt.Tooltip("severity:Q", format=".0f"),
                "reason:N",
            ],
        )
    )
    return chart


def volumes(bars: list[Document], start: int, end: int, colours: Colours) -> alt.Chart:
    """Return the volumes of one key's bars."""
    chart: alt.Chart = (
        alt.Chart(_with_bodies(bars))
        .mark_rect(color=colours.volume)
        .encode(
            x=time_axis("left", start, end),
            x2="right:T",
            y=alt.Y("volume:Q", title=None, axis=alt.Axis(tickCount=3, format="~s", minExtent=44)),
            y2=alt.datum(0),
            tooltip=_BAR_TOOLTIP,
        )
        .properties(height=90)
    )
    return chart


def score_line(rows: list[Document], start: int, end: int, colours: Colours) -> Any:  # noqa: ANN401 - Altair's layers
    """Return a detector's scores of one key, and the threshold above which they are anomalies."""
    table = utc(rows, "ts_start")[["ts_start", "score", "threshold", "severity"]]
    x: dict[str, Any] = {"x": time_axis("ts_start", start, end)}
    tooltip = [
        alt.Tooltip("ts_start:T", title="from (UTC)", format="%d %b %H:%M:%S"),
        alt.Tooltip("score:Q", format=",.4~g"),
        alt.Tooltip("threshold:Q", format=",.4~g"),
        alt.Tooltip("severity:Q", format=".0f"),
    ]
    base = alt.Chart(table).encode(**x, tooltip=tooltip)
    line = base.mark_line(color=colours.line, strokeWidth=1.2).encode(
        y=alt.Y("score:Q", title=None, axis=alt.Axis(tickCount=3, minExtent=44))
    )
    limit = base.mark_line(color=colours.threshold, strokeDash=[5, 3], strokeWidth=1.2).encode(
        y="threshold:Q"
    )
    above = (
        base.transform_filter("datum.score >= datum.threshold")
        .mark_point(filled=True, size=40, color=colours.threshold, opacity=1)
        .encode(y="score:Q")
    )
    chart: Any = alt.layer(line, limit, above).properties(height=120)
    return chart
