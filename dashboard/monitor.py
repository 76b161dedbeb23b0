"""The page on which everything is watched: it looks again all the time, part by part."""

from __future__ import annotations

from typing import Any

import streamlit as st

from connectors.store import Store
from dashboard import routes
from dashboard.charts import CELL, Document, step_ns, swim_lane
from dashboard.colours import colours
from dashboard.health import figures
from dashboard.reading import bounds_of, look, range_of
from dashboard.tables import incident_table
from dashboard.tape import ask_tape, show_tape, tape_questions
from dashboard.words import RANGES, moment_of, plain
from tapewatch.settings import Settings

#: Keys of the URL; see `streamlit` on ``bind``.
KEY, DETECTOR = "key", "score"
_SECONDS_BETWEEN_LOOKS = 0.8
_MOST_KEYS, _MOST_NEW = 18, 12


def page() -> None:
    """Draw the page."""
    # What is about to be drawn anew is not faded: here that is everything, all the time.
    # On a phone all ranges are to be seen.
    st.html(
        "<style>[data-stale=true] { opacity: 1 !important; transition: none !important; }"
        "@media (max-width: 640px) { [data-testid=stButtonGroup] button "
        "{ padding-inline: 0.4rem; min-width: 0 } }</style>"
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        chosen = st.segmented_control(
            "Newest", list(RANGES), default="1 day", key="range", bind="query-params", required=True
        )
        least = st.slider(
            "Least severity", 0, 100, 0, 5, key="least", bind="query-params", width=260,
            help="50: once a day; 75: once in 100 days",
        )  # fmt: skip
    _live(chosen or "1 day", float(least))


@st.fragment(run_every=_SECONDS_BETWEEN_LOOKS)
def _live(chosen: str, least: float) -> None:
    look(lambda store, settings: _show(store, settings, chosen, least))


def _show(store: Store, settings: Settings, chosen: str, least: float) -> None:
    store.prepare(store.totals, store.span, store.bar_keys)
    span = store.span()
    if span is None:
        figures(store)
        range_of(store, chosen)
        return
    start, end = bounds_of(span, chosen)

    def worst() -> list[Document]:
        return store.lanes(start, end, step_ns(start, end), min_severity=least, limit=_MOST_KEYS)

    def newest() -> list[Document]:
        return store.incidents(
            start=start, end=end, min_severity=least or None, order="newest", limit=_MOST_NEW
        )

    store.prepare(worst, newest, *tape_questions(store, start, end))
    lanes = worst()
    keys = list(dict.fromkeys(row["key"] for row in lanes))
    # All is known before anything is drawn: the browser lays out the page anew for whatever comes later.
    ask_tape(store, keys, start, end, least)
    figures(store)
    _lanes(lanes, start, end, least)
    left, right = st.columns([3, 2])
    with left:
        show_tape(store, settings, keys, start, end, least)
    with right:
        st.markdown("**Newest anomalies**")
        if rows := newest():
            opened = incident_table(rows, "newest")
            if opened is not None:
                st.switch_page(routes.anomalies(), query_params={"id": opened})
        else:
            st.caption("None in this range.")


def _lanes(lanes: list[Document], start: int, end: int, least: float) -> None:
    st.markdown("**Severity by key** · the worst on top, UTC; a click shows a key's tape below")
    if not lanes:
        st.info(
            "No anomalies in this range." + (" Lower the least severity, or" if least else " Perhaps")
            + " look at a longer one.",
            icon=":material/check_circle:",
        )  # fmt: skip
        return
    step = step_ns(start, end)
    chart = swim_lane(lanes, start, end, step, colours())
    event: Any = st.vega_lite_chart(
        chart, width="stretch", key="lanes", on_select=_choose, selection_mode=CELL,
        alt="Keys by time, coloured by the severity of the worst anomaly",
    )  # fmt: skip
    cell = _cell(event)
    if cell is None:
        return
    at = cell["ts_start"] * 1_000_000
    st.page_link(
        routes.anomalies(),
        label=f"Anomalies of {plain(str(cell['key']))} in {moment_of(at):%d %b %H:%M} UTC",
        icon=":material/arrow_forward:",
        query_params={
            "key": str(cell["key"]),
            "since": moment_of(at).isoformat(timespec="minutes"),
            "until": moment_of(at + max(step, 60_000_000_000)).isoformat(timespec="minutes"),
        },
    )


def _choose() -> None:
    cell = _cell(st.session_state["lanes"])
    if cell is not None:
        st.session_state[KEY] = str(cell["key"])


def _cell(event: Any) -> dict[str, Any] | None:  # noqa: ANN401 - Streamlit's own
    chosen = event.get("selection", {}).get(CELL) if event else None
    return dict(chosen[0]) if chosen else None
