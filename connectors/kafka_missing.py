"""What of a tape is missing, told with its messages: each instrument's next record bears a mark.

A source tells of a gap once, for all its instruments. Those of a topic are spread over partitions, in which
the numbers of records prove nothing; so whoever publishes a tape finds its gaps and marks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from connectors.kafka_headers import Form
from connectors.kafka_messages import Mark
from connectors.kafka_parts import Part
from connectors.numbering import Numbering, Unchecked
from tapewatch.records import Array, Gap


class GapMarks:
    """Finds the gaps of one tape of trades, and the records that bear their marks.

    Parameters
    ----------
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, resume: dict[str, Any] | None = None) -> None:
        self._numbering = Numbering(None if resume is None else resume["numbering"])
        self._met: set[str] = set()
        self._waiting: dict[str, list[Mark]] = {}
        self._clock = 0
        if resume is not None:
            self._met, self._clock = set(resume["met"]), resume["clock"]
            self._waiting = {key: list(marks) for key, marks in resume["waiting"].items()}

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "numbering": self._numbering.snapshot(),
            "met": tuple(sorted(self._met)),
            "waiting": {key: tuple(marks) for key, marks in self._waiting.items()},
            "clock": self._clock,
        }

    def marks(
        self, batch: Unchecked, codes: Array, keys: Sequence[str], *, interrupted: bool = False
    ) -> dict[int, list[Mark]]:
        """Return the marks of the next batch of the tape, by the places of records.

        Parameters
        ----------
        batch
            The records; what it says of the time before is not looked at.
        codes, keys
            ``keys[codes[i]]`` is the instrument of record ``i``.
        interrupted
            Whether the tape was interrupted before the batch, so that nobody knows what is missing.
        """
        batch = Unchecked(
            batch.records, batch.times, self._clock, batch.fit, batch.symbols, batch.codes, batch.names
        )
        fit = np.arange(len(batch.records)) if batch.fit is None else np.flatnonzero(batch.fit)
        if not len(fit):
            self._numbering.gaps(batch)
            return {}
        found: dict[int, list[Mark]] = {}
        rows_of: dict[str, Array] = {}

        def rows(key: str) -> Array:
            if key not in rows_of:
                code = keys.index(key) if key in keys else -1
                rows_of[key] = fit[codes[fit] == code]
            return rows_of[key]

        for key in [key for key in self._waiting if len(rows(key))]:
            found.setdefault(int(rows(key)[0]), []).extend(self._waiting.pop(key))
        gaps = self._numbering.gaps(batch)
        if interrupted:
            gaps = (Gap(0, self._clock, 0, keys[codes[fit[0]]]), *gaps)
        for gap in gaps:
            place = int(fit[gap.at]) if gap.at < len(fit) else len(batch.records)
            before = {keys[code] for code in np.unique(codes[fit[: gap.at]]).tolist()}
            for key in {gap.key} if gap.alone else self._met | before | {gap.key}:
                mark = (gap.since, gap.lost if key == gap.key else 0, key == gap.key)
                behind = rows(key)[np.searchsorted(rows(key), place) :]
                if len(behind):
                    found.setdefault(int(behind[0]), []).append(mark)
                else:
                    self._waiting.setdefault(key, []).append(mark)
        self._met |= {keys[code] for code in np.unique(codes[fit]).tolist()}
        self._clock = int(batch.clock[-1])
        return found


def gaps_of(part: Part, forms: Sequence[Form], marked: Sequence[int], batch: Unchecked) -> tuple[Gap, ...]:
    """Return the gaps that messages bear.

    Parameters
    ----------
    part
        The records of one dataset.
    forms, marked
        What the headers of all messages say, and the places of those that speak of gaps.
    batch
        The same records.
    """
    found = []
    for message in marked:
        first, behind = np.searchsorted(part.places, (message, message + 1)).tolist()
        for place, since, lost, told in forms[message].gaps:
            row = first + place
            if row < behind:
                (key,) = batch.keys(np.array([row]))
                at = int(batch.among_fit(np.array([row]))[0])
                found.append(Gap(at, since, lost, key, alone=True, told=told))
    return tuple(sorted(found, key=lambda gap: gap.at))
