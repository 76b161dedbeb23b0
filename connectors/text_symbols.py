"""A column of symbols as codes and names, without looking at records one by one."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from connectors.decimal_text import Bools, Text, first_bytes
from tapewatch.records import Array, Int64s

Column: TypeAlias = tuple[Int64s, Int64s]

_LONGEST_SYMBOL = 255


def symbols(
    text: Text, column: Column, instrument_ids: Array
) -> tuple[NDArray[np.intp], tuple[str, ...], Bools]:
    """Return codes, names in the order of first appearance, and which symbols can be read.

    An empty symbol stands for the instrument's id in digits.

    >>> text = Text(b"QQQ,,SPY,QQQ")
    >>> column = np.array([0, 4, 5, 9]), np.array([3, 4, 8, 12])
    >>> symbols(text, column, np.array([7, 8, 9, 7]))[:2]
    (array([0, 1, 2, 0]), ('QQQ', '8', 'SPY'))
    """
    start, end = column
    size = end - start
    good = size <= _LONGEST_SYMBOL
    size = np.where(good, size, 0)
    # One number for each spelling; the id's digits stand in where there is none.
    mixed = np.where(size == 0, instrument_ids, size).astype(np.uint64)
    words = [
        np.where(size > at, first_bytes(text.word(np.minimum(start + at, end)), np.clip(size - at, 0, 8)), 0)
        for at in range(0, int(size.max(initial=0)), 8)
    ]
    for word in words:
        mixed = (mixed ^ word) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    _, first, group = np.unique(mixed, return_index=True, return_inverse=True)
    one = first[group]
    same = (size == size[one]) & ((size > 0) | (instrument_ids == instrument_ids[one]))
    for word in words:
        same &= word == word[one]
    if not same.all():
        # Two spellings share a number: spell out every record.
        spelled = [
            text.data[a : a + n] or b"\0%d" % i for a, n, i in zip(start, size, instrument_ids, strict=True)
        ]
        places: dict[bytes, int] = {}
        group = np.array([places.setdefault(word, len(places)) for word in spelled], dtype=np.intp)
        first = np.unique(group, return_index=True)[1]
    order = np.argsort(first)
    codes: dict[str, int] = {}
    renamed = np.zeros(len(first), dtype=np.intp)
    readable = np.ones(len(first), dtype=np.bool_)
    for place in order.tolist():
        at = int(first[place])
        name = text.data[start[at] : start[at] + size[at]].decode("utf-8", "replace")
        readable[place] = name.isprintable() and "\ufffd" not in name and '"' not in name
        renamed[place] = codes.setdefault(name or str(int(instrument_ids[at])), len(codes))
    return renamed[group], tuple(codes), good & readable[group]
