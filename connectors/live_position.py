"""How far a live tape has been read, and what of a new session was read before.

A gateway replays from a time on, not from a record. It is asked for what was a little earlier than the
latest record, and what was read before is skipped by its place: of each instrument (and publisher) everything
before its last time, and as many records of that very time as had come. Records are never compared with each
other, as tapes hold identical ones. The order between instruments may differ from one session to the next.

It makes no difference whether the gateway selects by ``ts_event``, as Databento's does, or by ``ts_recv``.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapewatch.records import DAY, EARLIEST, LATEST, SECOND, Array, Int64s

#: A gateway that selects by ``ts_event`` must be asked for what happened before the last record was received:
#: trades are reported up to ten seconds after they happened.
REPLAYED_NS = 15 * SECOND


def latest_possible() -> int:
    """Return the latest time that a record of a live tape can have, ns: a day ahead of the clock."""
    return min(time.time_ns() + DAY, LATEST)


@dataclass(slots=True)
class LivePosition:
    """What has been read of a live tape.

    Attributes
    ----------
    begun
        Time from which the first session told, ns; 0 before it.
    latest
        Latest time, ns, that is neither after a record's event nor after its receipt; 0 if there is none.
    keys
        Instruments with records in the last half minute, uint64, sorted, shape ``(k,)``.
    last, equal
        Time of each one's last record, int64 ns, and how many records had that time, int64.

    Examples
    --------
    >>> position, key = LivePosition(), np.array([7, 7, 7], np.uint64)
    >>> second = EARLIEST + np.array([0, SECOND, SECOND], np.uint64)
    >>> position.advance(key, second, second)
    >>> replay = position.replay()
    >>> replay.fresh(np.array([7, 7, 7, 7], np.uint64), np.append(second, second[-1:])).tolist()
    [False, False, False, True]
    """

    begun: int = 0
    latest: int = 0
    keys: Array = field(default_factory=lambda: np.zeros(0, np.uint64))
    last: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))
    equal: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def start(self) -> int | None:
        """Time to replay from, ns; None if there was no session yet."""
        return self.latest - REPLAYED_NS if self.latest else (self.begun or None)

    def begin(self, time_ns: int) -> None:
        """Note when the first session began, to go on from there if it brings nothing."""
        if not self.begun and EARLIEST <= time_ns <= latest_possible():
            self.begun = time_ns

    def replay(self) -> Replay | None:
        """Return what tells old from new in a session that begins at `start`."""
        return Replay(self) if self.latest else None

    def advance(self, keys: Array, times: Array, events: Array) -> None:
        """Note that these records, in the order of the tape, have been read.

        Parameters
        ----------
        keys, times, events
            As `connectors.live_decoder.Run` has them.
        """
        possible = _possible(times)
        if not possible.all():
            keys, times, events = keys[possible], times[possible], events[possible]
        if not len(keys):
            return
        both = np.minimum(times, events)
        self.latest = max(self.latest, int(both.max()))
        found, of = np.unique(keys, return_inverse=True)
        signed = times.astype(np.int64)
        last = np.zeros(len(found), np.int64)
        np.maximum.at(last, of, signed)
        equal = np.bincount(of[signed == last[of]], minlength=len(found))
        self._merge(found, last, equal)

    def _merge(self, keys: Array, last: Int64s, equal: Int64s) -> None:
        place, known = _places(self.keys, keys)
        if len(self.keys):
            before = np.where(known, self.last[place], 0)
            added = np.where(known, self.equal[place], 0)
            equal = np.where(last == before, equal + added, np.where(last > before, equal, added))
            last = np.maximum(last, before)
        others = np.ones(len(self.keys), bool)
        others[place[known]] = False
        # What was so long ago is not replayed.
        others &= self.last >= self.latest - 2 * REPLAYED_NS
        keys = np.concatenate([self.keys[others], keys])
        order = np.argsort(keys)
        self.keys = keys[order]
        self.last = np.concatenate([self.last[others], last])[order]
        self.equal = np.concatenate([self.equal[others], equal])[order]

    def dump(self) -> dict[str, Any]:
        """Return what `load` takes back."""
        return {
            "begun": self.begun,
            "latest": self.latest,
            "keys": self.keys.copy(),
            "last": self.last.copy(),
            "equal": self.equal.copy(),
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> LivePosition:
        """Return a position that was saved."""
        arrays = (saved[name].copy() for name in ("keys", "last", "equal"))
        return cls(saved["begun"], saved["latest"], *arrays)


class Replay:
    """Tells the records of a new session that have been read before from those that have not.

    Attributes
    ----------
    over
        Whether all that comes is new.
    missed
        Whether the session began behind what had been read, so that records may be missing; None before its
        first record.
    """

    def __init__(self, position: LivePosition) -> None:
        self._keys, self._last = position.keys, position.last
        self._left = position.equal.copy()
        self._floor = position.latest - 2 * REPLAYED_NS
        self._end = int(position.last.max(initial=position.latest)) + REPLAYED_NS
        self.over = False
        self.missed: bool | None = None

    def fresh(self, keys: Array, times: Array) -> Array:
        """Return which of the session's next records have not been read before, bool, shape ``(n,)``."""
        if self.over or not len(keys):
            return np.ones(len(keys), bool)
        possible = _possible(times)
        signed = np.where(possible, times, 0).astype(np.int64)
        place, known = _places(self._keys, keys)
        last = np.where(known, self._last[place], self._floor) if len(self._keys) else self._floor
        seen = signed < last
        ties = np.flatnonzero(known & (signed == last))
        if len(ties):
            seen[ties] = self._counted(place[ties])
        # What has no time to go by stands where it stood: before one that was read, or behind all of them.
        behind = np.flatnonzero(seen & possible)
        seen[~possible] = np.flatnonzero(~possible) < (behind[-1] if len(behind) else 0)
        if possible.any():
            if self.missed is None:
                self.missed = not bool(seen[possible.argmax()])
            self.over = int(signed[possible].min()) > self._end
        return ~seen

    def _counted(self, place: Array) -> Array:
        """Return which records with the last time of their instrument are among those that had come."""
        order = np.argsort(place, kind="stable")
        ordered = place[order]
        rank = np.empty(len(place), np.int64)
        rank[order] = np.arange(len(place)) - np.searchsorted(ordered, ordered)
        seen = rank < self._left[place]
        np.subtract.at(self._left, place, 1)
        return seen


def _possible(times: Array) -> Array:
    return (times >= EARLIEST) & (times <= latest_possible())


def _places(keys: Array, wanted: Array) -> tuple[Array, Array]:
    """Return the place of each wanted key among sorted keys, and whether it is there."""
    if not len(keys):
        return np.zeros(len(wanted), np.intp), np.zeros(len(wanted), bool)
    place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return place, keys[place] == wanted
