"""The pages and their addresses. Each is imported when it is shown, so that they can lead to each other."""

from __future__ import annotations

import streamlit as st


def _monitor() -> None:
    from dashboard.monitor import page

    page()


def _anomalies() -> None:
    from dashboard.anomalies import page

    page()


def _review() -> None:
    from dashboard.review_queue import page

    page()


def _models() -> None:
    from dashboard.model_page import page

    page()


def _control() -> None:
    from dashboard.control import page

    page()


def _users() -> None:
    from dashboard.users import page

    page()


def _amounts() -> None:
    from dashboard.amounts import page

    page()


def _predict() -> None:
    from dashboard.predict import page

    page()


def _batch() -> None:
    from dashboard.batch import page

    page()


def monitor() -> st.Page:
    """Return the page on which everything is watched."""
    return st.Page(_monitor, title="Monitor", icon=":material/monitoring:", url_path="monitor", default=True)


def anomalies() -> st.Page:
    """Return the page on which anomalies are looked for and into."""
    return st.Page(_anomalies, title="Anomalies", icon=":material/crisis_alert:", url_path="anomalies")


def users() -> st.Page:
    """Return the page of one payment user."""
    return st.Page(_users, title="Users", icon=":material/person_search:", url_path="users")


def predict() -> st.Page:
    """Return the page that scores one payment."""
    return st.Page(_predict, title="Predict", icon=":material/speed:", url_path="predict")


def pages(*, control: bool) -> dict[str, list[st.Page]]:
    """Return all pages by section, that of control if it is switched on."""
    found = [
        monitor(),
        anomalies(),
        st.Page(_review, title="Review", icon=":material/fact_check:", url_path="review"),
        st.Page(_models, title="Models", icon=":material/query_stats:", url_path="models"),
    ]
    if control:
        found.append(st.Page(_control, title="Control", icon=":material/tune:", url_path="control"))
    payments = [
        users(),
        st.Page(_amounts, title="Amounts", icon=":material/payments:", url_path="amounts"),
        predict(),
        st.Page(_batch, title="Batch", icon=":material/upload_file:", url_path="batch"),
    ]
    return {"": found, "Payments": payments}
