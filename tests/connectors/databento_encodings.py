"""What the tests of the text encodings share: Databento's own writer and reader to compare with."""

from __future__ import annotations

import datetime as dt
import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Protocol

import databento_dbn as dbn
import numpy as np
import pytest

from tapewatch.errors import DamagedError
from tapewatch.records import OHLCV, TRADE, Array, Block, Header

#: Schemas that hold trades or bars.
SCHEMAS = (
    "trades",
    "tbbo",
    "mbp-1",
    "mbp-10",
    "mbo",
    "cmbp-1",
    "ohlcv-1s",
    "ohlcv-1m",
    "ohlcv-1h",
    "ohlcv-1d",
)
_DAYS = (dt.date(1970, 1, 1), dt.date(1970, 3, 1))


class Reader(Protocol):
    """A reader of one file."""

    header: Header

    def blocks(self, start: int = 0) -> Iterator[Block]: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Read:
    """All that a reader gave."""

    records: Array
    times: Array
    names: list[str] | None
    ends: list[int]
    passed_over: int
    damage: str | None


def read_all(reader: Reader, start: int = 0) -> Read:
    """Read to the end or the damage."""
    blocks: list[Block] = []
    damage = None
    try:
        for block in reader.blocks(start):
            blocks.append(block)
            assert block.codes is None or (
                block.codes.dtype == np.intp and len(block.codes) == len(block.records)
            )
            assert len(block.times) == len(block.records)
            assert block.times.dtype == np.uint64
    except DamagedError as error:
        damage = str(error)
    finally:
        reader.close()
    empty = np.empty(0, TRADE if reader.header.kind == "trades" else OHLCV)
    names = [block.names[code] for block in blocks if block.codes is not None for code in block.codes]
    return Read(
        np.concatenate([empty, *(block.records for block in blocks)]),
        np.concatenate([np.empty(0, np.uint64), *(block.times for block in blocks)]),
        names or None,
        [block.end for block in blocks],
        sum(block.passed_over.get("not_a_trade", 0) for block in blocks),
        damage,
    )


def encode_dbn(
    raw: bytes,
    encoding: str,
    *,
    pretty_px: bool,
    pretty_ts: bool,
    symbols: dict[int, str] | None = None,
    days: tuple[dt.date, dt.date] = _DAYS,
) -> bytes:
    """Return a DBN file's bytes as Databento writes them in another encoding; symbols hold on some days."""
    out = io.BytesIO()
    transcoder = dbn.Transcoder(
        out,
        dbn.Encoding(encoding),
        dbn.Compression("none"),
        pretty_px=pretty_px,
        pretty_ts=pretty_ts,
        map_symbols=symbols is not None,
        symbol_interval_map={i: [(*days, name)] for i, name in (symbols or {}).items()} or None,
    )
    transcoder.write(raw)
    transcoder.flush()
    return out.getvalue()


def pack_dbn(records: Array, schema: str) -> bytes:
    """Return records as a DBN file's bytes."""
    metadata = dbn.Metadata(
        dataset="XNAS.ITCH",
        start=0,
        stype_in=dbn.SType("raw_symbol"),
        stype_out=dbn.SType("instrument_id"),
        schema=dbn.Schema(schema),
        symbols=[],
        partial=[],
        not_found=[],
        mappings=[],
    )
    return bytes(metadata.encode()) + records.tobytes()


def expected_of(path: Path) -> Array:
    """Return the trades or bars of a DBN file as Databento's own client reads them, in our layout."""
    databento = pytest.importorskip("databento")
    store = databento.DBNStore.from_file(path)
    theirs = store.to_ndarray()
    bars = "open" in theirs.dtype.names
    if not bars:
        theirs = theirs[theirs["action"] == b"T"]
    ours = np.zeros(len(theirs), OHLCV if bars else TRADE)
    for name in ours.dtype.names or ():
        if name in theirs.dtype.names:
            ours[name] = theirs[name]
    ours["length"] = ours.dtype.itemsize // 4
    return ours


def every_encoding(path: Path, folder: Path, encoding: str) -> Iterator[tuple[Path, bool]]:
    """Yield the eight files that Databento's client writes of one, and whether they have symbols."""
    databento = pytest.importorskip("databento")
    store = databento.DBNStore.from_file(path)
    for px, ts, symbols in product((False, True), repeat=3):
        out = folder / f"{path.parent.name}-{path.name}-{px:d}{ts:d}{symbols:d}.{encoding}"
        write = store.to_csv if encoding == "csv" else store.to_json
        write(out, pretty_px=px, pretty_ts=ts, map_symbols=symbols)
        yield out, symbols


def small_files(data: Path) -> list[Path]:
    """Return Databento's small files of every schema that holds trades or bars."""
    files = sorted((data / "dbn" / "databento").glob("*/*.dbn.zst"))
    found = [path for path in files if path.name.split(".")[1] in SCHEMAS]
    assert len({path.name for path in found}) >= 9
    return found


def any_records(rng: np.random.Generator, count: int, schema: str) -> Array:
    """Return records whose fields take any value that Databento writes, extremes and undefined ones too."""
    records = np.zeros(count, TRADE if schema == "trades" else OHLCV)
    for name in records.dtype.names or ():
        kind = records.dtype[name]
        if kind.kind not in "iu":
            continue
        limits = np.iinfo(kind)
        low, high = int(limits.min), int(limits.max)
        wide = rng.integers(low, high, count, dtype=kind, endpoint=True)
        near = rng.integers(max(low, -1200), min(high, 1200), count, endpoint=True).astype(kind)
        edge = rng.choice(np.array([0, high, max(low, -high)], dtype=kind), count)
        records[name] = np.choose(rng.integers(0, 3, count), [wide, near, edge])
    for name in {"ts_event", "ts_recv"} & set(records.dtype.names or ()):
        # Written out, the epoch itself is as empty as an undefined time.
        records[name][records[name] == 0] = 1
    records["length"] = records.dtype.itemsize // 4
    records["rtype"] = 0 if schema == "trades" else 33
    if schema == "trades":
        records["action"] = rng.choice([b"T", b"T", b"A", b"R", b""], count)
        records["side"] = rng.choice([b"A", b"B", b"N", b""], count)
    return records
