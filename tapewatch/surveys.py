"""What can be found out of records beside the flow, while it works on those before them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapewatch.records import Array, Int64s


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
    earliest: int
    latest: int
    publisher: int | None
    by_ones: bool


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
    >>> from tapewatch.records import TRADE
    >>> trades = np.zeros(3, TRADE)
    >>> trades["instrument_id"], trades["sequence"] = [7, 5, 7], [1, 2, 3]
    >>> found = survey(trades, np.array([10, 11, 12]))
    >>> found.ids.tolist(), found.starts.tolist(), found.order.tolist(), found.times.tolist(), found.by_ones
    ([5, 7], [0, 1, 3], [1, 0, 2], [11, 10, 12], True)
    """
    bits = np.uint64(len(records).bit_length())
    # With its place in its lower bits every number is different: any sort is a stable one.
    placed = records["instrument_id"].astype(np.uint64)
    placed <<= bits
    placed |= np.arange(len(records), dtype=np.uint64)
    placed.sort()
    order = (placed & np.uint64((1 << int(bits)) - 1)).view(np.int64)
    placed >>= bits
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
        int(times.min()),
        int(times.max()),
        int(publisher[0]) if one else None,
        by_ones,
    )
