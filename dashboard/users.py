"""The page of one user: what is usual for them beside one of their payments that is an anomaly."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from connectors.store import Store
from dashboard import routes
from dashboard.charts import Document, shares
from dashboard.colours import badge, colours
from dashboard.payment_charts import amount_range, habits, hours
from dashboard.payments import HABITS, Payment, against_usual, habits_of, hours_of
from dashboard.reading import look
from dashboard.tables import payment_table
from dashboard.words import money, plain, time_of
from tapewatch.pseudonyms import pseudonyms_of
from tapewatch.settings import Settings

_MOST_USERS, _MOST_PAYMENTS = 12, 12
#: Names in the address: the user, and the anomaly that is looked at.
USER, PAYMENT = "user", "payment"


def page() -> None:
    """Draw the page."""
    look(_show)


def _show(store: Store, settings: Settings) -> None:
    asked = st.text_input(
        "User", key=USER, bind="query-params", type="search", width=320, on_change=_other_user,
        placeholder="a user id, or how it begins", icon=":material/person_search:",
    )  # fmt: skip
    user = (asked or "").strip()
    if not user:
        _worst(store)
        return
    profile = profile_of(store, settings, user)
    user = user if profile is None else profile["user_id"]
    payments = store.transactions(key=user, order="newest", limit=_MOST_PAYMENTS)
    if profile is None and not payments:
        _matching(store, user)
        return
    if profile is None:
        st.info(
            f"No profile of {plain(user)} is stored. Profiles are kept with "
            '`transactions.mode = "personal"`, and made from history by `tapewatch init profiles`.',
            icon=":material/person_off:",
        )
    else:
        _figures(profile)
    _one(store, user, profile, payments)


def profile_of(store: Store, settings: Settings, user: str) -> Document | None:
    """Return the profile of a user by the id or, where there are pseudonyms, by either."""
    profile = store.profile(user)
    if profile is None and (names := pseudonyms_of(settings.transactions)) is not None:
        return store.profile(names.of(user))
    return profile


def _other_user() -> None:
    st.query_params.pop(PAYMENT, None)


def _worst(store: Store) -> None:
    rows = store.top_keys(_MOST_USERS, flow="transactions")
    if not rows:
        st.info(no_payments(store), icon=":material/hourglass_empty:")
        return
    st.markdown("**Users with the worst payments** · a click shows one")
    table = pd.DataFrame(rows)[["key", "max_severity", "anomalies"]]
    _choose_from(table.rename(columns={"key": "user", "max_severity": "severity"}))


def no_payments(store: Store) -> str:
    """Return what to say and do where no payment is an anomaly."""
    return (
        f"No payment in {store.place} is an anomaly yet. docs/transactions.md says how to run the flow on "
        "payments: `python -m bytewax.run flows.transactions:flow`."
    )


def _matching(store: Store, beginning: str) -> None:
    rows = store.profiles(prefix=beginning, limit=_MOST_USERS + 1)
    if not rows:
        st.info(
            f"No user begins with {plain(beginning)}. Users are known once the flow has read payments.",
            icon=":material/person_off:",
        )
        return
    more = ", the first of them" if len(rows) > _MOST_USERS else ""
    st.markdown(f"**Users that begin with {plain(beginning)}**{more} · a click shows one")
    table = pd.DataFrame(rows[:_MOST_USERS])[["user_id", "transactions", "anomalies", "amount_mean"]]
    _choose_from(table.rename(columns={"user_id": "user", "amount_mean": "mean amount"}))


def _choose_from(table: pd.DataFrame) -> None:
    users = list(table["user"])

    def chosen() -> None:
        cells = st.session_state["users"].get("selection", {}).get("cells") or []
        if cells and 0 <= cells[0][0] < len(users):
            st.session_state[USER] = users[cells[0][0]]

    st.dataframe(
        table, hide_index=True, width=620, height=38 + 35 * len(table), key="users", on_select=chosen,
        selection_mode="single-cell",
        column_config={
            "severity": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%.0f"),
            "mean amount": st.column_config.NumberColumn(format="%.2f"),
        },
    )  # fmt: skip


def _figures(profile: Document) -> None:
    with st.container(horizontal=True):
        for label, value, width in (
            ("Payments", f"{profile['transactions']:,}", 128),
            ("Not learned", f"{profile['anomalies']:,}", 128),
            ("Mean amount", money(profile["amount_mean"]), 128),
            ("Amounts", f"{money(profile['amount_min'])} to {money(profile['amount_max'])}", 215),
            ("Known from (UTC)", time_of(profile["ts_first"])[:10], 150),
            ("Last payment (UTC)", time_of(profile["ts_last"])[:16], 200),
        ):
            st.metric(label, value, width=width)


def _one(store: Store, user: str, profile: Document | None, payments: list[Document]) -> None:
    if not payments:
        st.success("No payment of this user was an anomaly.", icon=":material/check_circle:")
        return
    left, right = st.columns([3, 2], gap="medium")
    with right:
        st.markdown("**Newest anomalies** · a click compares one")
        clicked = payment_table(payments, f"payments-{user}")
        if clicked is not None:
            st.query_params[PAYMENT] = clicked
    asked = st.query_params.get(PAYMENT)
    shown = next((row for row in payments if row["id"] == asked), None)
    if asked and shown is None:
        # An address may name an older one.
        shown = next((row for row in store.anomalies(ids=[asked], key=user, limit=1)), None)
        if shown is None or "amount" not in shown:
            shown = None
            st.toast("That payment is not stored, or not one of this user.", icon=":material/error:")
    with left:
        _compared(shown or payments[0], profile)
    with right:
        _why(shown or payments[0])


def _compared(anomaly: Document, profile: Document | None) -> None:
    payment, look_of = Payment.of(anomaly), colours()
    st.markdown(
        f"{badge(anomaly['severity'])} **{time_of(anomaly['ts_event'])} UTC** {plain(anomaly['reason'])}"
    )
    if profile is None or profile["amount_mean"] is None:
        return
    show_against_usual(payment, profile)
    name = anomaly["id"]
    st.markdown(
        "**Amount** · the bar is what the last payments were, the line their mean, the diamond this one"
    )
    st.vega_lite_chart(
        amount_range(payment, profile, look_of), width="stretch", key=f"amount-{name}", alt="Usual amounts"
    )
    for (title, (counts, field)), place in zip(HABITS.items(), st.columns(len(HABITS)), strict=True):
        with place:
            st.markdown(f"**{title}**")
            rows = habits_of(profile[counts], payment.words[field])
            if rows:
                st.vega_lite_chart(
                    habits(rows, payment.severity, look_of), width="stretch", key=f"{field}-{name}",
                    alt=f"Usual: {title.lower()}",
                )  # fmt: skip
            else:
                st.caption("The payments do not tell.")
    st.markdown("**Hours** · UTC, this payment's shaded")
    st.vega_lite_chart(
        hours(hours_of(profile["hours"]), payment.hour, payment.severity, look_of), width="stretch",
        key=f"hours-{name}", alt="Usual hours",
    )  # fmt: skip


def show_against_usual(payment: Payment, profile: Document) -> None:
    """Show what a payment is, each word and number of it with how usual it is for its user."""
    with st.container(horizontal=True, gap="xsmall"):
        for label, (value, usual) in against_usual(payment, profile).items():
            st.metric(label, value, usual, delta_color="off", delta_arrow="off", width=120)


def _why(anomaly: Document) -> None:
    if anomaly["contributions"]:
        st.markdown(f"**Why** · {plain(anomaly['detector'])}")
        st.vega_lite_chart(
            shares(anomaly["contributions"], colours()), width="stretch", key=f"why-{anomaly['id']}",
            alt="Share of each feature in the score",
        )  # fmt: skip
    name = anomaly["id"]
    with st.container(horizontal=True):
        st.page_link(
            routes.anomalies(), label="Open and review", icon=":material/open_in_full:",
            query_params={"id": name},
        )  # fmt: skip
        st.page_link(
            routes.predict(), label="Score one like it", icon=":material/speed:", query_params={PAYMENT: name}
        )
