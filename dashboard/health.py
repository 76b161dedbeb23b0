"""Whether anything comes in: how much there is, how fast it grows, how far behind it is."""

from __future__ import annotations

import time
from dataclasses import dataclass

import streamlit as st

from connectors.store import Store
from dashboard.words import span_of, time_of
from tapewatch.records import DAY

_SEEN = "records seen"
#: Seconds without a new record after which a tape is called quiet.
_QUIET_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Pulse:
    """What a look saw: records, when (s), when they last grew (s), and how fast they did."""

    records: int
    at: float
    grew_at: float | None = None
    per_second: float | None = None


def beat(before: Pulse | None, records: int, now: float) -> Pulse:
    """Return the pulse after a look that found so many records.

    >>> beat(Pulse(1000, 10.0), 3000, 12.0)
    Pulse(records=3000, at=12.0, grew_at=12.0, per_second=1000.0)
    """
    if before is None or records < before.records:
        return Pulse(records, now)
    if records == before.records:
        # A flow writes now and then; between two writes its pace is the last one known.
        return Pulse(records, before.at, before.grew_at, before.per_second)
    return Pulse(records, now, now, (records - before.records) / max(now - before.at, 1e-3))


def figures(store: Store) -> None:
    """Show what has been read and found, and how the flow fares."""
    totals, now = store.totals(), time.monotonic()
    records = totals.get("records", 0)
    pulse = beat(st.session_state.get(_SEEN), records, now)
    st.session_state[_SEEN] = pulse
    stored = _counts(store.place, store)
    span = store.span()
    lag = None if span is None else time.time_ns() - span[1]
    with st.container(horizontal=True):
        _state(pulse, now)
        _figure(
            "Records", f"{records:,}", None if pulse.per_second is None else f"{pulse.per_second:,.0f} /s"
        )
        _figure("Anomalies", f"{stored['anomalies']:,}")
        _figure("Bars", f"{stored['bars']:,}")
        refused = sum(n for name, n in totals.items() if name in ("late_records", "invalid_records"))
        _figure("Late or unusable", f"{refused:,}")
        if span is not None and lag is not None:
            # The tape of another day is not behind, it is of another day.
            behind = f"{span_of(lag)} behind" if abs(lag) < DAY else None
            _figure("Newest event (UTC)", time_of(span[1])[5:], behind, width=200)
        if "kafka_lag" in totals:
            _figure("Messages behind", f"{totals['kafka_lag']:,}")


def _figure(label: str, value: str, delta: str | None = None, width: int = 132) -> None:
    st.metric(label, value, delta, delta_color="off", delta_arrow="off", width=width)


def _state(pulse: Pulse, now: float) -> None:
    if pulse.grew_at is not None and now - pulse.grew_at < _QUIET_SECONDS:
        state, text = "Receiving", ":green-badge[:material/sensors: live]"
    else:
        quiet = "" if pulse.grew_at is None else f" for {span_of((now - pulse.grew_at) * 1e9)}"
        state, text = "Quiet", f":gray-badge[:material/sensors_off: nothing new{quiet}]"
    with st.container(width=150, gap=None):
        st.caption(
            "Flow",
            help="Whether records came in since this page was opened. A flow over files ends by itself.",
        )
        st.markdown(f"**{state}**  \n{text}")


@st.cache_data(ttl=10, max_entries=8, show_spinner=False)
def _counts(place: str, _store: Store) -> dict[str, int]:
    return _store.counts()
