"""The page of amounts: what payments with anomalies come to by place, category and method."""

from __future__ import annotations

from typing import Any

import streamlit as st

from connectors.store import Store
from connectors.store_questions import Wanted
from dashboard import routes
from dashboard.charts import Document
from dashboard.colours import badge, colours
from dashboard.payment_charts import CHOSEN, amounts, sums
from dashboard.payments import GROUPS, UNKNOWN
from dashboard.reading import look, range_of
from dashboard.tables import payment_table
from dashboard.users import PAYMENT, USER, no_payments
from dashboard.words import RANGES, money, number, plain
from tapewatch.settings import Settings

_MOST_GROUPS, _MOST_POINTS, _MOST_LISTED = 20, 300, 12
_DETECTORS = ("ensemble", "rules", "isolation_forest", "autoencoder", "half_space_trees", "classifier")


def page() -> None:
    """Draw the page."""
    look(_show)


def _show(store: Store, settings: Settings) -> None:
    if store.span() is None:
        st.info(no_payments(store), icon=":material/hourglass_empty:")
        return
    title, chosen, wanted = _filters(store, settings)
    bounds = range_of(store, chosen)
    if bounds is not None and RANGES[chosen]:
        wanted["start"], wanted["end"] = bounds
    group = GROUPS[title]
    totals = store.amounts(group, _MOST_GROUPS, **wanted)
    if not totals:
        _nothing(store, wanted)
        return
    rows = store.transactions(order="worst", limit=_MOST_POINTS, **wanted)
    words = [UNKNOWN if row["group"] is None else row["group"] for row in totals]
    shown = [row for row in rows if (row[group] or UNKNOWN) in words]
    _figures(totals)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        st.markdown(f"**Sum by {title.lower()}** · payments with anomalies")
        st.vega_lite_chart(
            sums(totals, colours()), width="stretch", key="sums", alt=f"Sums of amounts by {title.lower()}"
        )
        if len(totals) == _MOST_GROUPS:
            st.caption(f"The {_MOST_GROUPS} largest.")
    with right:
        _points(shown, group, words, complete=len(rows) < _MOST_POINTS)
    st.markdown("**The worst of them** · a click compares one with its user's others")
    clicked = payment_table(rows[:_MOST_LISTED], "worst", users=True)
    if clicked is not None:
        _lead_to(next(row for row in rows if row["id"] == clicked))


def _filters(store: Store, settings: Settings) -> tuple[str, str, Wanted]:
    kept: dict[str, Any] = {"bind": "query-params"}
    wanted: Wanted = {}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        title = st.segmented_control("By", list(GROUPS), default="Place", key="by", required=True, **kept)
        known = known_words(store.place, store)
        for name, field in GROUPS.items():
            words = choices(known[field], field)
            wanted[field] = st.selectbox(  # type: ignore[literal-required]
                name, words, index=None, key=field, placeholder="any", width=150, accept_new_options=True,
                **kept,
            )  # fmt: skip
        names = list(dict.fromkeys([*_DETECTORS, *settings.transactions.detectors]))
        wanted["detector"] = st.selectbox(
            "Detector", names, index=None, key="detector", placeholder="any", width=180, **kept
        )
        least = st.slider(
            "Least severity", 0, 100, 0, 5, key="least", width=160, help="75: high risk; 90: critical", **kept
        )
        wanted["min_severity"] = float(least) or None
        chosen = st.selectbox("Range", list(RANGES), index=5, key="range", width=110, **kept)
    return title or "Place", chosen, wanted


@st.cache_data(ttl=30, max_entries=8, show_spinner=False)
def known_words(place: str, _store: Store) -> dict[str, list[str]]:
    """Return the words of each field that the worst payments have, by name: choices to begin with."""
    rows = _store.transactions(order="worst", limit=_MOST_POINTS)
    return {
        field: sorted({row[field] for row in rows if row[field] is not None}) for field in GROUPS.values()
    }


def choices(known: list[str], key: str) -> list[str]:
    """Return what a field may be set to: words that are known, and the one that it has already."""
    given: str | None = st.session_state.get(key)
    return known if given is None or given in known else [*known, given]


def _nothing(store: Store, wanted: Wanted) -> None:
    if store.transactions(limit=1):
        st.info(
            "No payment fits these filters. Take one away, or choose a longer range.",
            icon=":material/filter_alt_off:",
        )
    else:
        st.info(no_payments(store), icon=":material/hourglass_empty:")


def _figures(totals: list[Document]) -> None:
    many = sum(row["transactions"] for row in totals)
    amount = sum(row["amount"] for row in totals)
    with st.container(horizontal=True):
        for label, value in (
            ("Payments", f"{many:,}"),
            ("Together", number(round(amount))),
            ("Mean", money(amount / many)),
            ("Largest", money(max(row["amount_max"] for row in totals))),
        ):
            st.metric(label, value, width=132)


def _points(rows: list[Document], group: str, words: list[str], *, complete: bool) -> None:
    which = "each payment" if complete else f"the worst {_MOST_POINTS} payments"
    st.markdown(f"**Amounts** · {which}, the colour is the severity; a click tells more")
    event: Any = st.vega_lite_chart(
        amounts(rows, group, words, colours()), width="stretch", key="amounts", on_select="rerun",
        selection_mode=CHOSEN, alt="Amounts of payments by group",
    )  # fmt: skip
    picked = event.get("selection", {}).get(CHOSEN) if event else None
    row = next((row for row in rows if picked and row["id"] == picked[0].get("id")), None)
    if row is not None:
        st.markdown(f"{badge(row['severity'])} **{row['amount']:,.2f}** {plain(row['reason'])}")
        st.page_link(
            routes.users(), label=f"Against what is usual for {plain(row['user_id'])}",
            icon=":material/arrow_forward:", query_params={USER: row["user_id"], PAYMENT: row["id"]},
        )  # fmt: skip


def _lead_to(row: Document) -> None:
    st.switch_page(routes.users(), query_params={USER: row["user_id"], PAYMENT: row["id"]})
