"""Durations as people write them."""

from __future__ import annotations

import re
from typing import Any

from tapewatch.records import DAY, HOUR, MINUTE, SECOND

_UNITS = {"ns": 1, "us": 1_000, "ms": 1_000_000, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}


def duration_ns(text: Any) -> int:  # noqa: ANN401 - whatever a person wrote
    """Return nanoseconds of a duration such as ``500ms``, ``0s``, ``1.5m``.

    >>> duration_ns("1.5m")
    90000000000
    """
    match = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ns|us|ms|s|m|h|d)", str(text).strip())
    if match is None:
        msg = "must be a duration such as 500ms, 5s, 1m"
        raise ValueError(msg)
    whole, _, fraction = match[1].partition(".")
    unit = _UNITS[match[2]]
    return int(whole) * unit + int((fraction or "0").ljust(9, "0")) * unit // 1_000_000_000
