"""The colours of severity and of prices, on a light page and on a dark one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import streamlit as st

# Severity 50 is once a day, 75 once in a hundred days: the colours change where the meaning does.
_BOUNDS = [0, 50, 75, 90, 100]
_BADGES = ((90, "red"), (75, "orange"), (50, "yellow"), (0, "gray"))


@dataclass(frozen=True, slots=True)
class Colours:
    """The colours of one kind of page."""

    severity: tuple[str, ...]
    up: str
    down: str
    volume: str
    line: str
    threshold: str
    outline: str
    text: str

    @property
    def scale(self) -> dict[str, Any]:
        """Severity from 0 to 100 to a colour, as Vega-Lite has it."""
        return {"domain": _BOUNDS, "range": list(self.severity), "interpolate": "rgb", "clamp": True}


_LIGHT = Colours(
    ("#d5dee7", "#f4d35e", "#ee964b", "#d1495b", "#7b1e3a"),
    "#2f8f83", "#b5656d", "#a9bccb", "#2f6690", "#d1495b", "#ffffff", "#1b2733",
)  # fmt: skip
_DARK = Colours(
    ("#33434f", "#d9b44a", "#ee8f43", "#ef5350", "#ff2d78"),
    "#4db6a6", "#cf7d86", "#4a6072", "#6fb1dc", "#e4526a", "#0d131b", "#dfe7ee",
)  # fmt: skip


def colours() -> Colours:
    """Return the colours for the page as the browser shows it."""
    return _DARK if st.context.theme.type == "dark" else _LIGHT


def badge(severity: float | None) -> str:
    """Return a severity as coloured Markdown.

    >>> badge(91.4), badge(None)
    (':red-badge[91]', ':gray-badge[?]')
    """
    if severity is None:
        return ":gray-badge[?]"
    return f":{next(name for least, name in _BADGES if severity >= least)}-badge[{severity:.0f}]"
