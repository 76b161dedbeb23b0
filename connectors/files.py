"""Files as a Bytewax source: one partition per chain, position in the recovery state."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.chain import Chain, find, plan
from connectors.chain_reader import ChainReader, Piece
from connectors.numbering import Numbering, Unchecked, unfit
from connectors.position import Position
from connectors.validity import valid
from tapewatch import stopping
from tapewatch.credit import Credit
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.progress import Bar
from tapewatch.records import LATEST, TRADE, Array, Gap, Int64s, Tape
from tapewatch.settings import SourceSettings

_STATE_VERSION = 3
#: Batches under way between a source and the slowest sink.
_BATCHES_UNDER_WAY = 2
_NAP = timedelta(milliseconds=1)
_NOTHING = Piece(np.empty(0, TRADE), np.empty(0, np.uint64), None, (), clean=True)


@dataclass(slots=True)
class _State:
    """What of a chain is in the recovery store."""

    clock: int = 0
    first: int = -1
    files: dict[str, Position] = field(default_factory=dict)
    counters: dict[str, int] = field(default_factory=dict)
    numbering: Numbering = field(default_factory=Numbering)

    def dump(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "clock": self.clock,
            "first": self.first,
            "files": {name: asdict(position) for name, position in self.files.items()},
            "counters": dict(self.counters),
            "numbering": self.numbering.snapshot(),
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> _State:
        files = {name: Position(**position) for name, position in saved["files"].items()}
        numbering = Numbering(saved["numbering"])
        return cls(saved["clock"], saved["first"], files, dict(saved["counters"]), numbering)


class FilesPartition(StatefulSourcePartition[Tape, dict[str, Any]]):
    """Reads one chain, as fast as the results follow or at a multiple of the market's pace."""

    def __init__(
        self, chain: Chain, settings: SourceSettings, slots: int, resume: dict[str, Any] | None
    ) -> None:
        self._chain, self._settings = chain, settings
        self._state = _State() if resume is None else _State.load(resume)
        self._credit = Credit(slots, _BATCHES_UNDER_WAY)
        self._seq = 0
        self._reader = ChainReader(
            chain, self._state.files, settings.batch_records, self._on_damage, self._count
        )
        self._bar = Bar(chain.name, chain.size)
        self._told: dict[str, int] | None = None
        self._begun: tuple[float, int] | None = None
        self._awake: datetime | None = None

    def _count(self, counts: dict[str, int]) -> None:
        totals = self._state.counters
        for name, number in counts.items():
            totals[name] = totals.get(name, 0) + number

    def _on_damage(self, error: UserError) -> bool:
        if self._settings.on_error == "fail":
            stopping.fail(str(error))
            return False
        log.error("%s; what was whole has been read", error)
        self._count({"damaged_files": 1})
        return True

    def _limit(self) -> int:
        """Return the event time up to which records may go out now."""
        speed = self._settings.speed
        if speed == "max":
            return LATEST
        now = time.monotonic()
        if self._begun is None:
            self._begun = (now, max(self._state.clock, self._chain.files[0].first_time))
        return self._begun[1] + int((now - self._begun[0]) * speed * 1e9)

    def next_batch(self) -> list[Tape]:
        """Return the next batch; none while the results are behind or the market has not moved."""
        self._awake = None
        if stopping.stopping():
            raise StopIteration
        if not self._credit.free(self._seq):
            self._awake = datetime.now(UTC) + _NAP
            return []
        piece = self._reader.next(self._limit())
        if piece is None:
            if self._told != self._state.counters:
                # What was counted behind the last record: damage, records of other schemas.
                return [self._tape(_NOTHING)]
            self._bar.update(self._state.counters.get("records", 0), self._reader.consumed, last=True)
            raise StopIteration
        if not len(piece.records):
            self._awake = datetime.now(UTC) + 10 * _NAP
            return []
        return [self._tape(piece)]

    def _tape(self, piece: Piece) -> Tape:
        records, times, codes = piece.records, piece.times, piece.codes
        self._count({"records": len(records)})
        mask, reasons = (None, {}) if piece.clean else valid(records, times)
        missing = self._missing(piece, mask)
        if mask is not None:
            self._count(reasons)
            records, times = records[mask], times[mask]
            codes = None if codes is None else codes[mask]
        state = self._state
        if len(times):
            latest = int(times.max()) if piece.survey is None else piece.survey.latest
            state.clock = max(state.clock, latest + self._chain.width_ns)
        self._told = dict(state.counters)
        tape = Tape(
            partition=self._chain.name,
            seq=self._seq,
            kind=self._chain.kind,
            dataset=self._chain.dataset,
            records=records,
            times=times.view("i8"),
            symbols=self._reader.symbols,
            clock=state.clock,
            codes=codes,
            names=piece.names,
            width_ns=self._chain.width_ns,
            counters=self._told,
            credit=self._credit.path,
            gaps=missing[0],
            unfit=missing[1],
            survey=piece.survey,
        )
        self._seq += 1
        self._bar.update(state.counters["records"], self._reader.consumed)
        return tape

    def _missing(self, piece: Piece, fit: Array | None) -> tuple[tuple[Gap, ...], dict[str, Int64s]]:
        """Return what the numbers show to be missing, and what is not fit to be judged."""
        if self._chain.kind != "trades" or not len(piece.records):
            return (), {}
        batch = Unchecked(
            piece.records,
            piece.times,
            self._state.clock,
            fit,
            self._reader.symbols,
            piece.codes,
            piece.names,
            piece.survey,
        )
        return self._state.numbering.gaps(batch), unfit(batch)

    def next_awake(self) -> datetime | None:
        """Return when to ask again after an empty batch."""
        return self._awake

    def snapshot(self) -> dict[str, Any]:
        """Return the position, and note that what came before the last snapshot has been dealt with."""
        self._credit.settle(self._seq - 1)
        return self._state.dump()

    def close(self) -> None:
        """Close the files and the progress bar."""
        self._reader.close()
        self._credit.close()
        self._bar.close()


class FilesSource(FixedPartitionedSource[Tape, dict[str, Any]]):
    """All files of ``source.paths``, one partition per chain.

    Parameters
    ----------
    settings
        The section ``source``.
    slots
        How many consumers acknowledge each batch.

    Raises
    ------
    UserError
        If a file cannot be read as what its name says it is.
    """

    def __init__(self, settings: SourceSettings, slots: int) -> None:
        self._settings, self._slots = settings, slots
        chains = plan(find(settings.paths), skip_damaged=settings.on_error == "skip")
        self._chains = {chain.name: chain for chain in chains}

    @property
    def chains(self) -> list[Chain]:
        """What is going to be read."""
        return list(self._chains.values())

    def list_parts(self) -> list[str]:
        """Return the names of the chains."""
        return list(self._chains)

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> FilesPartition:
        """Open one chain where it was left."""
        if resume_state is not None:
            stopping.refuse_other_versions(resume_state.get("version"), _STATE_VERSION)
        return FilesPartition(self._chains[for_part], self._settings, self._slots, resume_state)
