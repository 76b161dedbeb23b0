"""Chains of files: which files make one tape.

All files of one dataset are one chain, so an instrument's records are never split between two states. Files
that follow each other are read one after the other; where they overlap in time they are merged by it, so
the order in which they are named changes nothing.
"""

from __future__ import annotations

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from connectors.dbn_records import DbnRecords
from connectors.validity import valid
from tapewatch.errors import DamagedError, UserError
from tapewatch.log import log
from tapewatch.records import LATEST, Block, Header, Kind
from tapewatch.symbology import Symbols

EXTENSIONS = (".dbn", ".dbn.zst", ".csv", ".csv.zst", ".json", ".json.zst", ".jsonl", ".jsonl.zst")


class Records(Protocol):
    """What each encoding's reader offers."""

    @property
    def header(self) -> Header:
        """What the file says of itself."""

    @property
    def size(self) -> int:
        """Compressed bytes of the file when it was opened."""

    @property
    def consumed(self) -> int:
        """Compressed bytes read so far."""

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield blocks from decompressed byte ``start`` on."""

    def close(self) -> None:
        """Close the file."""


@dataclass(frozen=True, slots=True)
class TapeFile:
    """One file of a chain; ``name`` tells it from the others in the recovery state."""

    path: Path
    name: str
    header: Header
    first_time: int


@dataclass(frozen=True, slots=True)
class Chain:
    """Files that make one tape, in the order of (first record's time, name)."""

    name: str
    kind: Kind
    dataset: str
    width_ns: int
    symbols: Symbols
    files: tuple[TapeFile, ...]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.path.stat().st_size for file in self.files)


def find(
    patterns: Sequence[str], setting: str = "source.paths", extensions: tuple[str, ...] = EXTENSIONS,
    example: str = "day.trades.dbn.zst",
) -> list[Path]:  # fmt: skip
    """Return the files that paths and globs name, each once.

    Parameters
    ----------
    patterns
        Paths and globs.
    setting, extensions, example
        Where they come from, how names may end, and one that does.

    Raises
    ------
    UserError
        If a path does not exist or is no file, a glob matches nothing, or an extension is not ours.
    """
    if not patterns:
        raise UserError(
            f"`{setting}` is empty; name the files to read, e.g. "
            f"TAPEWATCH_{setting.upper().replace('.', '__')}='[\"{example}\"]'"
        )
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        names = [path] if path.exists() or not glob.has_magic(pattern) else _matches(pattern, setting)
        for name in names:
            if not name.exists():
                raise UserError(f"`{setting}` names {name}, which does not exist")
            if not name.is_file():
                raise UserError(
                    f"`{setting}` names {name}, which is no file; to read a folder write "
                    f"{name}/*{extensions[1]}"
                )
            if not name.name.endswith(extensions):
                raise UserError(
                    f"`{setting}` names {name}; a file must end in one of {', '.join(extensions)}"
                )
            found[name.resolve()] = None
    return sorted(found)


def _matches(pattern: str, setting: str) -> list[Path]:
    names = [Path(name) for name in glob.glob(pattern, recursive=True)]  # noqa: PTH207 - absolute patterns too
    files = [name for name in names if name.is_file()]
    if not files:
        raise UserError(f"`{setting}` has {pattern!r}, which matches no file")
    return files


def open_records(path: Path, block_records: int) -> Records:
    """Open a file with the reader its name asks for.

    Raises
    ------
    UserError
        If its header cannot be read.
    """
    name = path.name.removesuffix(".zst")
    if name.endswith(".dbn"):
        return DbnRecords(path, block_records)
    # Imported where they are needed: most runs read DBN, and should start sooner.
    if name.endswith(".csv"):
        from connectors.csv_records import CsvRecords

        return CsvRecords(path)
    from connectors.json_records import JsonRecords

    return JsonRecords(path)


def plan(paths: Sequence[Path], *, skip_damaged: bool) -> list[Chain]:
    """Return the chains that the files make.

    Parameters
    ----------
    paths
        Files, in any order.
    skip_damaged
        Log and leave out a file whose header cannot be read, instead of refusing it.

    Raises
    ------
    UserError
        If a header cannot be read, or one dataset comes both as trades and as bars, or in bars of two widths.
    """
    by_dataset: dict[str, list[TapeFile]] = {}
    names: dict[str, int] = {}
    for path in sorted(paths):
        try:
            file = _look(path)
        except UserError as error:
            if not skip_damaged:
                raise
            log.error("%s; nothing was read from it", error)
            continue
        # Two files of one name in different folders are told apart in the order of their paths.
        names[file.name] = again = names.get(file.name, 0) + 1
        if again > 1:
            file = TapeFile(file.path, f"{file.name}#{again}", file.header, file.first_time)
        by_dataset.setdefault(file.header.dataset, []).append(file)
    return [_chain(dataset, files) for dataset, files in sorted(by_dataset.items())]


def _look(path: Path) -> TapeFile:
    records = open_records(path, 256)
    try:
        first = LATEST
        try:
            for block in records.blocks():
                mask, _ = valid(block.records, block.times)
                times = block.times if mask is None else block.times[mask]
                if len(times):
                    first = int(times[0])
                    break
        except DamagedError:
            pass  # said when the chain is read
        return TapeFile(path, path.name, records.header, first)
    finally:
        records.close()


def _chain(dataset: str, files: list[TapeFile]) -> Chain:
    files.sort(key=lambda file: (file.first_time, file.name))
    first = files[0].header
    symbols = Symbols()
    for file in files:
        if (file.header.kind, file.header.width_ns) != (first.kind, first.width_ns):
            raise UserError(
                f"{files[0].path} ({first.schema}) and {file.path} ({file.header.schema}) tell of the same "
                f"dataset{' ' + dataset if dataset else ''} in two ways; give trades, or bars of one width"
            )
        symbols.merge(file.header.symbols)
    return Chain(dataset or "tape", first.kind, dataset, first.width_ns, symbols, tuple(files))
