"""What can be found out of records beside the flow, while it works on those before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tapewatch.records import OHLCV, TRADE, Array, Int64s

#: Fields of trades that every flow reads.
_READ = ("price", "size", "side")
#: NumPy moves single letters far slower than numbers of one byte.
_AS_BYTES = {
    dtype: np.dtype([(name, "u1" if dtype[name].kind == "S" else dtype[name]) for name in dtype.names or ()])
    for dtype in (TRADE, OHLCV)
}


@dataclass(frozen=True, slots=True)
class Survey:
    """Valid records of a batch by instrument id, and how they are numbered.

    Attributes
    ----------
    ids
        The instrument ids, ascending, shape ``(k,)``.
    starts
        Where each one's records begin in ``order``, and the end; int64, shape ``(k + 1,)``.
    order
        Places of the records by id, those of one id in the order of the tape; intp, shape ``(n,)``.
    times
        Event times in that order, int64 ns.
    columns
        Fields of the records in that order, those of trades that are always read.
    earliest, latest
        Of the times.
    publisher
        The one publisher of all, None if there are several.
    by_ones
        Whether each ``sequence`` is one more than that before it.
    """

    ids: Array
    starts: Int64s
    order: Array
    times: Int64s
    columns: dict[str, Array]
    earliest: int
    latest: int
    publisher: int | None
    by_ones: bool


def moved(records: Array, name: str, order: Array) -> Array:
    """Return a field of ``TRADE`` or ``OHLCV`` records in another order, contiguous.

    >>> trades = np.zeros(3, TRADE)
    >>> trades["side"] = [b"A", b"B", b"N"]
    >>> moved(trades, "side", np.array([2, 0, 1])).tolist()
    [b'N', b'A', b'B']
    """
    fields = records.view(_AS_BYTES[records.dtype])
    return np.take(fields[name], order).view(records.dtype[name])


def survey(records: Array, times: Array) -> Survey:
    """Return the survey of valid records.

    Parameters
    ----------
    records
        ``TRADE`` or ``OHLCV``, shape ``(n,)`` with ``n > 0``.
    times
        Event time of each, 64-bit ns.

    Examples
    --------
    >>> trades = np.zeros(3, TRADE)
    >>> trades["instrument_id"], trades["sequence"] = [7, 5, 7], [1, 2, 3]
    >>> found = survey(trades, np.array([10, 11, 12]))
    >>> found.ids.tolist(), found.starts.tolist(), found.order.tolist(), found.times.tolist(), found.by_ones
    ([5, 7], [0, 1, 3], [1, 0, 2], [11, 10, 12], True)
    """
    ids = records["instrument_id"]
    bits = len(records).bit_length()
    # With its place in its lower bits every number is different: any sort is a stable one.
    number: Any = np.uint32 if bits + int(ids.max()).bit_length() <= 32 else np.uint64
    placed: Array = ids.astype(number)
    placed <<= number(bits)
    placed |= np.arange(len(records), dtype=number)
    placed.sort()
    order = (placed & number((1 << bits) - 1)).astype(np.int64)
    placed >>= number(bits)
    starts = np.concatenate([[0], np.flatnonzero(placed[1:] != placed[:-1]) + 1, [len(placed)]])
    times = times.view(np.int64)
    publisher = np.ascontiguousarray(records["publisher_id"])
    one = bool((publisher == publisher[0]).all())
    by_ones = False
    if one and "sequence" in (records.dtype.names or ()):
        sequence = np.ascontiguousarray(records["sequence"])
        by_ones = bool((np.diff(sequence) == 1).all())
    return Survey(
        placed[starts[:-1]].astype(np.uint32),
        starts.astype(np.int64),
        order,
        times.take(order),
        {name: moved(records, name, order) for name in (_READ if records.dtype == TRADE else ())},
        int(times.min()),
        int(times.max()),
        int(publisher[0]) if one else None,
        by_ones,
    )
