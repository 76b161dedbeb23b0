"""The page on which incidents are reviewed: the worst unreviewed first, and what the reviews say."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from connectors.store import Store
from connectors.store_questions import Wanted, of_incidents
from dashboard import routes
from dashboard.anomalies import title
from dashboard.charts import Document
from dashboard.colours import badge
from dashboard.reading import look, range_of
from dashboard.reviewing import CONFIRMED, FALSE_ALARM, keep, review_line, reviewer_field
from dashboard.words import DETECTORS, RANGES, number, plain
from tapewatch.settings import Settings

_IN_THE_QUEUE, _MOST_AT_ONCE, _MOST_REVIEWS, _MOST_SHOWN = 8, 200, 2000, 10


def page() -> None:
    """Draw the page."""
    look(_show)


def _show(store: Store, settings: Settings) -> None:
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _queue(store, settings)
    with right:
        _verdicts(store)


def _queue(store: Store, settings: Settings) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        who = reviewer_field("queue")
        detectors = list(dict.fromkeys([*DETECTORS, *settings.detectors]))
        detector = st.selectbox(
            "Detector",
            detectors,
            index=None,
            key="detector",
            placeholder="any",
            bind="query-params",
            width=190,
        )
        chosen = st.selectbox("Range", list(RANGES), index=5, key="range", bind="query-params", width=110)
    bounds = range_of(store, chosen)
    if bounds is None:
        return
    wanted: Wanted = {"reviewed": False, "detector": detector}
    if RANGES[chosen]:
        # Without bounds the order alone leads to what is shown.
        wanted["start"], wanted["end"] = bounds
    rows = store.incidents(limit=_IN_THE_QUEUE, order="worst", **wanted)
    if not rows:
        st.success("Everything in this range has been reviewed.", icon=":material/done_all:")
    for row in rows:
        _one(store, settings, row, who, wanted)


def _one(store: Store, settings: Settings, row: Document, who: str | None, wanted: Wanted) -> None:
    name, count = row["id"], row["anomalies"]
    with st.container(border=True):
        st.markdown(title(row))
        st.caption(
            f"{', '.join(row['detectors'])} · seen {number(row['observed'])}, "
            f"expected {number(row['expected'])}"
        )
        with st.container(horizontal=True, vertical_alignment="center"):
            of_all = f" all {count}" if count > 1 else ""
            confirm = st.button(f"Confirm{of_all}", icon=":material/check:", key=f"confirm-{name}")
            refuse = st.button(f"False alarm{of_all}", icon=":material/close:", key=f"refuse-{name}")
            st.page_link(
                routes.anomalies(), label="Open", icon=":material/open_in_full:", query_params={"id": name}
            )
        if not (confirm or refuse):
            return
        names = [name]
        if row["incident"]:
            members = store.anomalies(limit=_MOST_AT_ONCE, **of_incidents(wanted, [row["incident"]]))
            names = [member["id"] for member in members]
        if keep(settings, names, CONFIRMED if confirm else FALSE_ALARM, who, None):
            st.rerun()


def _verdicts(store: Store) -> None:
    st.markdown("**Precision by detector**")
    rows = store.verdicts(_MOST_REVIEWS)
    if not rows:
        st.info(
            "Nobody has reviewed anything yet. `Confirm` and `False alarm` show which detectors to trust.",
            icon=":material/fact_check:",
        )
        return
    table = pd.DataFrame(rows)
    _summary(table, "detector")
    st.markdown("**By reviewer**")
    table["reviewer"] = table["reviewer"].replace("", "(no name)")
    _summary(table, "reviewer")
    st.caption(f"Of the newest {_MOST_REVIEWS:,} reviews; of several by one person the newest counts.")
    st.markdown("**Newest reviews**")
    newest = [review for review in store.reviews(limit=_MOST_SHOWN) if review["anomaly_id"]]
    of = {row["id"]: row for row in store.anomalies(ids=[r["anomaly_id"] for r in newest], limit=_MOST_SHOWN)}
    for review in newest:
        anomaly = of.get(review["anomaly_id"])
        about = "" if anomaly is None else f"{badge(anomaly['severity'])} **{plain(anomaly['key'])}** "
        st.markdown(about + review_line(review))


def _summary(table: pd.DataFrame, by: str) -> None:
    sums = table.groupby(by, as_index=False)[["confirmed", "false_alarms"]].sum()
    sums["precision"] = sums["confirmed"] / (sums["confirmed"] + sums["false_alarms"])
    st.dataframe(
        sums.rename(columns={"false_alarms": "false alarms"}),
        hide_index=True,
        key=f"by-{by}",
        column_config={
            "precision": st.column_config.ProgressColumn(
                min_value=0, max_value=1, format="percent", width=120
            )
        },
    )
