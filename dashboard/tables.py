"""Incidents and anomalies as tables."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import Document, utc

_COLUMNS = {
    "severity": st.column_config.ProgressColumn(
        "severity", width=75, min_value=0, max_value=100, format="%.0f"
    ),
    "ts_event": st.column_config.DatetimeColumn(
        "time (UTC)", format="MM-DD HH:mm:ss", timezone="UTC", width=105
    ),
    "key": st.column_config.TextColumn(width=65),
    "reason": st.column_config.TextColumn(width=420),
    "found by": st.column_config.TextColumn(width=140),
    "user_id": st.column_config.TextColumn("user", width=85),
    "amount": st.column_config.NumberColumn(format="%.2f", width=85),
    "location": st.column_config.TextColumn("place", width=60),
    "merchant_category": st.column_config.TextColumn("category", width=95),
    "payment_method": st.column_config.TextColumn("method", width=95),
}
_INCIDENT = ("severity", "ts_event", "key", "reason", "found by")
_OF_PAYMENTS = ("amount", "location", "merchant_category", "payment_method")


def incident_table(rows: list[Document], key: str) -> str | None:
    """Show incidents or anomalies, and return the id of one that has just been clicked."""
    table = utc(rows, "ts_event")
    table["found by"] = [_found_by(row) for row in rows]
    return _clicked(rows, table[list(_INCIDENT)], key)


def payment_table(rows: list[Document], key: str, *, users: bool = False) -> str | None:
    """Show payments with anomalies, and return the id of one that has just been clicked."""
    table = utc(rows, "ts_event")
    names = [*(["user_id"] if users else []), *_OF_PAYMENTS]
    return _clicked(rows, table[["severity", "ts_event", *names, "reason"]], key)


def _clicked(rows: list[Document], table: pd.DataFrame, key: str) -> str | None:
    event: Any = st.dataframe(
        table, hide_index=True, height=min(38 + 35 * len(rows), 560), column_config=_COLUMNS, key=key,
        on_select="rerun", selection_mode="single-cell",
    )  # fmt: skip
    cells = event.get("selection", {}).get("cells") or []
    if not cells or not 0 <= cells[0][0] < len(rows):
        return None
    return str(rows[cells[0][0]]["id"])


def _found_by(row: Document) -> str:
    """Return who found it: the detector, and how many more anomalies there are of the incident.

    >>> _found_by({"detector": "price_jump", "anomalies": 3}), _found_by({"detector": "price_jump"})
    ('price_jump +2', 'price_jump')
    """
    more = row.get("anomalies", 1) - 1
    return f"{row['detector']} +{more}" if more else str(row["detector"])
