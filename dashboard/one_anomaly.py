"""One anomaly: what was seen and expected, why, the bars around it, earlier ones like it, and its reviews."""

from __future__ import annotations

import streamlit as st

from connectors.store import Store
from dashboard import routes
from dashboard.charts import Document, shares
from dashboard.colours import badge, colours
from dashboard.payments import GROUPS, UNKNOWN
from dashboard.reviewing import review_form
from dashboard.tables import incident_table
from dashboard.tape import show_scores
from dashboard.tape_charts import candles, volumes
from dashboard.words import is_payment, number, plain, span_of, time_of, told
from tapewatch.records import MINUTE
from tapewatch.settings import WIDTHS, Settings

#: Bars to each side, and how many are shown at most.
_BARS_BESIDE, _MOST_BARS, _MOST_MARKS, _MOST_ALIKE = 40, 160, 100, 6


def open_anomaly(store: Store, settings: Settings, name: str) -> None:
    """Show the anomaly of this id over the page, or say that it is gone."""
    found = store.anomalies(ids=[name], limit=1)
    if not found:
        _close()
        st.toast("That anomaly is not stored, or no longer.", icon=":material/error:")
        return
    anomaly = found[0]
    when = time_of(anomaly["ts_event"])
    dialog = st.dialog(f"{anomaly['key']} · {when} UTC", width="large", on_dismiss=_close)
    dialog(lambda: _show(store, settings, anomaly))()


def _close() -> None:
    st.query_params.pop("id", None)


def _show(store: Store, settings: Settings, anomaly: Document) -> None:
    # A part of the page runs alone, when the store that was opened for the whole is closed.
    from dashboard.reading import look

    look(lambda again, _: _draw(again, settings, anomaly))


def _draw(store: Store, settings: Settings, anomaly: Document) -> None:
    st.markdown(f"{badge(anomaly['severity'])} {anomaly['detector']}")
    st.markdown(f"##### {plain(anomaly['reason'])}")
    _numbers(anomaly)
    review_form(store, settings, anomaly)
    if anomaly["contributions"]:
        st.markdown("**Why**")
        st.vega_lite_chart(
            shares(anomaly["contributions"], colours()), width="stretch", key=f"why-{anomaly['id']}",
            alt="Share of each feature in the score",
        )  # fmt: skip
    if is_payment(anomaly):
        _payment(anomaly)
    else:
        _around(store, settings, anomaly)
    _others(store, anomaly)
    with st.expander("The record as it is stored", icon=":material/data_object:"):
        st.json(told(anomaly))


def _numbers(anomaly: Document) -> None:
    lasted = anomaly["ts_end"] - anomaly["ts_start"]
    with st.container(horizontal=True):
        for label, value in (
            ("Seen", number(anomaly["observed"])),
            ("Expected", number(anomaly["expected"])),
            ("Score", number(_rounded(anomaly["score"]))),
            ("Threshold", number(_rounded(anomaly["threshold"]))),
            ("Lasted", "one record" if lasted <= 1 else span_of(lasted)),
        ):
            st.metric(label, value, width=128)


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _payment(anomaly: Document) -> None:
    st.markdown("**The payment**")
    with st.container(horizontal=True):
        st.metric("Amount", f"{anomaly['amount']:,.2f}", width=128)
        for label, field in GROUPS.items():
            st.metric(label, plain(anomaly[field]) if anomaly[field] else UNKNOWN, width=150)
        st.metric("Risk", anomaly["risk_level"], width=128)
    user = anomaly["user_id"]
    st.page_link(
        routes.users(), label=f"Against what is usual for {plain(user)}", icon=":material/person_search:",
        query_params={"user": user, "payment": anomaly["id"]},
    )  # fmt: skip


def _around(store: Store, settings: Settings, anomaly: Document) -> None:
    key, first, last = anomaly["key"], anomaly["ts_start"], anomaly["ts_end"]
    widths = store.bar_counts(key, first - 60 * MINUTE, last + 60 * MINUTE)
    finest = min((WIDTHS[width] for width in widths), default=MINUTE)
    beside = _BARS_BESIDE * finest
    bars = store.chart(key, first - beside, last + beside, points=_MOST_BARS)
    if not bars:
        st.caption("No bars are stored around it.")
        return
    start, end = bars[0]["ts_start"], bars[-1]["ts_end"]
    near = store.anomalies(key=key, start=start, end=end + 1, limit=_MOST_MARKS, order="worst")
    st.markdown(f"**Around it** · bars of {bars[0]['width']}, UTC")
    shown = colours()
    st.vega_lite_chart(
        candles(bars, near, start, end, shown, anomaly["id"]), width="stretch", key=f"bars-{anomaly['id']}",
        alt=f"Prices of {key} around the anomaly",
    )  # fmt: skip
    st.vega_lite_chart(
        volumes(bars, start, end, shown), width="stretch", key=f"volume-{anomaly['id']}", alt="Volumes"
    )
    show_scores(store, settings, key, anomaly["detector"], start, end, f"scores-{anomaly['id']}")


def _others(store: Store, anomaly: Document) -> None:
    same = []
    if anomaly["incident"]:
        same = store.anomalies(incidents=[anomaly["incident"]], order="worst", limit=_MOST_ALIKE + 1)
    lists = {
        "In the same incident": [row for row in same if row["id"] != anomaly["id"]][:_MOST_ALIKE],
        f"Earlier ones of {anomaly['detector']} here": store.anomalies(
            key=anomaly["key"], detector=anomaly["detector"], end=anomaly["ts_event"], limit=_MOST_ALIKE
        ),
    }
    for place, (text, rows) in enumerate(lists.items()):
        if rows:
            st.markdown(f"**{plain(text)}**")
            opened = incident_table(rows, f"others-{place}-{anomaly['id']}")
            if opened is not None:
                st.query_params["id"] = opened
                st.rerun()
