"""Where a page ended, as a text that clients hand back unread."""

from __future__ import annotations

import base64
import binascii
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError

_INT64 = range(-(2**63), 2**63)


def encoded(kind: str, *place: object) -> str:
    """Return the cursor of a place in a list of this kind and order.

    >>> encoded("newest", 1, "00ff")
    'WyJuZXdlc3QiLDEsIjAwZmYiXQ'
    """
    return base64.urlsafe_b64encode(orjson.dumps([kind, *place])).rstrip(b"=").decode()


def decoded(cursor: str, kind: str, *types: type | tuple[type, ...]) -> list[Any]:
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
        found = orjson.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True))
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
                    "input": cursor,
                }
            ]
        )
    return found[1:]


def _is(value: object, wanted: type | tuple[type, ...]) -> bool:
    if isinstance(value, bool) or not isinstance(value, wanted):
        return False
    return not isinstance(value, int) or value in _INT64
