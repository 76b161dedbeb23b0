"""Where a page ended, as a text that clients hand back unread."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError

from connectors.store_questions import cursor

#: What tells where an anomaly is in every order.
_PLACE = ("ts_event", "id", "severity")
_INT64 = range(-(2**63), 2**63)


def encoded(kind: str, *place: object) -> str:
    """Return the cursor of a place in a list of this kind and order.

    >>> encoded("newest", 1, "00ff")
    'WyJuZXdlc3QiLDEsIjAwZmYiXQ'
    """
    return base64.urlsafe_b64encode(orjson.dumps([kind, *place])).rstrip(b"=").decode()


def decoded(text: str, kind: str, *types: type | tuple[type, ...]) -> list[Any]:
    """Return the place of a cursor.

    Raises
    ------
    RequestValidationError
        If it is no cursor of this kind, its values not of these types, or integers beyond 64 bits.

    Examples
    --------
    >>> decoded("WyJuZXdlc3QiLDEsIjAwZmYiXQ", "newest", int, str)
    [1, '00ff']
    """
    try:
        found = orjson.loads(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True))
    except (binascii.Error, ValueError):
        found = None
    if (
        not isinstance(found, list)
        or len(found) != 1 + len(types)
        or found[0] != kind
        or not all(_is(value, wanted) for value, wanted in zip(found[1:], types, strict=True))
    ):
        raise RequestValidationError(
            [
                {
                    "type": "value_error",
                    "loc": ("query", "cursor"),
                    "msg": "must be the `next` of a page before, with the same `order`",
                    "input": text,
                }
            ]
        )
    return found[1:]


def place_of(given: str | None, kind: str) -> str | None:
    """Return the store's cursor of a place in a list of anomalies, None for that of no page before.

    Raises
    ------
    RequestValidationError
        If it is no cursor of a list of this kind.
    """
    if given is None:
        return None
    ts_event, name, severity = decoded(given, kind, int, str, (float, int, type(None)))
    # Nothing is before 1970.
    return cursor({"ts_event": max(ts_event, 0), "id": name, "severity": severity})


def page_of(
    found: list[dict[str, Any]], limit: int, kind: str, *names: str
) -> tuple[list[dict[str, Any]], str | None]:
    """Return the rows of a page, and the cursor of the next if there is one.

    Parameters
    ----------
    found
        The rows from the beginning of the page on, one more than belongs on it if there is a next page.
    limit
        How many rows are on a page.
    kind
        The list and its order.
    names
        The fields that make a row's place in the list; those of anomalies if none are named.

    Examples
    --------
    >>> page_of([{"n": 1}, {"n": 2}], 1, "numbers", "n")
    ([{'n': 1}], 'WyJudW1iZXJzIiwxXQ')
    >>> page_of([{"n": 1}, {"n": 2}], 2, "numbers", "n")
    ([{'n': 1}, {'n': 2}], None)
    """
    page = found[:limit]
    if len(found) <= limit:
        return page, None
    return page, encoded(kind, *(page[-1][name] for name in names or _PLACE))


def _is(value: object, wanted: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool) or not isinstance(value, wanted):
        return False
    return not isinstance(value, int) or value in _INT64
