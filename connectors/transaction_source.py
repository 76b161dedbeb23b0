"""Files of transactions as a Bytewax source: one partition, read in the order of the files' first times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.chain import find
from connectors.position import Position
from connectors.transaction_columns import Parsed
from connectors.transaction_files import EXTENSIONS, Block, blocks
from connectors.transaction_reviews import ReviewSources
from tapewatch import stopping
from tapewatch.credit import Credit
from tapewatch.errors import DamagedError, UserError
from tapewatch.log import log
from tapewatch.progress import Bar
from tapewatch.pseudonyms import pseudonyms_of
from tapewatch.settings import Settings, TransactionSettings
from tapewatch.transactions import Transactions

_STATE_VERSION = 2
_BATCHES_UNDER_WAY = 2
_NAP = timedelta(milliseconds=1)
PARTITION = "transactions"
#: Faulty rows of a file that are told one by one.
_TOLD = 5


class TransactionFiles(StatefulSourcePartition[Transactions, dict[str, Any]]):
    """Reads the files one after the other, as fast as the results follow."""

    def __init__(
        self, files: Sequence[Path], reviews: ReviewSources, settings: TransactionSettings, slots: int,
        resume: dict[str, Any] | None,
    ) -> None:  # fmt: skip
        saved = resume or {"files": {}, "counters": {}, "clock": 0, "reviews": None}
        self._files, self._settings, self._reviews = files, settings, reviews.feed(saved["reviews"])
        self._positions = {name: Position(**position) for name, position in saved["files"].items()}
        self._counters: dict[str, int] = dict(saved["counters"])
        self._seq, self._clock = 0, saved["clock"]
        self._credit = Credit(slots, _BATCHES_UNDER_WAY)
        self._awake: datetime | None = None
        self._bar = Bar(PARTITION, sum(file.stat().st_size for file in files))
        self._pseudonyms = pseudonyms_of(settings)
        self._parts = self._read()

    def _read(self) -> Iterator[Parsed]:
        source = self._settings.source
        names: dict[str, int] = {}
        for path in self._files:
            names[path.name] = names.get(path.name, 0) + 1
            name = path.name if names[path.name] == 1 else f"{path.name}#{names[path.name]}"
            position = self._positions.setdefault(name, Position())
            try:
                position.check(path)
                size = path.stat().st_size
                if position.size == size:
                    continue
                for part in self._of_file(path, position):
                    yield part
                    if stopping.stopping():
                        return
                position.size = size
            except UserError as error:
                if source.on_error == "fail":
                    stopping.fail(str(error))
                    return
                log.error("%s; what was whole has been read", error)
                self._count("damaged_files", 1)
                position.size = path.stat().st_size

    def _of_file(self, path: Path, position: Position) -> Iterator[Parsed]:
        """Yield what is left of a file, in parts of ``batch_records``; with ``sort`` in the order of time."""
        rows, columns = self._settings.source.batch_records, self._settings.columns
        if not self._settings.source.sort:
            for block in blocks(path, position.offset, rows, columns):
                fresh = position.taken == 0
                if fresh:
                    self._faults(path, block)
                parsed = block.parsed
                for at in range(position.taken, len(parsed.ids), rows):
                    part = parsed.part(np.arange(at, min(at + rows, len(parsed.ids))))
                    position.taken = at + len(part.ids)
                    if position.taken >= len(parsed.ids):
                        position.offset, position.taken = block.end, 0
                    yield part
                if not parsed.ids:
                    position.offset, position.taken = block.end, 0
            return
        every = []
        for block in blocks(path, 0, 65_536, columns):
            if position.taken == 0:
                self._faults(path, block)
            every.append(block.parsed)
        if not every:
            return
        whole = Parsed.together(every)
        order = np.argsort(whole.times, kind="stable")
        for at in range(position.taken, len(order), rows):
            part = whole.part(order[at : at + rows])
            position.taken = at + len(part.ids)
            yield part

    def _faults(self, path: Path, block: Block) -> None:
        if not block.parsed.faults:
            return
        row, reason = block.parsed.faults[0]
        if self._settings.source.on_error == "fail":
            raise DamagedError(
                f'{path}, row {block.first_line + row}: {reason}; `transactions.source.on_error = "skip"` '
                "leaves such rows out"
            )
        told = self._counters.get("bad_rows", 0)
        for row, reason in block.parsed.faults[: max(_TOLD - told, 0)]:
            log.error("%s, row %d: %s; left out", path, block.first_line + row, reason)
        self._count("bad_rows", len(block.parsed.faults))

    def _count(self, name: str, number: int) -> None:
        self._counters[name] = self._counters.get(name, 0) + number

    def next_batch(self) -> list[Transactions]:
        """Return the next batch; none while the results are behind."""
        self._awake = None
        if stopping.stopping():
            raise StopIteration
        if not self._credit.free(self._seq):
            self._awake = datetime.now(UTC) + _NAP
            return []
        part = next(self._parts, None)
        if part is None:
            raise StopIteration
        return [self._batch(part)] if len(part.ids) else []

    def _batch(self, part: Parsed) -> Transactions:
        self._count("records", len(part.ids))
        before = self._clock
        self._clock = max(before, int(part.times.max()))
        users = part.users if self._pseudonyms is None else self._pseudonyms.all_of(part.users)
        batch = Transactions(
            PARTITION, self._seq, part.ids, users, part.times, part.amounts, part.words, part.numbers,
            self._reviews.take(before, self._clock), dict(self._counters),
            self._credit.path, before,
        )  # fmt: skip
        self._seq += 1
        self._bar.update(self._counters["records"], 0)
        return batch

    def next_awake(self) -> datetime | None:
        """Return when to ask again after an empty batch."""
        return self._awake

    def snapshot(self) -> dict[str, Any]:
        """Return the position, and note that what came before the last snapshot has been dealt with."""
        self._credit.settle(self._seq - 1)
        return {
            "version": _STATE_VERSION, "clock": self._clock, "reviews": self._reviews.snapshot(),
            "files": {name: asdict(position) for name, position in self._positions.items()},
            "counters": dict(self._counters), "sort": self._settings.source.sort,
        }  # fmt: skip

    def close(self) -> None:
        """Remove the account, and leave the progress bar on the screen."""
        self._credit.close()
        self._bar.close()


class TransactionFilesSource(FixedPartitionedSource[Transactions, dict[str, Any]]):
    """All files of ``transactions.source.paths``.

    Parameters
    ----------
    settings
        All of them; the section ``transactions`` says what is read.
    slots
        How many consumers acknowledge each batch.

    Raises
    ------
    UserError
        If a file cannot be read as what its name says it is.
    """

    def __init__(self, settings: Settings, slots: int) -> None:
        self._settings, self._slots = settings.transactions, slots
        pseudonyms_of(self._settings)
        self._reviews = ReviewSources(settings)
        times: dict[Path, int] = {}
        for path in find(
            self._settings.source.paths, "transactions.source.paths", EXTENSIONS, "payments.csv"
        ):
            try:
                first = next(blocks(path, 0, 64, self._settings.columns), None)
            except UserError as error:
                if self._settings.source.on_error == "fail":
                    raise
                log.error("%s; nothing was read from it", error)
                continue
            known = first is not None and len(first.parsed.times) > 0
            times[path] = int(first.parsed.times.min()) if known and first is not None else 0
        self._files = sorted(times, key=lambda path: (times[path], path.name, str(path)))

    def list_parts(self) -> list[str]:
        """Return the one partition's name."""
        return [PARTITION]

    def build_part(
        self, step_id: str, for_part: str, resume_state: dict[str, Any] | None
    ) -> TransactionFiles:
        """Go on where the run before left off."""
        if resume_state is not None:
            stopping.refuse_other_versions(resume_state.get("version"), _STATE_VERSION)
            wanted = self._settings.source.sort
            if resume_state.get("sort", wanted) != wanted:
                # Positions in the other order mean other rows.
                stopping.abort("`transactions.source.sort` is not that of the recovery store; set it back", 2)
        return TransactionFiles(self._files, self._reviews, self._settings, self._slots, resume_state)
