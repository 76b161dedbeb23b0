"""Faults: what a record, its number or its source shows to be wrong, a part of ``feed_integrity``.

Records that the source knows to be lost (`tapewatch.records.Gap`) and runs of records that did not pass
validation are told by the instrument's next record. So are times that go backwards, a book that is locked or
crossed at a trade, and what a publisher says itself in the flags of a record; but these only as long as they
are rare for the instrument, at most one in a thousand of its records: where it is usual it means nothing.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from operators.breaks import Breaks
from operators.detector import Detector, Explanation, Logic, Scores, Segments, amount, grown
from operators.ordered import bits
from operators.scale import Scale
from operators.silence import seconds
from tapewatch.records import BAD_TS_RECV, CROSSED, LOCKED, MAYBE_BAD_BOOK, MINUTE, SECOND, Array, Int64s

#: A fault is rare while no more than one in this many records had it, and not before as many are known.
_RARE = 1_000
#: Records are counted in windows of as many; the one that is going on and the one before it count.
_WINDOW = 8_192
#: The kinds in the order in which they are told, the first two by counts.
PARTS = ("lost_records", "unusable_records", "clock", "book", "publisher")
_LOST, _UNUSABLE, _CLOCK, _BOOK, _PUBLISHER = range(5)
_COUNTED = 2
_EVENT, _RECEIVED = 0, 1
#: No instrument has as many windows.
_MOST_WINDOWS = 2**40
_NOTHING = np.zeros(0, np.int64)
_DOUBTS = BAD_TS_RECV | MAYBE_BAD_BOOK


class Faults(Detector):
    """Lost and unusable records, time that runs backwards, locked and crossed books."""

    name: ClassVar[str] = "feed_integrity"
    part: ClassVar[str] = "faults"
    ordinal: ClassVar[int] = 1
    reads: ClassVar[Literal["bars", "records", "severities"]] = "records"
    # What is told is told by rule; the calibration only adds runs that are long for the instrument.
    scale: ClassVar[Scale] = Scale(lowest=0, octaves=8, shape=0.3, spread=0.5, prior_peaks=25, warm_up=400)
    share: ClassVar[float] = 0.1
    unit: ClassVar[str] = "faults"

    backwards_ms: float = 1000.0
    unusable_records: int = 10

    @property
    def gap_ns(self) -> int:
        """Faults of one instrument within a minute of each other are one episode."""
        return MINUTE

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic."""
        return _FaultsLogic(self, resume)


class _FaultsLogic:
    """Of each instrument: its last times, how many records it had, and how many had each kind of fault."""

    def __init__(self, settings: Faults, resume: dict[str, Any] | None) -> None:
        self._backwards_ns = round(settings.backwards_ms * 1e6)
        self._unusable = settings.unusable_records
        #: Event time and receive time of the last record, ns; 0 where there was none.
        self._times = np.zeros((0, 2), np.int64)
        self._seen = np.zeros(0, np.int64)
        #: Faults of each kind that is not counted by itself, in the window going on and the one before it.
        self._windows = np.zeros((0, len(PARTS) - _COUNTED, 2), np.int64)
        if resume is not None:
            self._times, self._seen, self._windows = (
                resume[name].copy() for name in ("times", "seen", "windows")
            )

    def snapshot(self) -> dict[str, Any]:
        return {"times": self._times.copy(), "seen": self._seen.copy(), "windows": self._windows.copy()}

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        rows, starts, records = segments.rows, segments.starts, segments.items
        count = int(rows.max(initial=-1)) + 1
        self._times, self._seen = grown(self._times, count), grown(self._seen, count)
        self._windows = grown(self._windows, count)
        event = np.ascontiguousarray(records["ts_event"]).view(np.int64)
        late, back = self._back(event, segments)
        books = doubts = _NOTHING
        if bits(records, "depth"):
            books = np.flatnonzero(np.isin(records["depth"], (LOCKED, CROSSED)))
        if bits(records, "flags") & _DOUBTS:
            doubts = np.flatnonzero(records["flags"] & _DOUBTS)
        wrong = [late, books, doubts]
        rare = [self._rare(at, kind, segments, learn=learn) for kind, at in enumerate(wrong)]
        if learn:
            self._times[rows, _EVENT] = event[starts[1:] - 1]
            self._times[rows, _RECEIVED] = segments.times[starts[1:] - 1]
            self._seen[rows] += np.diff(starts)
        breaks = segments.breaks
        at = np.unique(np.concatenate([*rare, _NOTHING if breaks is None else breaks.at]))
        parts = np.zeros((len(PARTS), len(at)), np.int64)
        for kind, places in enumerate(rare):
            parts[_COUNTED + kind, np.searchsorted(at, places)] = 1
        since, told = event[at], np.zeros(len(at), bool)
        if breaks is not None:
            place = np.searchsorted(at, breaks.at)
            parts[_LOST, place], parts[_UNUSABLE, place] = breaks.lost, breaks.unfit
            told[place] = breaks.told
            parts[_LOST, told] = np.maximum(parts[_LOST, told], 1)
            began = breaks.told | (breaks.unfit > 0)
            since[place[began]] = np.minimum(breaks.since, since[place])[began]
        kept = np.searchsorted(at, starts)
        judged = Segments(rows, kept, records[at], segments.times[at], segments.names)
        forced = told | (parts[_UNUSABLE] >= self._unusable) | parts[_COUNTED:].any(axis=0)
        score = parts.sum(axis=0).astype(np.float64)
        by = np.zeros(len(at), np.int64)
        by[np.searchsorted(at, rare[0])] = back[np.searchsorted(late, rare[0])]
        details = {"parts": parts, "back": by, "known": _known(at, breaks)}
        return Scores(score, forced, details, judged, at, since, _severity(score))

    def _back(self, event: Int64s, segments: Segments) -> tuple[Int64s, Int64s]:
        """Return the records that are earlier than the ones before them, and by how much, ns."""
        starts = segments.starts
        places, amounts = [], []
        for kind, times in ((_EVENT, event), (_RECEIVED, segments.times)):
            if kind == _RECEIVED and segments.reached is times:
                continue  # their instruments' clocks only went forwards
            step = np.diff(times)
            step[starts[1:-1] - 1] = 0
            within = np.flatnonzero(step <= -self._backwards_ns)
            ahead = self._times[segments.rows, kind] - times[starts[:-1]]
            first = np.flatnonzero(ahead >= self._backwards_ns)
            places += [within + 1, starts[first]]
            amounts += [-step[within], ahead[first]]
        late, inverse = np.unique(np.concatenate(places), return_inverse=True)
        back = np.zeros(len(late), np.int64)
        np.maximum.at(back, inverse, np.concatenate(amounts))
        return late, back

    def _rare(self, at: Int64s, kind: int, segments: Segments, *, learn: bool) -> Int64s:
        """Return those of some faulty records whose instrument hardly ever had such a fault before."""
        rows, starts = segments.rows, segments.starts
        seen, windows = self._seen[rows], self._windows[rows, kind]
        if not len(at) and not windows.any():
            return at
        segment = np.searchsorted(starts, at, "right") - 1
        ordinal = seen[segment] + at - starts[segment]
        place = segment * _MOST_WINDOWS + ordinal // _WINDOW

        def faults(segment: Int64s, window: Int64s) -> Int64s:
            """Return how many an instrument has in one of its windows, those of this batch among them."""
            wanted = segment * _MOST_WINDOWS + window
            behind = seen[segment] // _WINDOW - window
            known = np.where((behind == 0) | (behind == 1), windows[segment, np.clip(behind, 0, 1)], 0)
            total: Int64s = known + np.searchsorted(place, wanted, "right") - np.searchsorted(place, wanted)
            return total

        window = ordinal // _WINDOW
        later = np.searchsorted(place, place, "right") - np.arange(len(at))
        before = faults(segment, window) - later + faults(segment, window - 1)
        records = ordinal - np.maximum(window - 1, 0) * _WINDOW
        if learn:
            every = np.arange(len(rows))
            last = (seen + np.diff(starts)) // _WINDOW
            counts = np.stack([faults(every, last), faults(every, last - 1)], axis=1)
            self._windows[rows, kind] = counts
        rare: Int64s = at[(ordinal >= _RARE) & (before * _RARE <= records)]
        return rare

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        parts = scores.details["parts"][:, index]
        total = int(parts.sum())
        shares = {name: float(part / total) for name, part in zip(PARTS, parts, strict=True) if part}
        strongest = int(parts.argmax())
        lasted = 0.0 if scores.since is None else (int(item["ts_event"]) - int(scores.since[index])) / SECOND
        if strongest == _LOST and scores.details["known"][index]:
            found = f"{amount(total)} records were lost, as their numbers show, in {seconds(lasted)} before"
        elif strongest == _LOST:
            found = f"The feed was interrupted and records were lost in {seconds(lasted)} before"
        elif strongest == _UNUSABLE:
            found = f"{amount(int(parts[_UNUSABLE]))} unusable records of {key} in a row were left out before"
        elif strongest == _CLOCK:
            back = int(scores.details["back"][index]) / SECOND
            found = f"The clock of {key} goes back by {seconds(back)} with"
        elif strongest == _BOOK:
            book = "crossed" if item["depth"] == CROSSED else "locked"
            found = f"The book of {key} is {book}, which it hardly ever is, at"
        else:
            found = f"The publisher doubts the book or the time of {key} at"
        others = [PARTS[i].replace("_", " ") for i in np.flatnonzero(parts) if i != strongest]
        more = f"; also: {', '.join(others)}" if others else ""
        price = int(item["price"]) / 1e9
        reason = f"{found} the trade of {amount(int(item['size']))} {key} at {price:g}{more}"
        return Explanation(float(total), 0.0, shares, reason, threshold=1.0)


def _known(at: Int64s, breaks: Breaks | None) -> Array:
    """Return of which records it is known how many were lost before them."""
    known = np.zeros(len(at), bool)
    if breaks is not None:
        known[np.searchsorted(at, breaks.at)] = breaks.lost > 0
    return known


def _severity(records: Array) -> Array:
    """Return 50 for one record, 75 for a hundred, 87.5 for ten thousand.

    >>> _severity(np.array([1.0, 100.0, 10_000.0])).tolist()
    [50.0, 75.0, 87.5]
    """
    return 100.0 - 50.0 * np.exp2(-np.log10(np.maximum(records, 1.0)) / 2)
