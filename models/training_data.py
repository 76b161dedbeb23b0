"""What models are trained and validated on: statistics of real and simulated bars, split in time.

The first part of each instrument's bars is for training. Into the rest anomalies are injected, so that
there is something to validate on; nothing of it is seen in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from connectors.chain import open_records
from connectors.market_simulator import MarketSimulation, simulate
from connectors.validity import valid
from models.injected_bars import CONTEXT, inject
from operators.bar_statistics import BarStatistics
from operators.bars import WindowedBars
from operators.detector import segments_of_bars
from operators.features import BarFeatures
from operators.pretrained import known_features
from operators.shards import Splitter
from tapewatch.documents import BAR
from tapewatch.errors import UserError
from tapewatch.records import LARGEST_PRICE, MINUTE, PRICE_SCALE, Array, Tape
from tapewatch.symbology import Interval, Symbols

#: Seeds of the sessions that are simulated unless others are asked for.
SIMULATED = (11, 12, 13)
#: Share of an instrument's bars that is for training.
TRAINED = 0.7
_WIDTH, _WIDTH_NS = "1m", MINUTE
#: Of long series the last so many bars are taken, and of each source so many for training.
_MOST_BARS, _MOST_ROWS = 20_000, 4_000
_EVENTS_PER_BAR, _SIZES = 1 / 150, (2.0, 20.0)
#: Bars after an event in which it may still be felt; they count neither way.
_ECHO = 5
_BATCH = 65_536
_PRICES = ("open", "high", "low", "close")


@dataclass(frozen=True, slots=True)
class Points:
    """Statistics of bars, ``(n, statistics)``, features they could tell, ``(n, features)``, labels, ``(n,)``.

    A label of 1 is an injected anomaly, 0 none, -1 neither (just after one).
    """

    values: Array
    known: Array
    label: Array


@dataclass(frozen=True, slots=True)
class TrainingData:
    """Points for training and for validation, and what a card says of where they are from."""

    training: Points
    validation: Points
    sources: tuple[dict[str, Any], ...]


def gather(paths: Sequence[Path], seed: int, simulated: Sequence[int] = SIMULATED) -> TrainingData:
    """Read files and simulate sessions, and make statistics of their bars.

    Parameters
    ----------
    paths
        Files that the market flow reads, or ``.parquet`` with ``ts_event``, ``open``, ``high``, ``low``,
        ``close`` and perhaps ``volume`` of one instrument, a row a minute.
    seed
        Of injections and of what is left out of large sources.
    simulated
        Seeds of simulated sessions.

    Raises
    ------
    UserError
        For a file that cannot be read, or if there are too few bars.
    """
    chance = np.random.Generator(np.random.PCG64(seed))
    training: list[Points] = []
    validation: list[Points] = []
    sources: list[dict[str, Any]] = []
    for source, bars in _sources(paths, simulated):
        parts = [_split(series, chance) for series in bars]
        trained = _sampled(_joined([first for first, _ in parts]), chance)
        held = _joined([second for _, second in parts])
        training.append(trained)
        validation.append(held)
        sources.append({**source, "training_bars": len(trained.label), "validation_bars": len(held.label)})
    data = TrainingData(_joined(training), _joined(validation), tuple(sources))
    if len(data.training.label) < 1000 or not (data.validation.label == 1).any():
        raise UserError("there are too few bars to train on; name files with at least some days of minutes")
    return data


def _sources(paths: Sequence[Path], simulated: Sequence[int]) -> Iterator[tuple[dict[str, Any], list[Array]]]:
    for path in paths:
        read = parquet_bars if path.suffix == ".parquet" else _tape_bars
        bars = read(path)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        yield {"name": path.name, "sha256": digest}, _series(bars)
    for seed in simulated:
        session = simulate(MarketSimulation(symbols=20, minutes=780, seed=seed, anomalies=()))
        symbols = Symbols(Interval(key, number, 0, 1 << 31) for number, key in session.symbols.items())
        pieces = (session.records[at : at + _BATCH] for at in range(0, len(session.records), _BATCH))
        tapes = (
            Tape("", 0, "trades", "", piece, piece["ts_recv"].astype(np.int64), symbols, 0)
            for piece in pieces
        )
        yield {"name": "simulated market", "seed": seed}, _series(bars_of(tapes))


def bars_of(tapes: Iterator[Tape]) -> Array:
    """Return the minute bars of tapes, dtype `tapewatch.documents.BAR`, as one shard has them."""
    splitter, windows = Splitter(1), WindowedBars((_WIDTH,), 0)
    parts = [np.empty(0, BAR)]
    for tape in tapes:
        for shard in splitter.split(tape):
            parts.append(windows.on_batch(shard).closed.get(_WIDTH, parts[0]))
    return np.concatenate(parts)


def _tape_bars(path: Path) -> Array:
    records = open_records(path, _BATCH)
    header = records.header

    def tapes() -> Iterator[Tape]:
        for block in records.blocks():
            mask, _ = valid(block.records, block.times)
            kept = slice(None) if mask is None else mask
            yield Tape(
                "", 0, header.kind, header.dataset, block.records[kept], block.times[kept].astype(np.int64),
                header.symbols, 0, None if block.codes is None else block.codes[kept], block.names,
                header.width_ns,
            )  # fmt: skip

    try:
        return bars_of(tapes())
    finally:
        records.close()


def parquet_bars(path: Path) -> Array:
    """Return the minute bars of one instrument in a ``.parquet`` file.

    Raises
    ------
    UserError
        If it cannot be read, or lacks a column.
    """
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UserError('reading .parquet needs pyarrow: pip install "tapewatch[train]"') from None
    try:
        table = parquet.read_table(path)
    except (ArrowException, OSError) as error:
        raise UserError(f"{path} cannot be read as parquet: {str(error).splitlines()[0]}") from error
    for name in ("ts_event", *_PRICES):
        if name not in table.column_names:
            raise UserError(f"{path} has no column {name}; it has {', '.join(table.column_names)}")
    columns = {name: np.asarray(table[name].to_numpy()) for name in table.column_names}
    prices = np.stack([columns[name].astype(np.float64) for name in _PRICES])
    fit = np.isfinite(prices).all(axis=0) & (np.abs(prices).max(axis=0) < LARGEST_PRICE / PRICE_SCALE)
    bars = np.zeros(int(fit.sum()), BAR)
    bars["ts_start"] = columns["ts_event"][fit].astype("datetime64[ns]").astype(np.int64)
    for name, column in zip(_PRICES, prices, strict=True):
        bars[name] = np.rint(column[fit] * PRICE_SCALE)
    bars["volume"] = columns["volume"][fit] if "volume" in columns else 0
    bars["trades"] = 1
    return bars[np.argsort(bars["ts_start"], kind="stable")]


def _series(bars: Array) -> list[Array]:
    """Return the bars of each instrument by themselves, in their order, as one shard's only row."""
    found = []
    for row in np.unique(bars["row"]):
        series = bars[bars["row"] == row][-_MOST_BARS:]
        series["row"] = 0
        # Of one bar there is no first part.
        if len(series) > 1:
            found.append(series)
    return found


def _split(series: Array, chance: np.random.Generator) -> tuple[Points, Points]:
    """Return the points of the first part of a series, and those of the rest with anomalies in it."""
    cut = int(TRAINED * len(series))
    trained = _points(series[:cut], [], 0)
    context = min(cut, CONTEXT)
    changed, events = inject(series[cut - context :], _EVENTS_PER_BAR, _SIZES, chance)
    return trained, _points(changed, events, context)


def _points(bars: Array, events: list[tuple[str, int, int]], first: int) -> Points:
    segments = segments_of_bars(bars, [""])
    features = BarFeatures(_WIDTH_NS).update(segments)
    told = BarStatistics(_WIDTH_NS).update(segments, features.values, learn=True)
    known = known_features(bars["detailed"])
    label = np.zeros(len(bars), np.int8)
    for _, begin, end in events:
        label[end : end + _ECHO] = -1
        label[begin:end] = 1
    kept = ~np.isnan(features.values[:, 0]) & (np.arange(len(bars)) >= first)
    return Points(told.statistics[kept], known[kept], label[kept])


def _joined(parts: Sequence[Points]) -> Points:
    return Points(
        np.concatenate([part.values for part in parts]),
        np.concatenate([part.known for part in parts]),
        np.concatenate([part.label for part in parts]),
    )


def _sampled(points: Points, chance: np.random.Generator) -> Points:
    if len(points.label) <= _MOST_ROWS:
        return points
    kept = np.sort(chance.choice(len(points.label), _MOST_ROWS, replace=False))
    return Points(points.values[kept], points.known[kept], points.label[kept])
