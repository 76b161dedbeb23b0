"""Gaps and unfit records reach their instruments whatever the batches and shards, and suspend what is judged."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.numbering import Numbering, Unchecked, unfit
from connectors.validity import valid
from operators.bars import WindowedBars
from operators.breaks import BreakLog
from operators.detectors import detectors
from operators.judge import JudgeSettings
from operators.shards import Splitter
from tapewatch.records import DAY, MINUTE, SECOND, TRADE, UNDEF_PRICE, Array, Gap, Tape
from tapewatch.symbology import Interval, Symbols
from tests.examples import tried

judged: Any = import_module("tests.operators.test_judge")
SYMBOLS = Symbols(Interval(f"SYM{number}", number, 0, 1 << 31) for number in range(1, 40))


def checked(records: Array, cuts: Sequence[int]) -> list[Tape]:
    """Return the batches that a source makes of a tape that has not been checked yet."""
    numbering, clock, tapes = Numbering(), 0, []
    for seq, part in enumerate(np.split(records, sorted(min(cut, len(records)) for cut in cuts))):
        mask, _ = valid(part, part["ts_recv"])
        times = part["ts_recv"].astype(np.int64)
        sure = times if mask is None else np.where(mask, times, 0)
        along = np.maximum(np.maximum.accumulate(sure), clock)
        batch = Unchecked(part, along, clock, mask, SYMBOLS, None, ())
        gaps, left_out = numbering.gaps(batch), unfit(batch)
        numbering = Numbering(pickle.loads(pickle.dumps(numbering.snapshot())))
        clock = int(along[-1]) if len(along) else clock
        kept = slice(None) if mask is None else mask
        tapes.append(
            Tape("TAPE", seq, "trades", "XSIM.TAPE", part[kept], times[kept], SYMBOLS, clock,
                 gaps=gaps, unfit=left_out)
        )  # fmt: skip
    return tapes


def incomplete(records: Array, seed: int, losses: int = 4) -> Array:
    """Return a tape that lost some stretches, and some records of which were never fit."""
    rng = np.random.default_rng(seed)
    kept = np.ones(len(records), bool)
    for begin in rng.integers(1_100, len(records), losses):
        kept[begin : begin + rng.integers(1, 60)] = False
    records = records[kept]
    for begin in rng.integers(0, len(records), losses):
        records["price"][begin : begin + rng.integers(1, 40)] = UNDEF_PRICE
    records["ts_recv"][rng.integers(0, len(records), 2)] = 2**64 - 1
    return records


def whole(line: Any, records: Array, cuts: Sequence[int], shards: int) -> Any:
    found = line(judged.judging(), shards)
    for tape in checked(records, cuts):
        found.feed(tape)
    found.end()
    return found.store


@settings(max_examples=tried(25), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(0, 2_500), max_size=30),
    shards=st.sampled_from([1, 3]),
    jitter_ns=st.sampled_from([0, 0, 3 * SECOND]),
)
def test_any_cut_and_any_number_of_shards_meet_the_same_breaks(
    line: Any, trades: Any, seed: int, cuts: list[int], shards: int, jitter_ns: int
) -> None:
    records = incomplete(trades(seed, count=2_500, days=2, jitter_ns=jitter_ns), seed)
    wanted, found = whole(line, records, [], 1), whole(line, records, cuts, shards)
    assert judged.differences(found, wanted) == []


def test_lost_and_unfit_records_are_told(line: Any, trades: Any) -> None:
    """The property above would hold if nobody told of them."""
    reasons = " ".join(
        row[18]
        for seed in range(6)
        for row in whole(
            line, incomplete(trades(seed, count=2_500, days=2), seed), [700, 1_400], 2
        ).anomalies.values()
        if row[4] == "feed_integrity"
    )
    assert "records were lost, as their numbers show" in reasons
    assert "unusable records of" in reasons


def test_a_gap_is_told_once_and_met_by_every_instrument(trades: Any, tapes: Any) -> None:
    records = trades(1, count=600, days=1, instruments=4)
    (tape,) = tapes(records, [])
    at = 300
    gap = Gap(at, int(tape.times[at - 1]), 17, "SYM1")
    (part,) = Splitter(1).split(Tape(**{**fields(tape), "gaps": (gap,)}))
    batch = WindowedBars(("1m",), 0).on_batch(part)
    breaks = BreakLog().on_batch(batch)
    assert breaks is not None
    met = {batch.names[row]: int(i) for i, row in enumerate(rows_at(breaks.at, part.starts, batch.rows))}
    assert sorted(met) == sorted(part.keys)
    assert breaks.lost.tolist() == [17 if key == "SYM1" else 0 for key in met]
    assert breaks.told.tolist() == [key == "SYM1" for key in met]
    for key, place in met.items():
        mine = np.flatnonzero(records["instrument_id"] == int(key[3:]))
        assert part.records[breaks.at[place]] == records[mine[mine >= at][0]]


def fields(tape: Tape) -> dict[str, Any]:
    return {name: getattr(tape, name) for name in Tape.__slots__}


def rows_at(at: Array, starts: Array, rows: Array) -> Array:
    found: Array = rows[np.searchsorted(starts, at, "right") - 1]
    return found


@pytest.mark.parametrize(("lost_ns", "suspended"), [(30 * SECOND, True), (SECOND // 2, False)])
def test_windows_with_a_noticeable_break_are_not_judged(line: Any, lost_ns: int, suspended: bool) -> None:
    """A jump right behind a gap is none of price_jump's business; without the gap it is."""
    rng = np.random.default_rng(3)
    count = 4 * 60 * 90
    records = judged_trades(rng, count)
    half = count * 3 // 4
    behind = int(records["ts_recv"][half]) // MINUTE * MINUTE + 40 * SECOND
    at = int(np.searchsorted(records["ts_recv"], np.uint64(behind)))
    records["price"][at:] += 80 * 10_000_000
    end = int(np.searchsorted(records["ts_recv"], np.uint64(behind + lost_ns)))
    with_gap = np.delete(records, slice(at, end))
    found = line(
        JudgeSettings(detectors({"feed_integrity": {"enabled": False}}), 1.0, 0, (), False, "market", ""), 1
    )
    for tape in checked(with_gap, [1_000, at + 1]):
        found.feed(tape)
    jumps = [row for row in found.store.anomalies.values() if row[4] == "price_jump"]
    start = behind // MINUTE * MINUTE
    assert any(row[11] <= start < row[12] for row in jumps) is not suspended


def judged_trades(rng: np.random.Generator, count: int) -> Array:
    """Return trades of one instrument, four a second, of a quiet price."""
    records = np.zeros(count, TRADE)
    records["ts_recv"] = 19_877 * DAY + 14 * 60 * MINUTE + np.arange(count) * (SECOND // 4)
    records["ts_event"], records["sequence"] = records["ts_recv"] - 1_000, np.arange(1, count + 1)
    records["instrument_id"], records["publisher_id"], records["action"] = 1, 95, b"T"
    records["size"], records["side"] = 100, b"B"
    records["price"] = 100_000_000_000 + np.cumsum(rng.integers(-1, 2, count)) * 1_000_000
    return records
