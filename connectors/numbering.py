"""What a source knows to be missing: gaps in the sequence numbers, and records that are not fit to be judged.

``sequence`` counts different things: on one tape a publisher's records, on another each instrument's, on
most all messages of a channel, of which a tape has a part. So numbers are believed as far as they prove
themselves: of the steps so far, a thousand or more, no more than one in a thousand may not have been one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapewatch.records import DAY, Array, Gap, Int64s
from tapewatch.surveys import Survey
from tapewatch.symbology import Symbols

#: Steps of one before numbers are believed, and how many there must be for each other step.
_PROOF = 1_000
#: Numbers of which, after as many steps, one in twenty was no step of one are not looked at again.
_TRIAL, _MOST_OTHERS = 10_000, 20
#: The instrument of which a gap is told is the busiest of as many records of its publisher before it.
_LATELY = 16_384
#: A step beyond this is a new numbering, not a loss.
_LARGEST_LOSS = 10_000_000


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Records of one batch before validation.

    Attributes
    ----------
    records
        ``TRADE`` records, shape ``(n,)``.
    times
        Event time of each, 64-bit ns, shape ``(n,)``.
    before
        Latest event time of the batches before.
    fit
        Which records passed validation, None if all did.
    symbols, codes, names, survey
        As in `tapewatch.records.Tape`.
    """

    records: Array
    times: Array
    before: int
    fit: Array | None
    symbols: Symbols
    codes: NDArray[np.intp] | None
    names: tuple[str, ...]
    survey: Survey | None = None

    @property
    def clock(self) -> Int64s:
        """Latest event time of a fit record up to each, int64 ns, shape ``(n,)``."""
        times = self.times if self.fit is None else np.where(self.fit, self.times, 0)
        clock: Int64s = np.maximum(np.maximum.accumulate(times.astype(np.int64)), self.before)
        return clock

    def keys(self, at: Int64s) -> list[str]:
        """Return the keys of some records."""
        if not len(at):
            return []
        if self.codes is not None:
            return [self.names[code] for code in self.codes[at].tolist()]
        ids, days = self.records["instrument_id"][at].tolist(), (self.clock[at] // DAY).tolist()
        return [self.symbols.key(number, day) for number, day in zip(ids, days, strict=True)]

    def among_fit(self, at: Int64s) -> Int64s:
        """Return the index of the first fit record at or behind each place, among the fit ones."""
        if self.fit is None:
            return at
        behind = np.concatenate([[0], np.cumsum(self.fit)])
        places: Int64s = behind[at].astype(np.int64)
        return places


def unfit(batch: Unchecked) -> dict[str, Int64s]:
    """Return the places of the unfit records by key; see `tapewatch.records.Tape`."""
    if batch.fit is None:
        return {}
    at = np.flatnonzero(~batch.fit)
    places = batch.among_fit(at)
    by_key: dict[str, list[int]] = {}
    for key, place in zip(batch.keys(at), places.tolist(), strict=True):
        by_key.setdefault(key, []).append(place)
    return {key: np.array(found, np.int64) for key, found in by_key.items()}


@dataclass(slots=True)
class _Evidence:
    """Steps of one, and others, as far as they were looked at."""

    ones: int = 0
    others: int = 0
    hopeless: bool = False

    @property
    def enough(self) -> bool:
        return self.ones >= _PROOF and self.others * _PROOF <= self.ones

    def add(self, one: Array) -> Array:
        """Learn steps; return before which of them the numbers were believed."""
        if self.hopeless or not len(one):
            return np.zeros(len(one), bool)
        if self.others * _MOST_OTHERS <= self.ones and one.all():
            return self._add_ones(len(one))
        ones = self.ones + np.cumsum(one)
        others = self.others + np.cumsum(~one)
        before, others_before = ones - one, others - ~one
        believed: Array = (before >= _PROOF) & (others_before * _PROOF <= before)
        gone = np.flatnonzero((ones + others >= _TRIAL) & (others * _MOST_OTHERS > ones))
        if len(gone):
            believed[gone[0] + 1 :] = False
            self.hopeless = True
        self.ones, self.others = int(ones[-1]), int(others[-1])
        return believed

    def _add_ones(self, count: int) -> Array:
        """Do what `add` does with steps of one alone, which make no numbers hopeless."""
        believed = np.zeros(count, bool)
        believed[max(max(self.others, 1) * _PROOF - self.ones, 0) :] = True
        self.ones += count
        return believed


@dataclass(slots=True)
class _Publisher:
    """One publisher's numbers: its last one, those of its instruments, and who traded lately."""

    last: int = -1
    own: _Evidence = field(default_factory=_Evidence)
    each: _Evidence = field(default_factory=_Evidence)
    last_of: dict[int, int] = field(default_factory=dict)
    lately: Int64s = field(default_factory=lambda: np.zeros(0, np.int64))


class Numbering:
    """Follows the sequence numbers of one source partition.

    Parameters
    ----------
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, resume: dict[str, Any] | None = None) -> None:
        self._publishers: dict[int, _Publisher] = {}
        #: Numbers of the symbols of tapes whose records carry them, below 0; ids stand for themselves.
        self._numbers: dict[str, int] = {}
        if resume is not None:
            self._numbers = {name: -1 - i for i, name in enumerate(resume["names"])}
            for number, saved in resume["publishers"].items():
                self._publishers[number] = _Publisher(
                    saved["last"],
                    _Evidence(*saved["own"]),
                    _Evidence(*saved["each"]),
                    dict(saved["last_of"]),
                    saved["lately"].copy(),
                )

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        publishers = {
            number: {
                "last": p.last,
                "own": (p.own.ones, p.own.others, p.own.hopeless),
                "each": (p.each.ones, p.each.others, p.each.hopeless),
                "last_of": dict(p.last_of),
                "lately": p.lately.copy(),
            }
            for number, p in self._publishers.items()
        }
        return {"names": tuple(self._numbers), "publishers": publishers}

    def gaps(self, batch: Unchecked) -> tuple[Gap, ...]:
        """Return the gaps that the numbers of a batch show, in their order; learn the numbers."""
        publisher = batch.records["publisher_id"]
        if not len(publisher) or self._as_expected(publisher, batch):
            return ()
        found: list[tuple[int, int, str, bool]] = []
        if (publisher == publisher[0]).all():
            found = self._of(int(publisher[0]), np.arange(len(publisher)), batch)
        else:
            for number in np.unique(publisher):
                found += self._of(int(number), np.flatnonzero(publisher == number), batch)
        if not found:
            return ()
        found.sort()
        at = np.array([place for place, *_ in found], np.int64)
        clock = batch.clock
        since = np.where(at > 0, clock[at - 1], batch.before)
        return tuple(
            Gap(place, time, lost, key, alone)
            for place, time, (_, lost, key, alone) in zip(
                batch.among_fit(at).tolist(), since.tolist(), found, strict=True
            )
        )

    def _as_expected(self, publisher: Array, batch: Unchecked) -> bool:
        """Learn a batch of one publisher that is believed and goes on by ones; return whether it is that."""
        known = self._publishers.get(int(publisher[0]))
        if known is None or not (known.own.enough or (known.own.hopeless and known.each.hopeless)):
            return False
        survey = batch.survey
        if not (publisher == publisher[0]).all() if survey is None else survey.publisher is None:
            return False
        if known.own.hopeless:
            return True
        sequence = batch.records["sequence"]
        if int(sequence[0]) != known.last + 1:
            return False
        if not (np.diff(np.ascontiguousarray(sequence)) == 1).all() if survey is None else not survey.by_ones:
            return False
        known.own.ones += len(sequence)
        known.last = int(sequence[-1])
        known.lately = self._lately(known, np.arange(max(len(sequence) - _LATELY, 0), len(sequence)), batch)
        return True

    def _of(self, number: int, at: Int64s, batch: Unchecked) -> list[tuple[int, int, str, bool]]:
        """Return of one publisher's gaps: place, records lost, key, and whether only that one lost any."""
        known = self._publishers.setdefault(number, _Publisher())
        if known.own.hopeless and known.each.hopeless:
            return []
        sequence = batch.records["sequence"][at].astype(np.int64)
        if known.last < 0:
            at_steps, steps = at[1:], np.diff(sequence)
        else:
            at_steps, steps = at, np.diff(sequence, prepend=known.last)
        known.last = int(sequence[-1])
        found: list[tuple[int, int, str, bool]] = []
        one = steps == 1
        if known.own.enough and one.all():
            known.own.ones += len(one)
        else:
            believed = known.own.add(one)
            for step in np.flatnonzero(believed & _is_loss(steps)).tolist():
                place = int(at_steps[step])
                key = self._busiest(known, at[: np.searchsorted(at, place)], place, batch)
                found.append((place, int(steps[step]) - 1, key, False))
            doubted = np.concatenate([at[: len(at) - len(steps)], at_steps[~believed]])
            found += self._of_each(known, doubted, batch)
        known.lately = np.zeros(0, np.int64) if known.own.hopeless else self._lately(known, at, batch)
        return found

    def _of_each(self, known: _Publisher, at: Int64s, batch: Unchecked) -> list[tuple[int, int, str, bool]]:
        """Return the same of numbers that count each instrument's records."""
        if known.each.hopeless or not len(at):
            return []
        ids, sequence = batch.records["instrument_id"][at], batch.records["sequence"][at].astype(np.int64)
        order = np.argsort(ids, kind="stable")
        ids, sequence = ids[order], sequence[order]
        first = np.concatenate([[True], ids[1:] != ids[:-1]])
        steps = np.diff(sequence, prepend=0)
        has_step = np.ones(len(at), bool)
        for i in np.flatnonzero(first).tolist():
            last = known.last_of.get(int(ids[i]))
            has_step[i] = last is not None
            steps[i] = sequence[i] - (last or 0)
        ends = np.concatenate([np.flatnonzero(first)[1:], [len(at)]]) - 1
        known.last_of.update(zip(ids[ends].tolist(), sequence[ends].tolist(), strict=True))
        back = np.argsort(order)
        steps, has_step = steps[back], has_step[back]
        at, steps = at[has_step], steps[has_step]
        believed = known.each.add(steps == 1)
        if known.each.hopeless:
            known.last_of = {}
        losses = np.flatnonzero(believed & _is_loss(steps))
        keys = batch.keys(at[losses])
        return [
            (place, lost, key, True)
            for place, lost, key in zip(at[losses].tolist(), (steps[losses] - 1).tolist(), keys, strict=True)
        ]

    def _lately(self, known: _Publisher, at: Int64s, batch: Unchecked) -> Int64s:
        """Return who the publisher's last records were of, ``at`` being its records of this batch."""
        new = at[-_LATELY:]
        if batch.codes is None:
            who = batch.records["instrument_id"][new].astype(np.int64)
        else:
            numbers = [self._numbers.setdefault(name, -1 - len(self._numbers)) for name in batch.names]
            who = np.array(numbers, np.int64)[batch.codes[new]]
        return np.concatenate([known.lately, who])[-_LATELY:]

    def _busiest(self, known: _Publisher, before: Int64s, place: int, batch: Unchecked) -> str:
        """Return the key with the most of the publisher's last records, of equal ones the first by name."""
        who, counts = np.unique(self._lately(known, before, batch), return_counts=True)
        most = who[counts == counts.max()].tolist()
        names = tuple(self._numbers)
        day = int(batch.clock[place]) // DAY
        return min(names[-1 - number] if number < 0 else batch.symbols.key(number, day) for number in most)


def _is_loss(steps: Int64s) -> Array:
    return (steps > 1) & (steps <= _LARGEST_LOSS)
