"""Drift: how the severities of each detector are spread, and how that changes over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import streamlit as st

from connectors.severity_drift import jensen_shannon
from connectors.store import Store
from connectors.store_questions import SEVERITY_BINS
from dashboard.charts import STEPS, Document, Spec, number, time_axis, told, utc
from dashboard.colours import Colours, colours
from dashboard.reading import look, range_of
from dashboard.words import RANGES, span_of
from tapewatch.records import DAY
from tapewatch.settings import Settings

_SECONDS_BETWEEN_LOOKS = 15
_MOST_STEPS = 32
#: Severities of a block: with fewer, chance alone is far from 0.
_LEAST = 50
_WIDTH = 100 / SEVERITY_BINS


def show_drift(settings: Settings) -> None:
    """Show the page's part on drift, which looks at the store again now and then."""
    chosen = st.segmented_control(
        "Newest", list(RANGES), default="1 day", key="range", bind="query-params", required=True
    )
    _live(chosen or "1 day")


@st.fragment(run_every=_SECONDS_BETWEEN_LOOKS)
def _live(chosen: str) -> None:
    look(lambda store, settings: _show(store, settings, chosen))


def _show(store: Store, settings: Settings, chosen: str) -> None:
    bounds = range_of(store, chosen)
    if bounds is None:
        return
    start, end = bounds
    step = step_ns(start, end)
    anomalies = store.severities("anomalies", step, start, end)
    _spread(anomalies)
    st.markdown("**Drift of scores** · what is new against all before it")
    rows = store.severities("scores", step, start, end)
    if rows:
        _over_time(rows, start, end, step)
    elif settings.sinks.scores:
        st.info("No scores are stored in this range yet.", icon=":material/hourglass_empty:")
    else:
        st.info(
            "Scores are not kept; `sinks.scores = true` keeps those of runs from now on. With them this "
            "shows whether what detectors say of the usual changes.",
            icon=":material/show_chart:",
        )


def step_ns(start: int, end: int) -> int:
    """Return the finest step that cuts ``[start, end)`` ns into few enough.

    >>> step_ns(0, 40 * DAY) // DAY
    7
    """
    return next((step for step in STEPS if (end - start) // step < _MOST_STEPS), max(STEPS[-1], DAY))


def drifts(rows: list[Document]) -> list[Document]:
    """Return the Jensen-Shannon divergence of each block of severities from all before it.

    A block is as many steps as it takes to have 50 severities.

    Parameters
    ----------
    rows
        Of `connectors.store.Store.severities`.

    Returns
    -------
    list
        ``detector``, ``ts_start``, ``drift`` (0 for equal to 1 for disjoint) and ``scores``, their number.
        The first block, and the last if it is not full, are left out.

    Examples
    --------
    >>> usual = [{"detector": "a", "ts_start": t, "bin": 2, "count": 100} for t in (0, 1)]
    >>> drifts([*usual, {"detector": "a", "ts_start": 2, "bin": 9, "count": 100}])
    ... # doctest: +NORMALIZE_WHITESPACE
    [{'detector': 'a', 'ts_start': 1, 'drift': 0.0, 'scores': 100},
     {'detector': 'a', 'ts_start': 2, 'drift': 1.0, 'scores': 100}]
    """
    found = []
    for detector in sorted({row["detector"] for row in rows}):
        steps: dict[int, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        for row in rows:
            if row["detector"] == detector:
                counts = steps.setdefault(row["ts_start"], np.zeros(SEVERITY_BINS))
                counts[min(max(row["bin"], 0), SEVERITY_BINS - 1)] += row["count"]
        before, block, began = np.zeros(SEVERITY_BINS), np.zeros(SEVERITY_BINS), None
        for start, counts in sorted(steps.items()):
            began = start if began is None else began
            block += counts
            if block.sum() < _LEAST:
                continue
            if before.any():
                drift = jensen_shannon(block / block.sum(), before / before.sum())
                numbers: Document = {"drift": drift, "scores": int(block.sum())}
                found.append({"detector": detector, "ts_start": began, **numbers})
            before += block
            block, began = np.zeros(SEVERITY_BINS), None
    return found


def _spread(rows: list[Document]) -> None:
    st.markdown("**Severities of anomalies** · by detector")
    if not rows:
        st.info("No anomalies in this range.", icon=":material/check_circle:")
        return
    st.vega_lite_chart(
        spread(rows, colours()), width="stretch", key="spread", alt="Severities of anomalies by detector"
    )


def _over_time(rows: list[Document], start: int, end: int, step: int) -> None:
    found = drifts(rows)
    if found:
        st.vega_lite_chart(
            drift_lines(found, start, end), width="stretch", key="drift-lines",
            alt="Drift of each detector's severities over time",
        )  # fmt: skip
        st.caption(
            f"Jensen-Shannon divergence of the severities of {span_of(step)} (or as much as {_LEAST} scores "
            "take) from all before: 0 is the same, 1 nothing in common. With n scores chance alone makes "
            "some 3.4 / n."
        )
    else:
        st.caption(f"A comparison needs {2 * _LEAST} scores of a detector.")
    names = sorted({row["detector"] for row in rows})
    if st.session_state.get("detector") not in (None, *names):
        st.session_state["detector"] = names[0]
    detector = st.selectbox("Severities of", names, key="detector", bind="query-params", width=220)
    mine = [row for row in rows if row["detector"] == detector]
    st.vega_lite_chart(
        heat(mine, start, end, step, colours()), width="stretch", key="heat",
        alt=f"Severities of the scores of {detector} over time",
    )  # fmt: skip
    st.caption(
        f"How the severities of {detector}'s scores are spread in each step: the darker, the more of them."
    )


def drift_lines(rows: list[Document], start: int, end: int) -> Spec:
    """Return the drift of each detector over time."""
    legend = {"orient": "bottom", "title": None, "columns": 2, "symbolOpacity": 1}
    encoding = {
        "x": time_axis("ts_start", start, end),
        "y": number("drift", axis={"tickCount": 4}, scale={"zero": True, "nice": True}),
        "color": {
            "field": "detector", "type": "nominal", "legend": legend, "scale": {"scheme": "tableau10"}
        },
        "tooltip": told("ts_start:time", "detector", "drift:.3f", "scores:,"),
    }  # fmt: skip
    marks = (
        {"type": "line", "strokeWidth": 1.5},
        {"type": "point", "filled": True, "size": 24, "opacity": 1},
    )
    return {
        "datasets": {"drifts": utc(rows, "ts_start")},
        "data": {"name": "drifts"},
        "height": 380,
        "layer": [{"mark": mark, "encoding": encoding} for mark in marks],
    }


def heat(rows: list[Document], start: int, end: int, step: int, shown: Colours) -> Spec:
    """Return how one detector's severities are spread in each step."""
    table = utc(_binned(rows), "ts_start")
    table["ts_end"] = table["ts_start"] + pd.Timedelta(step, unit="ns")
    table["share"] = table["count"] / table.groupby("ts_start")["count"].transform("sum")
    return {
        **_rectangles(table, shown),
        "height": 180,
        "encoding": {
            "x": time_axis("ts_start", start // step * step, (end // step + 1) * step),
            "x2": {"field": "ts_end"},
            "y": number("from", "severity", scale={"domain": [0, 100]}, axis={"tickCount": 5}),
            "y2": {"field": "to"},
            "color": _darker(shown),
            "tooltip": told("ts_start:time", "from:.0f", "to:.0f", "count:,", "share:.1%"),
        },
    }


def spread(rows: list[Document], shown: Colours) -> Spec:
    """Return how the severities of each detector are spread, a row a detector."""
    table = pd.DataFrame(_binned(rows)).groupby(["detector", "from", "to"], as_index=False)["count"].sum()
    total = table.groupby("detector")["count"].transform("sum")
    table["share"] = table["count"] / total
    order = table.groupby("detector")["count"].sum().sort_values(ascending=False).index.tolist()
    axis = {"labelLimit": 190, "ticks": False, "domain": False, "grid": False}
    return {
        **_rectangles(table, shown),
        "height": {"step": 22},
        "encoding": {
            "x": number(
                "from", "severity", scale={"domain": [0, 100]}, axis={"tickCount": 10, "grid": False}
            ),
            "x2": {"field": "to"},
            "y": {"field": "detector", "type": "nominal", "title": None, "sort": order, "axis": axis},
            "color": _darker(shown),
            "tooltip": told("detector", "from:.0f", "to:.0f", "count:,", "share:.1%"),
        },
    }


def _binned(rows: list[Document]) -> list[Document]:
    return [{**row, "from": row["bin"] * _WIDTH, "to": (row["bin"] + 1) * _WIDTH} for row in rows]


def _rectangles(table: pd.DataFrame, shown: Colours) -> Spec:
    mark = {"type": "rect", "stroke": shown.outline, "strokeWidth": 0.5}
    return {"datasets": {"bins": table}, "data": {"name": "bins"}, "mark": mark}


def _darker(shown: Colours) -> Spec:
    scale = {"type": "sqrt", "domain": [0, 1], "range": [shown.severity[0], shown.line], "clamp": True}
    return {"field": "share", "type": "quantitative", "legend": None, "scale": scale}
