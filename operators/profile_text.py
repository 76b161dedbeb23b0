"""The exact state of a user's profile as a text of JSON, for stores whose content one must not unpickle."""

from __future__ import annotations

import base64
import binascii
import math
from typing import Any

import orjson

from tapewatch.errors import UserError

#: Places of the arrays in a profile's snapshot, and of the one number that may be unknown.
_BYTES, _LAST = (9, 10, 11), -1


def written(state: tuple[Any, ...], partition: str) -> str:
    """Return the text of a snapshot of `operators.profiles.Profile` and the partition that it is of.

    It is bounded as the profile is; numbers come back bit for bit.
    """
    told = list(state)
    for place in _BYTES:
        told[place] = base64.b64encode(told[place]).decode()
    if math.isnan(told[_LAST]):
        told[_LAST] = None
    return orjson.dumps([partition, *told]).decode()


def read(text: str, version: int) -> tuple[str, tuple[Any, ...]]:
    """Return the partition and the snapshot that `written` has made a text of.

    Raises
    ------
    UserError
        If it is of another version, or damaged.

    Examples
    --------
    >>> read('["p", 0]', 1)
    Traceback (most recent call last):
      ...
    tapewatch.errors.UserError: a profile in the store is of version 0, this program reads 1; ...
    """
    try:
        partition, *told = orjson.loads(text)
        if told[0] != version:
            raise UserError(
                f"a profile in the store is of version {told[0]!r}, this program reads {version}; run the "
                "transaction flow again with this version of tapewatch"
            )
        for place in _BYTES:
            told[place] = binascii.a2b_base64(told[place], strict_mode=True)
        told[_LAST] = math.nan if told[_LAST] is None else float(told[_LAST])
    except (ValueError, TypeError, IndexError, binascii.Error) as error:
        raise UserError("a profile in the store is damaged; run the transaction flow again") from error
    return partition, tuple(told)
