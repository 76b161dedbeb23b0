"""Records of a batch in another order, of which only the fields that are asked for are moved.

Moving whole records costs more than everything a detector does with the few fields it reads. What is gathered
is kept and shared by the parts of a batch, so that each field is moved once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np

from tapewatch.records import Array
from tapewatch.surveys import moved


class Ordered:
    """Records in the order of a permutation: like a structured array to those who read from it.

    Parameters
    ----------
    records
        ``TRADE`` or ``OHLCV`` records, shape ``(n,)``.
    order
        Index of the record at each place, intp, shape ``(n,)``.
    columns
        Fields that have been moved already, each contiguous and of shape ``(n,)``.

    Examples
    --------
    >>> from tapewatch.records import TRADE
    >>> trades = np.zeros(3, TRADE)
    >>> trades["size"] = [5, 6, 7]
    >>> part = Ordered(trades, np.array([2, 0, 1]))[1:]
    >>> len(part), part["size"].tolist(), int(part[0]["size"])
    (2, [5, 6], 5)
    """

    __slots__ = ("_bits", "_columns", "_first", "_last", "_order", "_records")

    def __init__(self, records: Array, order: Array, columns: Mapping[str, Array] | None = None) -> None:
        self._records, self._order = records, order
        self._columns = dict(columns or {})
        self._bits: dict[str, int] = {}
        self._first, self._last = 0, len(order)

    @property
    def dtype(self) -> np.dtype[Any]:
        """``TRADE`` or ``OHLCV``."""
        return self._records.dtype

    def __len__(self) -> int:
        return self._last - self._first

    @overload
    def __getitem__(self, key: slice) -> Ordered: ...
    @overload
    def __getitem__(self, key: str | int | Array) -> Any: ...  # noqa: ANN401 - as NumPy's

    def __getitem__(self, key: str | int | slice | Array) -> Any:
        """Return a field (contiguous, shape ``(n,)``), a record, a stretch or what a mask or indices pick."""
        if isinstance(key, str):
            return self._column(key)[self._first : self._last]
        if isinstance(key, slice):
            first, last, _ = slice(key.start, key.stop).indices(len(self))
            part = object.__new__(Ordered)
            part._records, part._order, part._columns = self._records, self._order, self._columns
            part._bits = self._bits
            part._first, part._last = self._first + first, self._first + max(first, last)
            return part
        places = self._order[self._first : self._last][key]
        if isinstance(key, np.ndarray) and self._records.flags.c_contiguous:
            # Moving whole records as bytes is much faster than as fields.
            records = self._records.view(np.dtype((np.void, self._records.itemsize)))
            return records.take(places).view(self._records.dtype)
        return self._records[places]

    def bits(self, name: str) -> int:
        """Return the bits that are set in a field of any record of the whole batch."""
        found = self._bits.get(name)
        if found is None:
            found = self._bits[name] = bits(self._records, name)
        return found

    def _column(self, name: str) -> Array:
        column = self._columns.get(name)
        if column is None:
            column = self._columns[name] = moved(self._records, name, self._order)
        return column

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> Array:
        """Return the records as a structured array of their own."""
        return np.asarray(self[np.arange(len(self))], dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to another process as what is seen, not with the rest of the batch."""
        return Ordered, (self[np.arange(len(self))], np.arange(len(self)))


def bits(records: Array | Ordered, name: str) -> int:
    """Return at least the bits that are set in an unsigned field of any record.

    >>> bits(np.array([(1,), (4,)], [("flags", "u1")]), "flags")
    5
    """
    return records.bits(name) if isinstance(records, Ordered) else int(np.bitwise_or.reduce(records[name]))
