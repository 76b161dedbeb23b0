"""Incidents and anomalies as tables."""

from __future__ import annotations

from typing import Any

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
}


def incident_table(rows: list[Document], key: str) -> str | None:
    """Show incidents or anomalies, and return the id of one that has just been clicked."""
    table = utc(rows, "ts_event")
    table["found by"] = [_found_by(row) for row in rows]
    event: Any = st.dataframe(
        table[list(_COLUMNS)],
        hide_index=True,
        height=min(38 + 35 * len(rows), 560),
        column_config=_COLUMNS,
        key=key,
        on_select="rerun",
        selection_mode="single-cell",
    )
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
