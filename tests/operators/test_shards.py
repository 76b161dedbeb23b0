"""Splitting keeps every record once, in its instrument's order, in the shard that its key names."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.shards import Splitter, shard_of
from tapewatch.records import DAY, TRADE, Tape
from tapewatch.surveys import survey
from tapewatch.symbology import Interval, Symbols
from tests.examples import tried

DAY_0 = 19_000


@settings(max_examples=tried(150), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), count=st.integers(0, 200), shards=st.integers(1, 9),
    largest=st.sampled_from([3, 5_000, 2**22, 2**32 - 1]), days=st.integers(1, 3), cuts=st.lists(st.integers(0, 200), max_size=4),
    surveyed=st.booleans(),
)  # fmt: skip
def test_every_record_goes_to_its_keys_shard_in_its_order(
    seed: int, count: int, shards: int, largest: int, days: int, cuts: list[int], *, surveyed: bool
) -> None:
    rng = np.random.default_rng(seed)
    records = np.zeros(count, TRADE)
    ids = rng.integers(0, largest, 12, endpoint=True)
    records["instrument_id"], records["sequence"] = rng.choice(ids, count), np.arange(count)
    times = (DAY_0 + rng.integers(0, days, count)) * DAY + rng.integers(0, DAY, count)
    # One id means another symbol on the second day, and another id the first one's symbol.
    symbols = Symbols(
        [Interval("A", int(ids[0]), DAY_0, DAY_0 + 1), Interval("B", int(ids[0]), DAY_0 + 1, DAY_0 + 9)]
    )
    symbols.add(Interval("A", int(ids[1]), DAY_0 + 1, DAY_0 + 2))
    # Two ids share a symbol.
    symbols.add(Interval("A", int(ids[2]), DAY_0, DAY_0 + 1))
    wanted: dict[str, list[int]] = {}
    for record, time in zip(records, times, strict=True):
        key = symbols.key(int(record["instrument_id"]), int(time) // DAY)
        wanted.setdefault(key, []).append(int(record["sequence"]))
    splitter = Splitter(shards)
    found: dict[str, list[int]] = {key: [] for key in wanted}
    for seq, part in enumerate(np.split(np.arange(count), sorted(min(cut, count) for cut in cuts))):
        tape = Tape(
            "T", seq, "trades", "", records[part], times[part], symbols, clock=7, counters={"records": 1},
            survey=survey(records[part], times[part]) if surveyed and len(part) else None,
        )  # fmt: skip
        batches = splitter.split(tape)
        assert [batch.shard for batch in batches] == list(range(shards))
        assert [batch.counters for batch in batches] == [{"records": 1}] + [{}] * (shards - 1)
        for batch in batches:
            assert batch.clock == 7
            assert len(set(batch.keys)) == len(batch.keys)
            assert int(batch.starts[-1]) == len(batch.records) == len(batch.times)
            for key, begin, end in zip(batch.keys, batch.starts[:-1], batch.starts[1:], strict=True):
                assert shard_of(key, shards) == batch.shard
                assert end > begin
                sequence = batch.records["sequence"][begin:end]
                assert batch.times[begin:end].tolist() == times[sequence].tolist()
                found[key] += sequence.tolist()
    assert found == wanted


def test_a_symbol_that_is_learned_later_counts_from_then_on() -> None:
    """A live capture tells its symbols among the records."""
    symbols, splitter = Symbols(), Splitter(1)
    records = np.zeros(2, TRADE)
    records["instrument_id"] = 7
    times = np.full(2, DAY_0 * DAY)

    def keys() -> Any:
        return splitter.split(Tape("T", 0, "trades", "", records, times, symbols, 0))[0].keys

    assert keys() == ["7"]
    symbols.add(Interval("SPY", 7, DAY_0, DAY_0 + 1))
    assert keys() == ["SPY"]
