"""Looking at the results: opened anew for each look, as a store may be replaced at any time."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from connectors.store import Store, open_results
from dashboard.words import RANGES
from tapewatch.errors import UserError
from tapewatch.settings import Settings, load


def look(draw: Callable[[Store, Settings], None]) -> None:
    """Draw with the results open, or say what is wrong with them and what to do."""
    try:
        settings = load()
        with open_results(settings) as store:
            draw(store, settings)
    except UserError as error:
        text = str(error)
        show = st.info if text.startswith("there are no results") else st.error
        show(text[:1].upper() + text[1:], icon=":material/info:" if show is st.info else ":material/error:")


def range_of(store: Store, chosen: str) -> tuple[int, int] | None:
    """Return ``[start, end)`` ns of a range with this name; None, after saying so, without results."""
    span = store.span()
    if span is None:
        st.info(
            f"Nothing is stored in {store.place} yet. Results appear here as soon as a flow writes them: "
            "`make live` shows a simulated market, docs/market-flow.md says how to run on your own data.",
            icon=":material/hourglass_empty:",
        )
        return None
    end, length = span[1] + 1, RANGES.get(chosen)
    return (span[0] if length is None else max(span[0], end - length)), end
