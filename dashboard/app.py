"""The page: a swim lane of severity, the anomalies with their reasons, and the tape of one key.

``make dashboard``, or ``streamlit run dashboard/app.py`` where the flow runs. It only reads
the first store of ``sinks.kinds``, opens it anew for each look (a store may be replaced at any time), and
asks for no more than it shows.
"""

from __future__ import annotations

import streamlit as st

from connectors.store import Store, open_results
from dashboard.charts import Document, price_and_volume, step_ns, swim_lane, utc
from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR
from tapewatch.settings import WIDTHS, load

_RANGES: dict[str, int | None] = {
    "all": None,
    "7 days": 7 * DAY,
    "1 day": DAY,
    "6 hours": 6 * HOUR,
    "1 hour": HOUR,
}
_SECONDS_BETWEEN_LOOKS = 3
_MOST_KEYS, _MOST_ROWS, _MOST_BARS = 30, 300, 1000


def page() -> None:
    """Draw the page; its parts look at the store again every few seconds."""
    st.set_page_config("tapewatch", layout="wide")
    st.title("tapewatch")
    left, right = st.columns([3, 1])
    chosen = left.segmented_control("Newest", list(_RANGES), default="all", key="range") or "all"
    least = right.slider(
        "Least severity", 0, 100, 0, 5, key="least", help="50: once a day; 75: once in 100 days"
    )
    _results(_RANGES[chosen], float(least))


@st.fragment(run_every=_SECONDS_BETWEEN_LOOKS)
def _results(range_ns: int | None, least: float) -> None:
    try:
        with open_results(load()) as store:
            _show(store, range_ns, least)
    except UserError as error:
        st.info(str(error))


def _show(store: Store, range_ns: int | None, least: float) -> None:
    span = store.span()
    if span is None:
        st.info(f"Nothing is stored in {store.place} yet.")
        return
    end = span[1] + 1
    start = span[0] if range_ns is None else max(span[0], end - range_ns)
    _figures(store)
    step = step_ns(start, end)
    lanes = store.lanes(start, end, step, min_severity=least, limit=_MOST_KEYS)
    st.subheader("Severity by instrument (UTC)")
    if lanes:
        st.altair_chart(swim_lane(lanes, start, end, step), width="stretch")
    else:
        st.info("No anomalies in this range.")
    _table(store, start, end, least)
    _tape(store, start, end, least, list(dict.fromkeys(row["key"] for row in lanes)))


def _figures(store: Store) -> None:
    counts, totals = store.counts(), store.totals()
    figures = {
        "records": totals.get("records", 0),
        "late records": totals.get("late_records", 0),
        "bars": counts["bars"],
        "anomalies": counts["anomalies"],
    }
    for column, (name, value) in zip(st.columns(len(figures)), figures.items(), strict=True):
        column.metric(name, f"{value:,}")


def _table(store: Store, start: int, end: int, least: float) -> None:
    order = st.segmented_control("Anomalies", ["worst", "newest"], default="worst", key="order") or "worst"
    rows = store.anomalies(start=start, end=end, min_severity=least, limit=_MOST_ROWS, order=order)
    if not rows:
        return
    table = utc(rows, "ts_event")[["ts_event", "key", "detector", "severity", "reason"]]
    st.dataframe(
        table,
        hide_index=True,
        height=320,
        column_config={
            "ts_event": st.column_config.DatetimeColumn(
                "time (UTC)", format="YYYY-MM-DD HH:mm:ss", timezone="UTC", width=140
            ),
            "key": st.column_config.TextColumn(width=80),
            "detector": st.column_config.TextColumn(width=100),
            "severity": st.column_config.ProgressColumn(width=110, min_value=0, max_value=100, format="%.0f"),
            "reason": st.column_config.TextColumn(width=820),
        },
    )


def _tape(store: Store, start: int, end: int, least: float, worst_keys: list[str]) -> None:
    series: dict[str, list[str]] = {}
    for row in store.series():
        series.setdefault(row["key"], []).append(row["width"])
    keys = list(dict.fromkeys([*(key for key in worst_keys if key in series), *series]))
    if not keys:
        st.info("No bars are stored; `sinks.bars` says which widths are.")
        return
    left, right = st.columns([3, 1])
    # A choice that is gone (another database) must not end the page.
    key = left.selectbox("Instrument", keys, key="key") or keys[0]
    widths = sorted(set(series[key]), key=lambda width: WIDTHS[width])
    width = right.selectbox("Bars", widths, key="width") or widths[0]
    bars: list[Document] = store.bars(key, width, start, end, limit=_MOST_BARS)
    if not bars:
        st.info(f"No {width} bars of {key} in this range.")
        return
    shown = bars[0]["ts_start"]
    found = store.anomalies(
        key=key, start=shown, end=end, min_severity=least, limit=_MOST_ROWS, order="worst"
    )
    for chart in price_and_volume(bars, found):
        st.altair_chart(chart, width="stretch")
    if len(bars) == _MOST_BARS:
        st.caption(f"The newest {_MOST_BARS:,} bars of the range; choose wider bars or a shorter range.")


page()
