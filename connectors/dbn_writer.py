"""Writes trades as a DBN file, all at once or at the pace at which they happened."""

from __future__ import annotations

import datetime as dt
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from io import BufferedWriter
from pathlib import Path
from typing import IO

import databento_dbn
import numpy as np
import zstandard
from databento_dbn.metadata import MappingInterval

from connectors.whole_file import written_whole
from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR, Array, Int64s

#: The dataset that simulated tapes bear; no real one has this name.
DATASET = "XSIM.TAPE"
EXTENSIONS = (".dbn", ".dbn.zst")
_DBN_VERSION = 3
_EPOCH = dt.date(1970, 1, 1)
#: Seconds between two writes of a paced file: short enough to look continuous to who follows it.
_TICK_SECONDS = 0.1


@dataclass(slots=True)
class _Interval:
    start_date: dt.date
    end_date: dt.date
    symbol: str


@dataclass(slots=True)
class _Mapping:
    raw_symbol: str
    intervals: Sequence[MappingInterval]


def check_path(path: Path) -> None:
    """Refuse a path that no DBN file can be written to, before any work is done.

    Raises
    ------
    UserError
        If the name has another extension, or its directory is none or cannot be written to.
    """
    if not path.name.endswith(EXTENSIONS):
        raise UserError(f"{path} must end in {' or '.join(EXTENSIONS)}")
    if path.is_dir():
        raise UserError(f"cannot write {path}: it is a directory")
    if not path.parent.is_dir():
        raise UserError(f"cannot write {path}: there is no directory {path.parent}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UserError(f"cannot write {path}: the directory {path.parent} is not writable")


def write_dbn(
    path: Path,
    records: Array,
    symbols: Mapping[int, str],
    *,
    dataset: str = DATASET,
    speed: float | None = None,
) -> None:
    """Write trades as DBN 3 (schema ``trades``), compressed if the name ends in ``.zst``.

    Parameters
    ----------
    path
        The file, ``.dbn`` or ``.dbn.zst``. It appears under its name when it is whole; a paced one grows
        there.
    records
        ``TRADE`` records, shape ``(n,)``, in the order of ``ts_recv``.
    symbols
        Raw symbol of each instrument id; mapped on every UTC date of the records.
    dataset
        Dataset code, at most 16 characters.
    speed
        Write the records at this many times the pace at which they happened, flushed as it goes; a stretch
        of over an hour without a record (a night) passes at once. None: as fast as it goes.

    Raises
    ------
    UserError
        If the file cannot be written.
    """
    check_path(path)
    header = metadata(records, symbols, dataset).encode()
    with (
        written_whole(path, grows=speed is not None) as target,
        target.open("wb") as raw,
        _encoded(raw, path) as file,
    ):
        file.write(header)
        for chunk in (records,) if speed is None else paced(records, speed):
            file.write(chunk.tobytes())
            if speed is not None:
                # This ends a block of zstd: whoever follows the file can decode all that came before.
                file.flush()


def metadata(records: Array, symbols: Mapping[int, str], dataset: str = DATASET) -> databento_dbn.Metadata:
    """Return the header of a file with these trades."""
    times = records["ts_recv"].astype(np.int64)
    days = [_EPOCH + dt.timedelta(days=int(day)) for day in np.unique(times // DAY)]
    mappings = [
        _Mapping(symbol, [_Interval(day, day + dt.timedelta(days=1), str(instrument_id)) for day in days])
        for instrument_id, symbol in symbols.items()
    ]
    return databento_dbn.Metadata(
        version=_DBN_VERSION,
        dataset=dataset,
        schema=databento_dbn.Schema.from_str("trades"),
        start=int(times[0]) if len(times) else 0,
        end=int(times[-1]) + 1 if len(times) else 0,
        stype_in=databento_dbn.SType.from_str("raw_symbol"),
        stype_out=databento_dbn.SType.from_str("instrument_id"),
        symbols=list(symbols.values()),
        mappings=mappings,
    )


def paced(records: Array, speed: float) -> Iterator[Array]:
    """Yield the records in pieces, each when its time has come, ``speed`` times faster than they happened."""
    due = _seconds_from_start(records["ts_recv"].astype(np.int64)) / speed
    begin = time.monotonic()
    sent = 0
    while sent < len(records):
        upto = int(np.searchsorted(due, time.monotonic() - begin, side="right"))
        if upto > sent:
            yield records[sent:upto]
            sent = upto
        if sent < len(records):
            time.sleep(max(_TICK_SECONDS, min(1.0, due[sent] - (time.monotonic() - begin))))


def _seconds_from_start(times: Int64s) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    steps = np.diff(times, prepend=times[:1])
    steps[steps > HOUR] = 0
    return np.cumsum(steps) / 1e9


def _encoded(raw: BufferedWriter, path: Path) -> AbstractContextManager[IO[bytes]]:
    if path.name.endswith(".zst"):
        compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        return compressor.stream_writer(raw, closefd=False)
    return nullcontext(raw)
