"""The tape of one key: its candles, volume and scores, with the anomalies on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import streamlit as st

from connectors.store import Store
from connectors.store_questions import Document
from dashboard.colours import colours
from dashboard.tape_charts import candles, score_line, volumes
from dashboard.words import DETECTORS, plain
from tapewatch.settings import Settings

_FIRST = "first key"
#: As many bars as a screen tells apart.
_MOST_BARS, _MOST_MARKS, _MOST_SCORES = 240, 200, 600


def show_tape(store: Store, settings: Settings, worst: list[str], start: int, end: int, least: float) -> None:
    """Let a key be chosen, that of the worst anomaly to begin with, and show its tape."""
    known = store.bar_keys()
    keys = sorted({*known, *worst})
    if not keys:
        return
    first = _first(known, worst)
    # A choice that is gone (another database) must not end the page.
    if st.session_state.get("key") not in (None, *keys):
        st.session_state["key"] = keys[0]
    place = keys.index(first) if first in keys else 0
    with st.container(horizontal=True, vertical_alignment="bottom"):
        key = st.selectbox("Key", keys, place, key="key", bind="query-params", width=170) or keys[0]
        detector = (
            st.selectbox("Scores of", _detectors(settings), key="score", bind="query-params", width=190)
            or DETECTORS[0]
        )
    bars = _bars(store, key, start, end)
    if not bars:
        st.info(
            f"No bars of {plain(key)} in this range." if known else
            "No bars are stored: `sinks.bars` says which widths are, for instance `[\"1m\"]`.",
            icon=":material/candlestick_chart:",
        )  # fmt: skip
        return
    begin, finish = bars[0]["ts_start"], bars[-1]["ts_end"]
    marks = _marks(store, key, begin, finish, least)
    shown = colours()
    st.vega_lite_chart(
        candles(bars, marks, begin, finish, shown), width="stretch", key="candles",
        alt=f"Prices of {key} with its anomalies",
    )  # fmt: skip
    st.caption(f"{plain(key)} · bars of {bars[0]['width']} · diamonds are anomalies, with their reasons")
    st.vega_lite_chart(volumes(bars, begin, finish, shown), width="stretch", key="volumes", alt="Volumes")
    show_scores(store, settings, key, detector, begin, finish)


def show_scores(
    store: Store, settings: Settings, key: str, detector: str, start: int, end: int, place: str = "scores"
) -> None:
    """Show a detector's scores of one key with the threshold, or say why there are none."""
    rows = _scores(store, key, detector, start, end)
    if rows:
        st.vega_lite_chart(
            score_line(rows, start, end, colours()), width="stretch", key=place,
            alt=f"Scores of {detector}",
        )  # fmt: skip
        st.caption(f"scores of {detector}; the dashed line is the threshold")
    elif not settings.sinks.scores:
        st.caption("Scores are not kept; `sinks.scores = true` keeps those of runs from now on.")
    else:
        st.caption(f"No scores of {detector} in this range.")


def tape_questions(store: Store, start: int, end: int) -> list[Callable[[], object]]:
    """Return what `show_tape` will ask as far as is known: the bars of the key that was shown before."""
    key = st.session_state.get("key") or st.session_state.get(_FIRST)
    return [] if key is None else [lambda: _bars(store, key, start, end)]


def ask_tape(store: Store, worst: list[str], start: int, end: int, least: float) -> None:
    """Ask what `show_tape` will show, where answers are remembered, before anything is drawn."""
    known = store.bar_keys()
    if not known and not worst:
        return
    key = st.session_state.get("key") or _first(known, worst)
    bars = _bars(store, key, start, end)
    if bars:
        begin, finish = bars[0]["ts_start"], bars[-1]["ts_end"]
        detector = st.session_state.get("score") or DETECTORS[0]
        store.prepare(
            lambda: _marks(store, key, begin, finish, least),
            lambda: _scores(store, key, detector, begin, finish),
        )


def _first(known: Sequence[str], worst: list[str]) -> str:
    """Return the key whose tape is shown first; it stays, so that it does not give way to another."""
    first = next((key for key in worst if key in known), sorted({*known, *worst})[0])
    return str(st.session_state.setdefault(_FIRST, first))


def _marks(store: Store, key: str, start: int, end: int, least: float) -> list[Document]:
    return store.anomalies(
        key=key, start=start, end=end + 1, min_severity=least or None, limit=_MOST_MARKS, order="worst"
    )


def _bars(store: Store, key: str, start: int, end: int) -> list[Document]:
    return store.chart(key, start, end, points=_MOST_BARS)


def _scores(store: Store, key: str, detector: str, start: int, end: int) -> list[Document]:
    return store.scores(key, detector, start, end, points=_MOST_SCORES)


def _detectors(settings: Settings) -> list[str]:
    return list(dict.fromkeys([*DETECTORS, *settings.detectors]))
