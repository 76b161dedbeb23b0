"""Official hours: where a venue's continuous trading begins and ends on a date, which nobody has to learn.

Hours are those of the venue's own clock; on which five-minute slots of the UTC day they lie depends on the
date. Which venue an instrument's is, its first record says, by its publisher. Holidays and half days are not
known here.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from operators.detector import Segments, grown
from tapewatch.publishers import publishers_of
from tapewatch.records import DAY, MINUTE, SECOND, Array, Int64s

SLOT = 5 * MINUTE
SLOTS = DAY // SLOT
#: Stock exchanges of the United States, and tapes of all of them.
US_STOCKS = (
    "ARCX.*", "BATS.*", "BATY.*", "DBEQ.*", "EDGA.*", "EDGX.*", "EPRL.*", "EQUS.*", "IEXG.*", "MEMX.*",
    "XASE.*", "XBOS.*", "XCHI.*", "XCIS.*", "XNAS.*", "XNYS.*", "XPSX.*",
)  # fmt: skip
_WRITTEN = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d) (\S+)")
_EPOCH = dt.date(1970, 1, 1)
_NOBODY = -1


@dataclass(frozen=True, slots=True)
class Hours:
    """When continuous trading begins and ends, in minutes of the venue's day, and the venue's time zone."""

    opens: int
    closes: int
    zone: str

    @classmethod
    def parsed(cls, text: str) -> Hours:
        """Return the hours written as ``09:30-16:00 America/New_York``.

        Raises
        ------
        ValueError
            If they are written in another way, or there is no such time zone.

        Examples
        --------
        >>> Hours.parsed("09:30-16:00 America/New_York")
        Hours(opens=570, closes=960, zone='America/New_York')
        """
        match = _WRITTEN.fullmatch(text)
        if match is None:
            raise ValueError(f"must name hours as 09:30-16:00 America/New_York, has {text!r}")
        *clock, zone = match.groups()
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"must name a time zone such as America/New_York, has {zone!r}") from None
        hour, minute, last_hour, last_minute = map(int, clock)
        return cls(60 * hour + minute, 60 * last_hour + last_minute, zone)


@cache
def edge_slots(hours: Hours, day: int) -> Array:
    """Return the slots of a UTC day on either side of an opening or a close, bool, shape ``(SLOTS,)``.

    Parameters
    ----------
    hours
        Of the venue.
    day
        Days since the epoch.

    Examples
    --------
    >>> new_york = Hours.parsed("09:30-16:00 America/New_York")
    >>> for date in (dt.date(2013, 10, 7), dt.date(2013, 12, 2)):
    ...     slots = np.flatnonzero(edge_slots(new_york, (date - _EPOCH).days))
    ...     print([f"{at // 12:02d}:{5 * (at % 12):02d}" for at in slots.tolist()])
    ['13:25', '13:30', '19:55', '20:00']
    ['14:25', '14:30', '20:55', '21:00']
    """
    found = np.zeros(SLOTS, bool)
    zone = ZoneInfo(hours.zone)
    for number in (day - 1, day, day + 1):
        date = _EPOCH + dt.timedelta(days=number)
        for minutes in (hours.opens, hours.closes):
            time = dt.datetime.combine(date, dt.time(minutes // 60, minutes % 60), zone)
            at = round(time.timestamp()) * SECOND
            for slot in {(at - 1) // SLOT, at // SLOT}:
                if slot // SLOTS == day:
                    found[slot % SLOTS] = True
    return found


class OfficialHours:
    """The official hours of each instrument of a shard, and its first UTC day.

    Parameters
    ----------
    datasets
        Patterns of datasets by the hours of these.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, datasets: Mapping[str, Sequence[str]], resume: dict[str, Any] | None = None) -> None:
        self._hours: dict[int, Hours] = {}
        for text, patterns in datasets.items():
            for number in publishers_of(tuple(patterns)):
                self._hours.setdefault(number, Hours.parsed(text))
        self._publisher = np.zeros(0, np.int64) if resume is None else resume["publisher"].copy()
        self._first = np.zeros(0, np.int64) if resume is None else resume["first"].copy()

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {"publisher": self._publisher.copy(), "first": self._first.copy()}

    def at_first_edges(self, segments: Segments, begin: Int64s, reached: Int64s) -> Int64s:
        """Return which stretches of trades are at an edge of the hours of their instrument's first day.

        Parameters
        ----------
        segments
            Trades.
        begin
            First trade of each stretch; none goes on into another slot.
        reached
            Each instrument's clock, int64 ns, shape ``(n,)``.
        """
        self._meet(segments, reached)
        row = segments.rows[np.searchsorted(segments.starts, begin, "right") - 1]
        day, slot = np.divmod(reached[begin] // SLOT, SLOTS)
        publisher, first = self._publisher[row], day == self._first[row]
        edge = np.zeros(len(begin), bool)
        for number in np.unique(publisher[first]).tolist():
            if number in self._hours:
                mine = first & (publisher == number)
                for today in np.unique(day[mine]).tolist():
                    some = mine & (day == today)
                    edge[some] = edge_slots(self._hours[number], today)[slot[some]]
        return np.flatnonzero(edge)

    def _meet(self, segments: Segments, reached: Int64s) -> None:
        rows, starts = segments.rows, segments.starts
        self._publisher = grown(self._publisher, int(rows.max(initial=-1)) + 1, _NOBODY)
        self._first = grown(self._first, len(self._publisher), _NOBODY)
        for i in np.flatnonzero(self._first[rows] == _NOBODY).tolist():
            self._first[rows[i]] = reached[starts[i]] // DAY
            self._publisher[rows[i]] = segments.items[int(starts[i])]["publisher_id"]
