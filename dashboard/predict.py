"""The page that scores one payment as it is described: how risky, why, and what is usual beside it."""

from __future__ import annotations

import datetime as dt
import time
from typing import Any

import streamlit as st

from connectors.store import Store
from dashboard import routes
from dashboard.amounts import choices, known_words
from dashboard.charts import Document, shares
from dashboard.colours import badge, colours
from dashboard.payments import Payment
from dashboard.predictions import BASES, score
from dashboard.reading import look
from dashboard.risk_charts import by_detector, gauge
from dashboard.users import PAYMENT, USER, profile_of, show_against_usual
from dashboard.words import moment_of, ns_of, plain
from tapewatch.errors import UserError
from tapewatch.records import DAY, MINUTE
from tapewatch.settings import Settings

_FILLED, _ANSWER = "filled from", "prediction"
#: Fields of the form that are words, what they are called, and whether the store knows some.
_WORDS = {
    "location": "Place", "merchant_category": "Category", "payment_method": "Method",
}  # fmt: skip
_OTHERS = {"merchant_id": "Merchant id", "device": "Device"}
_NUMBERS = {
    "location_distance_km": ("Distance from home (km)", "%.1f"),
    "time_since_last_transaction_minutes": ("Minutes since the last", "%.1f"),
    "transaction_count_1h": ("Payments in the last hour", "%.0f"),
    "total_amount_24h": ("Amount in the last day", "%.2f"),
}
_ONLINE = {"unknown": None, "yes": 1, "no": 0}


def page() -> None:
    """Draw the page."""
    look(_show)


def _show(store: Store, settings: Settings) -> None:
    _fill(store)
    left, right = st.columns([2, 3], gap="medium")
    with left:
        asked = _form(store)
    if asked is not None:
        st.session_state[_ANSWER] = _asked(settings, asked)
    with right:
        answer = st.session_state.get(_ANSWER)
        if answer is None:
            st.info(
                "Describe a payment, and `Score` shows how risky it would be if it came next. Nothing is "
                "stored; what is left empty is unknown.",
                icon=":material/speed:",
            )
        else:
            _told(store, settings, *answer)


def _fill(store: Store) -> None:
    """Put into the form what the address names: an anomaly's payment, or a user."""
    if "asked user_id" not in st.session_state:
        # Whoever comes back finds the form empty, so the answer goes, too.
        st.session_state.pop(_FILLED, None)
        st.session_state.pop(_ANSWER, None)
    named = st.query_params.get(PAYMENT, ""), st.query_params.get(USER, "")
    if st.session_state.get(_FILLED) == named:
        return
    st.session_state[_FILLED] = named
    payment, user = named
    if payment:
        found = store.anomalies(ids=[payment], limit=1)
        if not found or "amount" not in found[0]:
            st.toast("That payment is not stored, or no longer.", icon=":material/error:")
            return
        st.session_state["asked user_id"] = found[0]["user_id"]
        st.session_state["asked amount"] = found[0]["amount"]
        st.session_state["asked timestamp"] = _next(store, found[0]["ts_event"] % DAY)
        for field in _WORDS:
            st.session_state[f"asked {field}"] = found[0][field]
    elif user:
        st.session_state["asked user_id"] = user


def _next(store: Store, time_of_day: int | None = None) -> dt.datetime:
    """Return when a payment that came next would be, at a time of day (ns) if one is given.

    Earlier it would be judged by what came later, much later nothing would be known of anyone.
    """
    span = store.span()
    known = [*([] if span is None else [span[1]]), *(row["ts_last"] for row in store.judges()[:1])]
    soonest = max(known, default=time.time_ns()) + MINUTE
    if time_of_day is None:
        return moment_of(soonest)
    day = soonest // DAY * DAY + time_of_day
    return moment_of(day if day >= soonest else day + DAY)


def _form(store: Store) -> Document | None:
    asked: Document = {"transaction_id": "this payment"}
    if "asked timestamp" not in st.session_state:
        st.session_state["asked timestamp"] = _next(store)
    with st.form("payment"):
        asked["user_id"] = st.text_input("User", key="asked user_id", max_chars=256, placeholder="user id")
        with st.container(horizontal=True):
            asked["amount"] = st.number_input(
                "Amount",
                0.0,
                1e12,
                value=None,
                format="%.2f",
                key="asked amount",
                width=150,
                placeholder="0.00",
            )
            asked["timestamp"] = st.datetime_input("Time (UTC)", key="asked timestamp", step=60, width=215)
        with st.container(horizontal=True):
            known = known_words(store.place, store)
            for field, label in _WORDS.items():
                words = choices(known[field], f"asked {field}")
                asked[field] = st.selectbox(
                    label, words, index=None, key=f"asked {field}", placeholder="unknown", width=137,
                    accept_new_options=True,
                )  # fmt: skip
        with st.expander("More that may be known"), st.container(horizontal=True):
            for field, label in _OTHERS.items():
                asked[field] = st.text_input(label, key=f"asked {field}", max_chars=256, width=190)
            online = st.selectbox("Online", list(_ONLINE), key="asked is_online", width=120)
            asked["is_online"] = _ONLINE[online]
            for field, (label, form) in _NUMBERS.items():
                asked[field] = st.number_input(
                    label, 0.0, 1e12, value=None, format=form, key=f"asked {field}", width=190,
                    placeholder="unknown",
                )  # fmt: skip
        pressed = st.form_submit_button("Score", type="primary", icon=":material/speed:")
    return asked if pressed else None


def _asked(settings: Settings, asked: Document) -> tuple[Document, Any]:
    """Return the payment with its prediction, or with a sentence on what is wrong with it."""
    row = {name: value for name, value in asked.items() if value not in (None, "")}
    missing = next((name for name in ("user_id", "amount", "timestamp") if name not in row), None)
    if missing is not None:
        label = {"user_id": "User", "amount": "Amount", "timestamp": "Time (UTC)"}[missing]
        return row, f"`{label}` must be given."
    row["timestamp"] = ns_of(row["timestamp"])
    try:
        with st.spinner("Scoring", show_time=False):
            return row, score(settings, [row])[0]
    except UserError as error:
        return row, str(error)


def _told(store: Store, settings: Settings, payment: Document, answer: Any) -> None:  # noqa: ANN401 - a prediction or a sentence
    if isinstance(answer, str):
        st.error(answer, icon=":material/error:")
        return
    severity = 100.0 * answer["anomaly_score"]
    with st.container(horizontal=True, vertical_alignment="center"):
        st.vega_lite_chart(
            gauge(severity, answer["risk_level"], colours()), width="content", key="gauge",
            alt=f"Severity {severity:.0f}, {answer['risk_level']} risk",
        )  # fmt: skip
        with st.container(width=330):
            alarm = ":red-badge[:material/notifications_active: an alarm]"
            calm = ":green-badge[:material/check_circle: no alarm]"
            st.markdown(f"{badge(severity)} {alarm if answer['is_anomaly'] else calm}")
            st.markdown(f"##### {plain(answer['reason'])}")
            st.caption(BASES[answer["basis"]])
    left, right = st.columns(2)
    with left:
        st.markdown("**Why**")
        if answer["contributions"]:
            st.vega_lite_chart(
                shares(answer["contributions"], colours()), width="stretch", key="why",
                alt="Share of each feature in the score",
            )  # fmt: skip
    with right:
        st.markdown("**By detector** · dashed: medium, high, critical")
        severities = {name: 100.0 * value for name, value in answer["detectors"].items()}
        st.vega_lite_chart(
            by_detector(severities, colours()), width="stretch", key="detectors", alt="Severity by detector"
        )
    _usual(store, settings, payment, severity)


def _usual(store: Store, settings: Settings, payment: Document, severity: float) -> None:
    profile = profile_of(store, settings, payment["user_id"])
    if profile is None or profile["amount_mean"] is None:
        return
    user = profile["user_id"]
    words = {field: payment.get(field) for field in _WORDS}
    this = Payment.of({"id": "", "severity": severity, "ts_event": payment["timestamp"], **payment, **words})
    st.markdown("**Against what is usual for this user**")
    show_against_usual(this, profile)
    st.page_link(
        routes.users(), label=f"Profile of {plain(user)}", icon=":material/person_search:",
        query_params={USER: user},
    )  # fmt: skip
