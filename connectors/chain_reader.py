"""The records of a chain in the order of time, in pieces, from any position on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from threading import Lock

import numpy as np

from connectors.chain import Chain, Records, TapeFile, open_records
from connectors.position import Position
from connectors.read_ahead import ReadAhead
from connectors.validity import valid
from tapewatch.errors import DamagedError, UserError
from tapewatch.records import LATEST, Array, Block
from tapewatch.surveys import Survey, survey
from tapewatch.symbology import Symbols

#: Files from this size on (as they lie on disk) are decoded in a thread of their own.
_WORTH_A_THREAD = 1 << 19


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive records of a chain; see `Block`.

    ``clean`` says that all are known to be fit, ``survey`` what else is known of them.
    """

    records: Array
    times: Array
    codes: Array | None
    names: tuple[str, ...]
    clean: bool = False
    survey: Survey | None = None


class _Surveying:
    """The survey of a block, made once, by whichever thread comes to it first: the reading one or the flow's.

    So that neither waits for the other while there is something to be done.
    """

    def __init__(self, block: Block) -> None:
        self._block: Block | None = block
        self._survey: Survey | None = None
        self._making = Lock()

    def prepare(self) -> None:
        """Make it, unless the other thread does."""
        if self._making.acquire(blocking=False):
            self._make()

    def get(self) -> Survey | None:
        """Return it, made now if it is not yet."""
        self._making.acquire()
        return self._make()

    def _make(self) -> Survey | None:
        try:
            if self._block is not None:
                self._survey = survey(self._block.records, self._block.times)
                self._block = None
            return self._survey
        finally:
            self._making.release()


@dataclass(frozen=True, slots=True)
class _Checked:
    """A block, which of its records are fit (None: all), and the survey of one in which all are."""

    block: Block
    fit: Array | None
    survey: _Surveying | None

    def prepare(self) -> None:
        """Do what can be done before the block is taken."""
        if self.survey is not None:
            self.survey.prepare()


@dataclass(slots=True)
class _Cursor:
    """One open file and what of its current block has not been taken."""

    order: int
    file: TapeFile
    records: Records
    position: Position
    blocks: Iterator[_Checked] = field(init=False)
    block: Block | None = None
    at: int = 0
    before: int = 0
    fit: Array | None = None
    survey: _Surveying | None = None
    _run: Array | None = None

    def __post_init__(self) -> None:
        blocks = self.records.blocks(self.position.offset)
        # Symbols of a live capture must not be learned before the records that stand before them.
        ahead = self.records.size >= _WORTH_A_THREAD and self.file.header.schema != "mixed"
        checked = _checked(blocks, surveyed=ahead)
        self.blocks = ReadAhead(checked, _Checked.prepare) if ahead else checked
        if not self.position.clock and self.file.first_time < LATEST:
            # Unfit records before the first fit one belong beside it, not before all other files.
            self.position.clock = self.file.first_time

    def close(self) -> None:
        if isinstance(self.blocks, ReadAhead):
            self.blocks.close()
        self.records.close()

    def left(self) -> int:
        return 0 if self.block is None else len(self.block.records) - self.at

    @property
    def run(self) -> Array:
        """Latest event time of the file up to each record of the block, int64 ns."""
        if self._run is None and self.block is not None:
            # What is unfit must not hold up the files beside it, nor the pace.
            times = self.block.times if self.fit is None else np.where(self.fit, self.block.times, 0)
            self._run = np.maximum(np.maximum.accumulate(times.astype(np.int64)), self.before)
        return self._run  # type: ignore[return-value]

    def show(self, checked: _Checked, at: int) -> None:
        """Go on to a block, of which ``at`` records have been taken before."""
        self.block, self.fit, self.survey = checked.block, checked.fit, checked.survey
        self.at, self._run, self.before = at, None, self.position.clock

    def last(self) -> int:
        """Latest event time of the block, or of the file before it."""
        if self.block is None:
            return self.position.clock
        if self.fit is None and len(self.block.times):
            return max(int(self.block.times.max()), self.before)
        return int(self.run[-1]) if len(self.block.times) else self.before

    def take(self, count: int) -> Piece:
        assert self.block is not None  # noqa: S101 - callers look at `left` first
        block, part = self.block, slice(self.at, self.at + count)
        whole = self.at + count == len(block.records)
        self.position.clock = self.last() if whole else int(self.run[part][-1])
        self.at += count
        self.position.taken += count
        codes = None if block.codes is None else block.codes[part]
        known = None
        if self.survey is not None and count == len(block.records):
            known = self.survey.get()
        return Piece(block.records[part], block.times[part], codes, block.names, self.fit is None, known)


def _checked(blocks: Iterator[Block], *, surveyed: bool = False) -> Iterator[_Checked]:
    for block in blocks:
        fit = valid(block.records, block.times)[0]
        known = surveyed and fit is None and block.codes is None and len(block.records)
        yield _Checked(block, fit, _Surveying(block) if known else None)


class ChainReader:
    """Reads a chain from saved positions on.

    Parameters
    ----------
    chain
        The files.
    positions
        What `positions` was when the run before ended; empty at first.
    block_records
        Records per piece, at most (merged files may give up to as many each).
    on_damage
        Called with the error of a damaged file once its whole records were delivered; returns whether to go
        on with the next file (the damaged one then counts as read) or to end here.
    passed_over
        Called with counts by reason of records that are no trades.
    """

    def __init__(
        self,
        chain: Chain,
        positions: dict[str, Position],
        block_records: int,
        on_damage: Callable[[UserError], bool],
        passed_over: Callable[[dict[str, int]], None],
    ) -> None:
        self.positions = positions
        self.symbols: Symbols = chain.symbols
        self._block_records = block_records
        self._on_damage, self._passed_over = on_damage, passed_over
        self._waiting = list(reversed(list(enumerate(chain.files))))
        self._active: list[_Cursor] = []
        self._consumed = 0
        self._ended = False

    @property
    def consumed(self) -> int:
        """Bytes of all files read so far, as they lie on disk."""
        return self._consumed + sum(cursor.records.consumed for cursor in self._active)

    def close(self) -> None:
        """Close all files."""
        for cursor in self._active:
            cursor.close()
        self._active.clear()

    def next(self, limit: int = LATEST) -> Piece | None:
        """Return the next records whose time is at most ``limit`` (ns); None at the end of the chain.

        An empty piece means that there is nothing up to ``limit`` yet.
        """
        while True:
            self._advance()
            if self._ended or not self._active:
                return None
            if len(self._active) == 1:
                cursor = self._active[0]
                count = cursor.left()
                if limit < LATEST:
                    count = int(np.searchsorted(cursor.run[cursor.at :], limit, "right"))
                return cursor.take(count) if count else _EMPTY
            piece = self._merged(limit)
            if piece is not None:
                return piece

    def _advance(self) -> None:
        """Load blocks where none is left, and open every file that begins before the open ones end."""
        for cursor in list(self._active):
            if not cursor.left():
                self._load(cursor)
        while (
            self._waiting
            and not self._ended
            and (not self._active or self._waiting[-1][1].first_time <= min(c.last() for c in self._active))
        ):
            order, file = self._waiting.pop()
            position = self.positions.setdefault(file.name, Position())
            try:
                position.check(file.path)
                size = file.path.stat().st_size
                if position.size == size:
                    self._consumed += size
                    continue
                records = open_records(file.path, self._block_records)
            except OSError as error:
                self._ended = not self._on_damage(
                    DamagedError(f"cannot read {file.path} any more: {error.strerror}")
                )
                continue
            except UserError as error:
                self._ended = not self._on_damage(error)
                continue
            cursor = _Cursor(order, file, records, position)
            if file.header.schema == "mixed":
                # Symbols of a live capture come among its records: the reader's own table is the one to ask.
                self.symbols = cursor.records.header.symbols
            self._active.append(cursor)
            self._load(cursor, drop=position.taken)

    def _load(self, cursor: _Cursor, drop: int = 0) -> None:
        """Go on to the file's next block that has records, or let go of the file at its end."""
        while True:
            if cursor.block is not None:
                self._passed_over(cursor.block.passed_over)
                cursor.position.offset, cursor.position.taken = cursor.block.end, 0
            try:
                found = next(cursor.blocks, None)
            except UserError as error:
                self._ended = not self._on_damage(error)
                found = None
            if found is None:
                if not self._ended:
                    cursor.position.size = cursor.records.size
                cursor.close()
                self._consumed += cursor.records.consumed
                self._active.remove(cursor)
                return
            cursor.show(found, min(drop, len(found.block.records)))
            drop -= cursor.at
            cursor.position.taken = cursor.at
            if cursor.left():
                return

    def _merged(self, limit: int) -> Piece | None:
        """Return the open files' records up to the time all of them have reached, in the order of time."""
        until = min(min(cursor.last() for cursor in self._active), limit + 1)
        takes = [(c, int(np.searchsorted(c.run[c.at :], until, "left"))) for c in self._active]
        takes = [(c, n) for c, n in takes if n]
        if not takes:
            if until > limit:
                return _EMPTY
            # All begin at the very time at which one's block ends: that time's records, file by file.
            first = min(self._active, key=lambda c: (int(c.run[c.at]), c.order))
            return first.take(int(np.searchsorted(first.run[first.at :], until, "right")))
        takes.sort(key=lambda pair: pair[0].order)
        runs = [c.run[c.at : c.at + n] for c, n in takes]
        return _concatenate([c.take(n) for c, n in takes], np.argsort(np.concatenate(runs), kind="stable"))


_EMPTY = Piece(np.empty(0), np.empty(0, np.uint64), None, ())


def _concatenate(pieces: list[Piece], order: Array) -> Piece:
    names: dict[str, int] = {}
    codes: Array | None = None
    if any(piece.codes is not None for piece in pieces):
        parts = []
        for piece in pieces:
            own = piece.names or tuple(str(i) for i in np.unique(piece.records["instrument_id"]))
            renumbered = np.array([names.setdefault(name, len(names)) for name in own], np.intp)
            if piece.codes is None:
                parts.append(renumbered[np.unique(piece.records["instrument_id"], return_inverse=True)[1]])
            else:
                parts.append(renumbered[piece.codes])
        codes = np.concatenate(parts)[order]
    return Piece(
        np.concatenate([piece.records for piece in pieces])[order],
        np.concatenate([piece.times for piece in pieces])[order],
        codes,
        tuple(names),
        all(piece.clean for piece in pieces),
    )
