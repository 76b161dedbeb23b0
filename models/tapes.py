"""Tapes from files and sessions, as the market flow's steps get them, for studies without a dataflow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from connectors.chain import plan
from connectors.chain_reader import ChainReader
from connectors.sessions import Session
from connectors.validity import valid
from operators.shards import Splitter
from tapewatch.errors import UserError
from tapewatch.records import DAY, Array, Int64s, Tape
from tapewatch.symbology import Interval, Symbols

_BATCH = 65_536


def tapes_of_files(paths: Sequence[Path]) -> Iterator[Tape]:
    """Yield the records of files that are fit to be judged, in the order of time within each dataset.

    Raises
    ------
    UserError
        If a file cannot be read, or is damaged.
    """
    for chain in plan(paths, skip_damaged=False):
        reader = ChainReader(chain, {}, _BATCH, _refuse, lambda _: None)
        clock, seq = 0, 0
        try:
            while (piece := reader.next()) is not None:
                mask = None if piece.clean else valid(piece.records, piece.times)[0]
                kept = slice(None) if mask is None else mask
                times = piece.times[kept].astype(np.int64)
                if not len(times):
                    continue
                clock, seq = max(clock, int(times.max())), seq + 1
                yield Tape(
                    chain.name, seq, chain.kind, chain.dataset, piece.records[kept], times, reader.symbols,
                    clock, codes=None if piece.codes is None else piece.codes[kept], names=piece.names,
                    width_ns=chain.width_ns,
                )  # fmt: skip
        finally:
            reader.close()


def _refuse(error: UserError) -> bool:
    raise error


def tapes_of_session(session: Session) -> Iterator[Tape]:
    """Yield the trades of a session."""
    symbols = Symbols(Interval(symbol, number, 0, 1 << 31) for number, symbol in session.symbols.items())
    for seq, at in enumerate(range(0, len(session.records), _BATCH)):
        records = session.records[at : at + _BATCH]
        times = records["ts_recv"].astype(np.int64)
        yield Tape("study", seq, "trades", "", records, times, symbols, int(times[-1]))


def session_of_files(paths: Sequence[Path]) -> Session:
    """Return all trades of some files as one session, one trading day for each UTC day.

    Instruments get new ids, in the order of their symbols. All is kept in memory.

    Raises
    ------
    UserError
        If a file cannot be read, or holds bars.
    """
    splitter = Splitter(1)
    parts: list[tuple[str, Array, Int64s]] = []
    for tape in tapes_of_files(paths):
        if tape.kind != "trades":
            raise UserError(
                f"{tape.partition} holds bars; anomalies are injected into trades, or with --bars into bars"
            )
        (shard,) = splitter.split(tape)
        for key, first, last in zip(shard.keys, shard.starts, shard.starts[1:], strict=False):
            parts.append((key, shard.records[np.arange(first, last)], shard.times[first:last]))
    if not parts:
        raise UserError(f"there are no trades in {', '.join(str(path) for path in paths)}")
    symbols = dict(enumerate(sorted({key for key, _, _ in parts}), start=1))
    ids = {key: number for number, key in symbols.items()}
    for key, records, times in parts:
        records["instrument_id"], records["ts_recv"] = ids[key], times
    whole = np.concatenate([records for _, records, _ in parts])
    whole = whole[np.argsort(whole["ts_recv"], kind="stable")]
    times = whole["ts_recv"].astype(np.int64)
    first = np.flatnonzero(np.diff(times // DAY, prepend=-1))
    last = np.concatenate([first[1:], [len(times)]]) - 1
    hours = tuple(zip(times[first].tolist(), (times[last] + 1).tolist(), strict=True))
    return Session(whole, symbols, (), hours)
