"""What people say of an anomaly: what was said, and the buttons to say it."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from connectors.reviews import write_review
from connectors.sqlite_reviews import Review
from connectors.store import Store
from dashboard.charts import Document
from dashboard.words import plain, time_of
from tapewatch.errors import UserError
from tapewatch.settings import Settings

#: What is called a review's label.
CONFIRMED, FALSE_ALARM = 1, 0
_REVIEWER, _KEPT = "reviewer", "reviewer kept"
_MOST_SHOWN = 10
LABELS = {CONFIRMED: ":green-badge[confirmed]", FALSE_ALARM: ":orange-badge[false alarm]"}


def reviewer_field(place: str) -> str | None:
    """Let a reviewer give a name, which holds for the visit, and return it."""
    given = st.text_input(
        "Reviewer", st.session_state.get(_KEPT, ""), max_chars=200, key=f"{_REVIEWER}-{place}", width=180,
        placeholder="your name",
    )  # fmt: skip
    st.session_state[_KEPT] = given
    return given.strip() or None


def review_form(store: Store, settings: Settings, anomaly: Document) -> None:
    """Show an anomaly's reviews, and the buttons that add one."""
    said = store.reviews(anomaly_id=anomaly["id"], limit=_MOST_SHOWN)
    name = anomaly["id"]
    # A form, so that what is typed runs nothing before a button does.
    with st.form(f"review-{name}"):
        for review in said:
            st.markdown(review_line(review))
        with st.container(horizontal=True, vertical_alignment="bottom"):
            who = reviewer_field(name)
            note = st.text_input(
                "Note", key=f"note-{name}", max_chars=2000, width=320, placeholder="optional"
            )
            confirm = st.form_submit_button(
                "Confirm", icon=":material/check:", key=f"confirm-{name}", type="primary"
            )
            refuse = st.form_submit_button("False alarm", icon=":material/close:", key=f"refuse-{name}")
            add = st.form_submit_button(
                "Add note", icon=":material/edit_note:", key=f"add-{name}", disabled=not said,
                help="Says the same as the newest review, with this note",
            )  # fmt: skip
        label = (
            CONFIRMED if confirm else FALSE_ALARM if refuse else said[0]["label"] if said and add else None
        )
        if label is not None and keep(settings, [name], label, who, note):
            # The dialog alone: what is below it stays as it was.
            st.rerun(scope="fragment")


def keep(settings: Settings, names: Sequence[str], label: int, who: str | None, note: str | None) -> bool:
    """Write a review of each of these anomalies; return whether all could be."""
    now = time.time_ns()
    try:
        for name in names:
            if not write_review(settings, Review(name, label, who, (note or "").strip() or None, now)):
                st.error("That anomaly is no longer stored.")
                return False
    except UserError as error:
        st.error(str(error))
        return False
    st.toast("Confirmed" if label == CONFIRMED else "Noted as a false alarm", icon=":material/check:")
    return True


def review_line(review: Document) -> str:
    """Return a review as a line of Markdown."""
    who = plain(review["reviewer"] or "somebody")
    note = f": {plain(review['notes'])}" if review["notes"] else ""
    return f"{LABELS[review['label']]} {who}, {time_of(review['reviewed_at'])} UTC{note}"
