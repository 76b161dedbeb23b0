"""Minute bars of instruments for studies: from tapes, bars in files, or simulated sessions, split in time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from connectors.chain import open_records
from connectors.market_simulator import MarketSimulation, simulate
from models.tapes import tapes_of_files, tapes_of_session
from models.training_data import TRAINED, bars_of, parquet_bars
from tapewatch.errors import UserError
from tapewatch.records import Array, Tape

#: Of long series the last so many bars are taken, as in training.
MOST_BARS = 20_000
#: Fewer bars than this tell nothing.
_FEWEST = 300


@dataclass(frozen=True, slots=True)
class Series:
    """Minute bars of one instrument, dtype `tapewatch.documents.BAR`; those from ``cut`` on are for tests."""

    name: str
    bars: Array
    cut: int

    @property
    def number(self) -> int:
        """A number made of the name, for seeds."""
        return zlib.crc32(self.name.encode())


def series_of_files(
    paths: Sequence[Path], most: int = MOST_BARS, trained: float = TRAINED
) -> Iterator[Series]:
    """Yield the series in files that the market flow reads, and in ``.parquet`` of one instrument each.

    The last ``1 - trained`` of a series, or of its last `MOST_BARS`, are for tests.

    Raises
    ------
    UserError
        For a file that cannot be read, or if there are too few bars in all of them.
    """
    some = False
    for name, bars in _all(paths):
        kept = bars[-most:].copy()
        if len(kept) < _FEWEST:
            continue
        kept["row"] = 0
        some = True
        yield Series(name, kept, len(kept) - round((1 - trained) * min(len(kept), MOST_BARS)))
    if not some:
        raise UserError(f"no instrument of `--data` has {_FEWEST} one-minute bars or more")


def _all(paths: Sequence[Path]) -> Iterator[tuple[str, Array]]:
    for path in paths:
        if path.suffix == ".parquet":
            yield path.name, parquet_bars(path)
    # What tells of one dataset in two ways is no contradiction here.
    tapes = sorted((_kind(path), path) for path in paths if path.suffix != ".parquet")
    for _, some in groupby(tapes, key=lambda pair: pair[0]):
        chains = tapes_of_files([path for _, path in some])
        for name, chain in groupby(chains, key=lambda tape: tape.partition):
            yield from _by_instrument(name, chain)


def _kind(path: Path) -> tuple[str, int]:
    records = open_records(path, 1)
    try:
        return records.header.kind, records.header.width_ns
    finally:
        records.close()


def simulated_series(
    seed: int, symbols: int = 10, days: int = 4, trained: float = TRAINED
) -> Iterator[Series]:
    """Yield the series of a simulated session without anomalies."""
    session = simulate(MarketSimulation(symbols=symbols, minutes=390 * days, seed=seed, anomalies=()))
    for name, bars in _by_instrument(f"simulated {seed}", tapes_of_session(session)):
        yield Series(name, bars, int(trained * len(bars)))


def _by_instrument(name: str, tapes: Iterator[Tape]) -> Iterator[tuple[str, Array]]:
    bars = bars_of(tapes)
    for row in np.unique(bars["row"]).tolist():
        mine = bars[bars["row"] == row].copy()
        mine["row"] = 0
        yield f"{name} #{row + 1}", mine
