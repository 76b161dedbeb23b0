"""Which symbol an instrument id means on a given day.

Databento's ``instrument_id`` is unique within one day and one dataset only, so symbols are looked up by
(date, id); the dates are UTC dates of the event time.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

from tapewatch.records import Array

_EPOCH = dt.date(1970, 1, 1)


def day_number(date: dt.date) -> int:
    """Return days since 1970-01-01.

    >>> day_number(dt.date(1970, 1, 2))
    1
    """
    return (date - _EPOCH).days


@dataclass(frozen=True, slots=True)
class Interval:
    """A symbol's id on the days ``[first_day, end_day)``, counted since 1970-01-01."""

    symbol: str
    instrument_id: int
    first_day: int
    end_day: int


class Symbols:
    """Keys of instruments by (date, instrument id); ids without a symbol are their own key.

    Parameters
    ----------
    intervals
        What the metadata or the mapping messages say.

    Examples
    --------
    >>> import numpy as np
    >>> symbols = Symbols([Interval("SPY", 7, 0, 2), Interval("QQQ", 7, 2, 9)])
    >>> ids = np.array([7, 8], dtype=np.uint32)
    >>> symbols.keys(ids, day=1), symbols.keys(ids, day=2)
    (['SPY', '8'], ['QQQ', '8'])
    """

    def __init__(self, intervals: Iterable[Interval] = ()) -> None:
        self._by_id: dict[int, list[Interval]] = {}
        self.version = 0
        for interval in intervals:
            self.add(interval)

    def add(self, interval: Interval) -> None:
        """Learn one more interval; where several hold, the one that begins last (then by name) wins."""
        known = self._by_id.setdefault(interval.instrument_id, [])
        if interval not in known:
            known.append(interval)
            known.sort(key=lambda i: (-i.first_day, i.symbol))
            self.version += 1

    def merge(self, other: Symbols) -> None:
        """Learn all that ``other`` knows."""
        for intervals in other._by_id.values():
            for interval in intervals:
                self.add(interval)

    @property
    def empty(self) -> bool:
        """True if no id has a symbol."""
        return not self._by_id

    def key(self, instrument_id: int, day: int) -> str:
        """Return the symbol of one id on one day, or the id itself in digits."""
        for interval in self._by_id.get(instrument_id, ()):
            if interval.first_day <= day < interval.end_day:
                return interval.symbol
        return str(instrument_id)

    def keys(self, instrument_ids: Array, day: int) -> list[str]:
        """Return the key of each id on one day."""
        return [self.key(int(i), day) for i in instrument_ids]

    def mapped(self, instrument_id: int, day: int) -> bool:
        """Return whether the id has a symbol on that day."""
        return any(i.first_day <= day < i.end_day for i in self._by_id.get(instrument_id, ()))
