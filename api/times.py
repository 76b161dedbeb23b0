"""Times in requests: RFC 3339 with up to nine fraction digits, to int64 nanoseconds."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema

from tapewatch.records import SECOND

_TIME = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?([Zz]|[ +-]\d\d:\d\d)?)?", re.ASCII
)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_ALLOWED = "must be a time such as 2024-06-03T14:30:00Z, from 1678 to 2261"


def parse(text: Any) -> int:  # noqa: ANN401 - whatever a client sent
    """Return ns since the epoch; a time without a zone is UTC, a date alone its midnight.

    Raises
    ------
    ValueError
        If it is no such time, or none that fits int64.

    Examples
    --------
    >>> parse("1970-01-01T01:00:00.000000001+01:00"), parse("1970-01-02")
    (1, 86400000000000)
    """
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(_ALLOWED)
    date, minute, second, fraction, zone = match.groups()
    zone = (zone or "Z").upper()
    try:
        # A "+" that nobody escaped arrives as a space.
        moment = dt.datetime.fromisoformat(
            f"{date}T{minute or '00:00'}:{second or '00'}{zone.replace(' ', '+').replace('Z', '+00:00')}"
        )
        whole = (moment - _EPOCH) // dt.timedelta(seconds=1)
    except (ValueError, OverflowError):
        raise ValueError(_ALLOWED) from None
    if not 1678 <= moment.year <= 2261:
        raise ValueError(_ALLOWED)
    return whole * SECOND + int((fraction or "0").ljust(9, "0"))


#: A time in a request: RFC 3339 outside, int64 ns inside.
Time = Annotated[
    int,
    BeforeValidator(parse),
    WithJsonSchema({"type": "string", "format": "date-time", "examples": ["2024-06-03T14:30:00Z"]}),
]
