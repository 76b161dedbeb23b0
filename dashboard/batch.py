"""The page that scores a file of payments: how severe they are, which are risky, and a table to take away."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from connectors.store import Store
from dashboard import routes
from dashboard.charts import Document
from dashboard.colours import badge, colours
from dashboard.predictions import BASES, RISKS, score
from dashboard.reading import look, tell
from dashboard.risk_charts import distribution, risk_levels
from dashboard.uploads import EXAMPLE, MOST_MB, MOST_ROWS, Upload, read
from dashboard.users import USER
from dashboard.words import csv_of, plain, time_of
from tapewatch.errors import UserError
from tapewatch.settings import Settings

_SCORED = "scored file"
_AT_ONCE, _MOST_SHOWN, _MOST_FAULTS, _MOST_SHARES = 2000, 300, 20, 6
_OF_PAYMENT = (
    "transaction_id",
    "timestamp",
    "user_id",
    "amount",
    "merchant_category",
    "location",
    "payment_method",
)
_OF_PREDICTION = ("severity", "risk_level", "is_anomaly", "basis", "reason", "contributions")
_COLUMNS = {
    "severity": st.column_config.ProgressColumn(min_value=0, max_value=100, format="%.0f", width=80),
    "risk_level": st.column_config.TextColumn("risk", width=70),
    "is_anomaly": st.column_config.CheckboxColumn("alarm", width=55),
    "transaction_id": st.column_config.TextColumn("transaction", width=100),
    "user_id": st.column_config.TextColumn("user", width=85),
    "amount": st.column_config.NumberColumn(format="%.2f", width=85),
    "timestamp": st.column_config.TextColumn("time", width=140),
    "location": st.column_config.TextColumn("place", width=60),
    "merchant_category": st.column_config.TextColumn("category", width=95),
    "payment_method": st.column_config.TextColumn("method", width=95),
    "reason": st.column_config.TextColumn(width=520),
}


def page() -> None:
    """Draw the page."""
    look(_show)


def _show(store: Store, settings: Settings) -> None:
    given = st.file_uploader(
        "A CSV file of payments", type="csv", key="file", max_upload_size=MOST_MB,
        help=f"At most {MOST_MB} MB and {MOST_ROWS:,} payments. It is scored here and not stored.",
    )  # fmt: skip
    if given is None:
        st.session_state.pop(_SCORED, None)
        _what_to_do()
        return
    if st.session_state.get(_SCORED, ("",))[0] != given.file_id:
        st.session_state.pop(_SCORED, None)
        try:
            found = read(given.getvalue(), settings.transactions.columns)
            table, past = _scored(settings, found), _past(store, found.times)
            st.session_state[_SCORED] = given.file_id, table, found.faults, past
        except UserError as error:
            tell(error)
            return
    _, table, faults, past = st.session_state[_SCORED]
    _tell_faults(faults)
    if past:
        st.warning(past, icon=":material/history:")
    if len(table):
        _told(table, given.name)
    elif not faults:
        st.info("There is no payment in the file, only its first line.", icon=":material/hourglass_empty:")


def _what_to_do() -> None:
    st.info(
        "Every payment of the file is scored as if it came next, each for itself, by what the flow knows of "
        "its user. The first line names the columns: `transaction_id`, `timestamp`, `user_id`, `amount`, and "
        "whatever else docs/transactions.md names. Other names are recognised as the flow recognises them, "
        "by `transactions.columns`.",
        icon=":material/upload_file:",
    )
    st.download_button(
        "Example", EXAMPLE, "payments.csv", "text/csv", icon=":material/download:", on_click="ignore"
    )


def _scored(settings: Settings, found: Upload) -> pd.DataFrame:
    """Return the payments with what is said of them, the worst first."""
    rows: list[Document] = []
    shown = st.progress(0.0, f"Scoring {len(found.rows):,} payments")
    for first in range(0, len(found.rows), _AT_ONCE):
        part, amounts = found.rows[first : first + _AT_ONCE], found.amounts[first : first + _AT_ONCE]
        for payment, amount, said in zip(part, amounts, score(settings, part), strict=True):
            largest = sorted(said["contributions"].items(), key=lambda item: (-abs(item[1]), item[0]))
            why = ";".join(f"{name}={share:.6g}" for name, share in largest[:_MOST_SHARES])
            rows.append(
                {
                    **payment, "amount": amount, "severity": 100.0 * said["anomaly_score"],
                    **{name: said[name] for name in ("risk_level", "is_anomaly", "basis", "reason")},
                    "contributions": why,
                }
            )  # fmt: skip
        shown.progress(min(1.0, (first + len(part)) / len(found.rows)))
    shown.empty()
    table = pd.DataFrame(rows, columns=[*_OF_PAYMENT, *_OF_PREDICTION])
    return table.sort_values("severity", ascending=False, kind="stable", ignore_index=True)


def _past(store: Store, times: list[int]) -> str:
    """Return a warning if payments are earlier than what the flow has read, else nothing."""
    last = next((row["ts_last"] for row in store.judges()), 0)
    earlier = sum(ts < last for ts in times)
    if not earlier:
        return ""
    return (
        f"{earlier:,} of these payments are earlier than the last one that the flow has read, of "
        f"{time_of(last)} UTC. They are scored as if they came after it: what their users did since counts."
    )


def _tell_faults(faults: list[tuple[int, str]]) -> None:
    if not faults:
        return
    one = len(faults) == 1
    why = "line left out, because it is no payment" if one else "lines left out, because they are no payments"
    with st.expander(f"{len(faults):,} {why}", icon=":material/warning:"):
        st.markdown("\n".join(f"- Line {line}: {plain(reason)}" for line, reason in faults[:_MOST_FAULTS]))
        if len(faults) > _MOST_FAULTS:
            st.caption(f"The first {_MOST_FAULTS}.")


def _told(table: pd.DataFrame, name: str) -> None:
    counts = {str(risk): int(count) for risk, count in table["risk_level"].value_counts().items()}
    with st.container(horizontal=True):
        alarms = int(table["is_anomaly"].sum())
        for label, value in (
            ("Payments", f"{len(table):,}"),
            ("Alarms", f"{alarms:,}"),
            ("High or critical", f"{counts.get('high', 0) + counts.get('critical', 0):,}"),
            ("Their amount", f"{table.loc[table['severity'] >= RISKS['high'], 'amount'].sum():,.2f}"),
            ("Known users", f"{int((table['basis'] == 'profile').sum()):,} of {len(table):,}"),
        ):
            st.metric(label, value, width=150)
    if "cold start" in set(table["basis"]):
        st.warning(BASES["cold start"].capitalize() + ".", icon=":material/ac_unit:")
    left, right = st.columns([3, 2], gap="medium")
    with left:
        st.markdown("**Severity** · how many payments")
        st.vega_lite_chart(
            distribution(table["severity"].tolist(), colours()), width="stretch", key="severities",
            alt="How many payments have which severity",
        )  # fmt: skip
    with right:
        st.markdown("**Risk levels**")
        st.vega_lite_chart(
            risk_levels(counts, colours()), width="stretch", key="risks", alt="Payments by risk level"
        )
    _list(table, name)


def _list(table: pd.DataFrame, name: str) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        wanted = st.pills("Risk", list(RISKS), selection_mode="multi", key="risk", bind="query-params")
        shown = table[table["risk_level"].isin(wanted)] if wanted else table
        st.download_button(
            "CSV", lambda: _export(shown), f"{name.removesuffix('.csv')}-scored.csv", "text/csv",
            icon=":material/download:", on_click="ignore", help="All of these risks, with reasons",
        )  # fmt: skip
    if not len(shown):
        st.info("No payment has such a risk.", icon=":material/filter_alt_off:")
        return
    worst = shown.head(_MOST_SHOWN)
    empty = [column for column in _OF_PAYMENT if not worst[column].notna().any()]
    order = [c for c in ("severity", "risk_level", "is_anomaly", *_OF_PAYMENT, "reason") if c not in empty]
    event: Any = st.dataframe(
        worst[order], hide_index=True, key="payments", column_config=_COLUMNS, on_select="rerun",
        selection_mode="single-cell", height=min(38 + 35 * len(worst), 560),
    )  # fmt: skip
    if len(shown) > _MOST_SHOWN:
        st.caption(f"The worst {_MOST_SHOWN} of {len(shown):,}; the CSV has all.")
    cells = event.get("selection", {}).get("cells") or []
    if cells and 0 <= cells[0][0] < len(worst):
        row = worst.iloc[cells[0][0]]
        st.markdown(f"{badge(row['severity'])} {plain(row['reason'])}")
        st.page_link(
            routes.users(), label=f"Profile of {plain(row['user_id'])}", icon=":material/person_search:",
            query_params={USER: row["user_id"]},
        )  # fmt: skip


def _export(table: pd.DataFrame) -> str:
    known = [column for column in _OF_PAYMENT if table[column].notna().any()]
    names = [*known, "anomaly_score", *_OF_PREDICTION[1:]]
    told = table.assign(anomaly_score=table["severity"] / 100.0)[names]
    rows = told.astype(object).where(told.notna(), None)
    return csv_of(names, rows.itertuples(index=False, name=None))
