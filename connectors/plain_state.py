"""States as JSON, for stores whose content one must not unpickle: arrays, tuples and tables of any keys."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np

_ARRAY, _TUPLE, _TABLE = "array", "tuple", "table"
_DTYPES = frozenset({"bool", "uint8", "uint16", "uint32", "uint64", "int32", "int64", "float32", "float64"})


def plain(value: Any) -> Any:  # noqa: ANN401 - whatever a state is made of
    """Return a state as `orjson`, or any other writer of JSON, can take it.

    Raises
    ------
    TypeError
        If something in it is of another type.

    Examples
    --------
    >>> state = {1: np.arange(3), "name": ("a", None)}
    >>> again = restored(plain(state))
    >>> again[1].tolist(), again["name"]
    ([0, 1, 2], ('a', None))
    """
    match value:
        case None | bool() | int() | float() | str():
            return value
        case np.ndarray():
            if value.dtype.name not in _DTYPES:
                raise TypeError(f"an array of {value.dtype} in a state")
            data = base64.b64encode(zlib.compress(value.tobytes(), 1)).decode()
            return [_ARRAY, value.dtype.name, list(value.shape), data]
        case tuple() | list():
            return [_TUPLE, *(plain(item) for item in value)]
        case dict():
            return [_TABLE, *([plain(name), plain(item)] for name, item in value.items())]
    raise TypeError(f"{type(value).__name__} in a state")


def restored(value: Any) -> Any:  # noqa: ANN401 - whatever a state is made of
    """Return the state that `plain` has written; lists come back as tuples.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not isinstance(value, list):
        return value
    kind, *rest = value
    if kind == _ARRAY:
        dtype, shape, data = rest
        if dtype not in _DTYPES:
            raise ValueError(f"an array of {dtype!r} in a state")
        return np.frombuffer(zlib.decompress(base64.b64decode(data)), dtype).reshape(shape).copy()
    if kind == _TUPLE:
        return tuple(restored(item) for item in rest)
    if kind == _TABLE:
        return {restored(name): restored(item) for name, item in rest}
    raise ValueError(f"{kind!r} in a state")
