"""Parts of a batch of messages: the records of one dataset, and what could not be read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from tapewatch.records import Array, Int64s, Kind


class Dataset(NamedTuple):
    """What tells the tapes of one partition apart; ``width_ns`` is 0 for trades."""

    name: str
    kind: Kind
    width_ns: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that cannot be read, by its place among those given."""

    place: int
    error: str


@dataclass(slots=True)
class Part:
    """Records of one dataset in the order of their messages, not yet validated.

    Attributes
    ----------
    records, times, codes
        As `Block` has them; the codes are those of `Names`.
    places
        Place of each record's message among those given, int64, shape ``(n,)``.
    passed_over
        Records read and not delivered, counted by reason.
    """

    records: Array
    times: Array
    codes: Array
    places: Int64s
    passed_over: dict[str, int] = field(default_factory=dict)


class Names:
    """Symbols in the order in which they were met; the place of each is its code.

    >>> names = Names()
    >>> names.code("SPY"), names.code("QQQ"), names.code("SPY"), names.known
    (0, 1, 0, ('SPY', 'QQQ'))
    """

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._known: tuple[str, ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """All symbols; the same object as long as none is new."""
        if len(self._known) < len(self._codes):
            self._known = tuple(self._codes)
        return self._known

    def find(self, name: str) -> int:
        """Return the code of a symbol, -1 if it has not been met."""
        return self._codes.get(name, -1)

    def code(self, name: str) -> int:
        """Return the code of a symbol."""
        return self._codes.setdefault(name, len(self._codes))

    def codes_of_ids(self, ids: Array) -> Array:
        """Return the codes of instruments without symbols, whose keys are their ids in digits."""
        found, places = np.unique(ids, return_inverse=True)
        return np.array([self.code(str(number)) for number in found.tolist()], np.intp)[places]


def joined(parts: list[Part]) -> Part:
    """Return the records of several parts in the order of their messages."""
    if len(parts) == 1:
        return parts[0]
    places = np.concatenate([part.places for part in parts])
    order = np.argsort(places, kind="stable")
    passed: dict[str, int] = {}
    for part in parts:
        for name, number in part.passed_over.items():
            passed[name] = passed.get(name, 0) + number
    records, times, codes = (
        np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("records", "times", "codes")
    )
    return Part(records, times, codes, places[order], passed)
