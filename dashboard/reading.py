"""Looking at the results: in a store that may be replaced at any time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import streamlit as st

from connectors.file_identity import file_identity
from connectors.store import Store, open_results
from dashboard.words import RANGES
from tapewatch.errors import UserError
from tapewatch.settings import Settings, SinkSettings, load

_lock = threading.Lock()
#: What was opened last: by which settings, of which file, and the store.
_opened: tuple[SinkSettings, tuple[int, int], Store] | None = None


def look(draw: Callable[[Store, Settings], None]) -> None:
    """Draw with the results open, or say what is wrong with them and what to do."""
    try:
        settings = load()
        store = _open(settings)
        try:
            store.look_again()
            draw(store, settings)
        except UserError:
            _let_go(store)
            raise
    except UserError as error:
        tell(error)


def tell(error: UserError) -> None:
    """Say what is wrong, or that there are no results yet, and what to do."""
    text = str(error)
    sentence = text[:1].upper() + text[1:]
    if text.startswith("there are no results"):
        st.info(sentence, icon=":material/info:")
    else:
        st.error(sentence, icon=":material/error:")


def _open(settings: Settings) -> Store:
    """Return the store of these settings, the one of the look before unless another took its place.

    All visitors share it, and so what it remembers. One that is let go is closed when nobody looks at it.
    """
    global _opened
    with _lock:
        identity = file_identity(Path(settings.sinks.sqlite.path))
        if _opened is None or _opened[:2] != (settings.sinks, identity):
            _opened = None
            _opened = settings.sinks, identity, open_results(settings, remember=True)
        return _opened[2]


def _let_go(store: Store) -> None:
    global _opened
    with _lock:
        if _opened is not None and _opened[2] is store:
            _opened = None


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
    return bounds_of(span, chosen)


def bounds_of(span: tuple[int, int], chosen: str) -> tuple[int, int]:
    """Return ``[start, end)`` ns of a range with this name, which ends with the newest of a store's span."""
    end, length = span[1] + 1, RANGES.get(chosen)
    return (span[0] if length is None else max(span[0], end - length)), end
