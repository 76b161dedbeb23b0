"""The page on which anomalies are looked for and into: filters, incidents page by page, one opened."""

from __future__ import annotations

import datetime as dt
from typing import Any

import streamlit as st

from connectors.store import Store
from connectors.store_questions import Wanted, cursor
from dashboard.charts import Document, counts, step_ns
from dashboard.colours import badge, colours
from dashboard.one_anomaly import open_anomaly
from dashboard.reading import look, range_of
from dashboard.words import DETECTORS, KINDS, RANGES, ns_of, plain, table_of, time_of
from tapewatch.settings import Settings

_ORDERS = ["worst", "newest", "oldest"]
_REVIEWED: dict[str, bool | None] = {"all": None, "not reviewed": False, "reviewed": True}
_ON_A_PAGE, _MOST_INSIDE, _MOST_EXPORTED = 20, 30, 10_000
_AFTER, _BEFORE = "after", "pages before"


def page() -> None:
    """Draw the page."""
    look(_show)


def _show(store: Store, settings: Settings) -> None:
    chosen, wanted = _filters(settings)
    bounds = range_of(store, chosen)
    if bounds is not None:
        given = wanted.copy()
        start, end = wanted["start"], wanted["end"]
        start, end = bounds[0] if start is None else start, bounds[1] if end is None else end
        wanted["start"], wanted["end"] = start, end
        if start < end:
            _over_time(store, wanted, start, end)
            # Without bounds the order alone leads to what is shown.
            _list(store, wanted if RANGES[chosen] else given)
        else:
            st.warning("`From` must be before `Until`; correct one of them in `Time`.")
    opened = st.query_params.get("id")
    if opened:
        open_anomaly(store, settings, opened)


def _first_page() -> None:
    st.query_params.pop(_AFTER, None)
    st.session_state.pop(_BEFORE, None)


def _filters(settings: Settings) -> tuple[str, Wanted]:
    kept: dict[str, Any] = {"bind": "query-params", "on_change": _first_page}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        words = st.text_input(
            "Search", key="q", placeholder="words of the reason or the key", type="search", width=250, **kept
        )
        key = st.text_input("Key", key="key", placeholder="any", width=110, **kept)
        detectors = list(dict.fromkeys([*DETECTORS, *settings.detectors]))
        detector = st.selectbox(
            "Detector", detectors, index=None, key="detector", placeholder="any", width=180, **kept
        )
        kind = st.selectbox("Kind", list(KINDS), index=None, key="kind", placeholder="any", width=190, **kept)
        least = st.slider(
            "Least severity", 0, 100, 0, 5, key="least", width=180,
            help="50: once a day; 75: once in 100 days", **kept,
        )  # fmt: skip
        reviewed = st.selectbox("Reviewed", list(_REVIEWED), key="reviewed", width=150, **kept)
        chosen = st.selectbox("Range", list(RANGES), index=5, key="range", width=110, **kept)
        with st.popover("Time", icon=":material/schedule:"):
            since = st.datetime_input("From (UTC)", None, key="since", step=60, **kept)
            until = st.datetime_input("Until (UTC)", None, key="until", step=60, **kept)
    return chosen, {
        "text": words or None,
        "key": (key or "").strip() or None,
        "detector": detector,
        "feature": None if kind is None else KINDS[kind],
        "min_severity": float(least) or None,
        "reviewed": _REVIEWED[reviewed],
        "start": _moment(since),
        "end": _moment(until),
    }


def _moment(given: Any) -> int | None:  # noqa: ANN401 - what Streamlit returns
    return ns_of(given) if isinstance(given, dt.datetime) else None


def _over_time(store: Store, wanted: Wanted, start: int, end: int) -> None:
    step = step_ns(start, end)
    rows = store.histogram(step, **wanted)
    if rows:
        chart = counts(rows, start, end, step, colours())
        st.vega_lite_chart(chart, width="stretch", key="counts", alt="How many anomalies over time")


def _list(store: Store, wanted: Wanted) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        order = st.segmented_control(
            "Order", _ORDERS, default="worst", key="order", bind="query-params", on_change=_first_page,
            label_visibility="collapsed", required=True,
        )  # fmt: skip
        st.download_button(
            "CSV", lambda: _export(wanted, order or "worst"), "anomalies.csv", "text/csv",
            icon=":material/download:", on_click="ignore",
            help=f"The anomalies that the filters leave, at most {_MOST_EXPORTED:,}, in this order",
        )  # fmt: skip
    after = st.query_params.get(_AFTER)
    rows = store.incidents(limit=_ON_A_PAGE + 1, after=after, order=order or "worst", **wanted)
    if not rows:
        st.info(
            "Nothing fits these filters. Take one away, or choose a longer range.",
            icon=":material/filter_alt_off:",
        )
    for row in rows[:_ON_A_PAGE]:
        _incident(store, row)
    _turn(rows, after)


def _export(wanted: Wanted, order: str) -> str:
    rows: list[Document] = []
    look(lambda store, _: rows.extend(store.anomalies(limit=_MOST_EXPORTED, order=order, **wanted)))
    return table_of(rows)


def _turn(rows: list[Document], after: str | None) -> None:
    before: list[str] = st.session_state.setdefault(_BEFORE, [])
    with st.container(horizontal=True, horizontal_alignment="right"):
        if after and st.button("First page", icon=":material/first_page:"):
            _first_page()
            st.rerun()
        if after and before and st.button("Back", icon=":material/chevron_left:"):
            previous = before.pop()
            if previous:
                st.query_params[_AFTER] = previous
            else:
                st.query_params.pop(_AFTER, None)
            st.rerun()
        if len(rows) > _ON_A_PAGE and st.button(
            "Next", icon=":material/chevron_right:", icon_position="right"
        ):
            before.append(after or "")
            st.query_params[_AFTER] = cursor(rows[_ON_A_PAGE - 1])
            st.rerun()


def title(row: Document) -> str:
    """Return an incident or anomaly as a line of Markdown."""
    more = row.get("anomalies", 1)
    count = f" :blue-badge[{more} anomalies]" if more > 1 else ""
    head = f"{badge(row['severity'])} **{plain(row['key'])}** {time_of(row['ts_event'])[5:]}{count}"
    return f"{head} {plain(row['reason'])}"


def _incident(store: Store, row: Document) -> None:
    name = row["incident"] or row["id"]
    inside = st.expander(title(row), key=f"incident-{name}", on_change="rerun")
    if not inside.open:
        return
    with inside:
        members = (
            store.anomalies(incidents=[row["incident"]], order="worst", limit=_MOST_INSIDE)
            if row["incident"]
            else [row]
        )
        for member in members:
            with st.container(horizontal=True, vertical_alignment="center"):
                if st.button("Open", key=f"open-{member['id']}", icon=":material/open_in_full:"):
                    st.query_params["id"] = member["id"]
                    st.rerun()
                st.markdown(f"{badge(member['severity'])} {member['detector']}: {plain(member['reason'])}")
        if len(members) == _MOST_INSIDE:
            st.caption(f"The worst {_MOST_INSIDE} of this incident.")
