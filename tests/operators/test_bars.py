"""Bars against a reference that goes through the records one by one, for any cut of the input."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bars import WindowedBars
from operators.shards import ShardBatch, Splitter
from tapewatch.records import DAY, MINUTE, OHLCV, SECOND, TRADE, Array, Tape
from tapewatch.settings import WIDTHS
from tapewatch.symbology import Symbols
from tests.examples import tried

Table = dict[tuple[str, str, int], dict[str, Any]]
FIELDS = (
    "instrument_id", "open", "high", "low", "close", "volume", "trades", "buy_volume", "sell_volume", "max_size",
)  # fmt: skip


#: Late records: key, clock and ordinal, and the record.
LateTable = dict[tuple[str, int, int], bytes]


def reference(records: Array, widths: tuple[str, ...], lateness_ns: int) -> tuple[Table, LateTable]:
    """Return the bars of trades and what was late, record by record."""
    base = WIDTHS[widths[0]]
    clocks: dict[int, int] = {}
    late: LateTable = {}
    kept: list[tuple[int, int, Any]] = []
    for place, record in enumerate(records):
        key, time = int(record["instrument_id"]), int(record["ts_recv"])
        start = time - time % base
        if start + base + lateness_ns <= clocks.get(key, 0):
            clock = clocks[key]
            ordinal = sum(place[:2] == (str(key), clock) for place in late)
            late[str(key), clock, ordinal] = record.tobytes()
        else:
            kept.append((start, place, record))
        clocks[key] = max(clocks.get(key, 0), time)
    partition = max(clocks.values(), default=0)
    table: Table = {}
    for start, _, record in sorted(kept, key=lambda item: item[:2]):
        size, price = int(record["size"]), int(record["price"])
        for width in widths:
            begin = start - start % WIDTHS[width]
            symbol = str(record["instrument_id"])
            bar = table.setdefault(
                (symbol, width, begin),
                {"instrument_id": int(symbol), "open": price, "high": price, "low": price, "volume": 0, "trades": 0,
                 "buy_volume": 0, "sell_volume": 0, "max_size": 0, "notional": 0},
            )  # fmt: skip
            bar["high"], bar["low"] = max(bar["high"], price), min(bar["low"], price)
            bar["close"] = price
            bar["volume"] += size
            bar["trades"] += 1
            bar["buy_volume"] += size if record["side"] == b"B" else 0
            bar["sell_volume"] += size if record["side"] == b"A" else 0
            bar["max_size"] = max(bar["max_size"], size)
            bar["notional"] += size * price
            end = begin + WIDTHS[width] + lateness_ns
            bar["closed"] = end <= clocks[int(symbol)]
            bar["final"] = end <= partition
    return table, late


def as_row(bar: Any) -> dict[str, Any]:
    row = {name: int(bar[name]) for name in FIELDS}
    row["notional"] = (int(bar["notional_high"]) << 32) + int(bar["notional_low"])
    return row


class Shown:
    """Everything that `WindowedBars` emitted: the last write wins."""

    def __init__(self) -> None:
        self.table: Table = {}
        self.closed: Table = {}
        self.late: LateTable = {}
        #: Windows that were shown and are still open: number of records and whether they were over.
        self.public: dict[tuple[str, str, int], tuple[int, bool]] = {}

    def take(self, batch: Any) -> None:
        for width, bars in batch.closed.items():
            for bar in bars:
                place = (batch.names[bar["row"]], width, int(bar["ts_start"]))
                assert place not in self.closed, "a window was closed twice"
                self.closed[place] = as_row(bar)
                self.table[place] = {**as_row(bar), "closed": True, "final": True}
        for width, windows in batch.open.items():
            for bar, final in zip(windows.bars, windows.final, strict=True):
                place = (batch.names[bar["row"]], width, int(bar["ts_start"]))
                self.table[place] = {**as_row(bar), "closed": False, "final": bool(final)}
        if batch.late is not None:
            late = batch.late
            columns = (late.rows, late.records, late.clocks, late.ordinals)
            for row, record, clock, ordinal in zip(*columns, strict=True):
                name = (batch.names[row], int(clock), int(ordinal))
                assert self.late.setdefault(name, record.tobytes()) == record.tobytes()

    def check(self, batch: Any, *, ended: bool = False) -> None:
        """Expect that what is shown is new or belongs to what is, with nothing of an instrument left out."""
        for width in {*batch.closed, *batch.open}:
            moved = {batch.names[bar["row"]] for bar in batch.closed.get(width, ())}
            for bar in batch.closed.get(width, ()):
                self.public.pop((batch.names[bar["row"]], width, int(bar["ts_start"])), None)
            before, found = dict(self.public), set()
            windows = batch.open.get(width)
            for bar, final in [] if windows is None else zip(windows.bars, windows.final, strict=True):
                place = (batch.names[bar["row"]], width, int(bar["ts_start"]))
                found.add(place)
                self.public[place] = int(bar["trades"]), bool(final)
            moved |= {key for key, *rest in found if self.public[key, *rest] != before.get((key, *rest))}
            assert ended or {key for key, *_ in found} <= moved
            assert {place for place in before if place[0] in moved and place[1] == width} <= found


def batches(records: Array, cuts: list[int]) -> list[ShardBatch]:
    splitter, clock, found = Splitter(1), 0, []
    for seq, part in enumerate(np.split(records, sorted(cuts))):
        times = part["ts_recv"].astype(np.int64)
        clock = max(clock, int(times.max(initial=0)))
        found += splitter.split(Tape("T", seq, "trades", "", part, times, Symbols(), clock))
    return found


@st.composite
def tapes(draw: st.DrawFn) -> Array:
    """Trades of up to four instruments, crowded around window edges, in any order within a few seconds."""
    count = draw(st.integers(0, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    trades = np.zeros(count, TRADE)
    times = np.cumsum(
        rng.choice(
            [0, 1, SECOND // 2, SECOND, 9 * SECOND, 61 * SECOND, DAY],
            count,
            p=[0.3, 0.1, 0.25, 0.2, 0.1, 0.04, 0.01],
        )
    )
    disorder = draw(st.sampled_from([0, 1, SECOND, 12 * SECOND, 90 * SECOND]))
    times = 1_717_400_000 * SECOND + times - rng.integers(0, disorder + 1, count)
    trades["ts_recv"] = trades["ts_event"] = times
    trades["instrument_id"] = rng.integers(1, draw(st.integers(2, 5)), count)
    trades["price"] = rng.integers(-5, 50, count) * draw(st.sampled_from([1, 10**9, 10**15]))
    trades["size"] = rng.choice([1, 7, 1000, 2**32 - 2], count)
    trades["side"], trades["action"] = rng.choice([b"A", b"B", b"N"], count), b"T"
    return trades


widths_ = st.sampled_from(
    [("1s",), ("1s", "10s"), ("1s", "10s", "1m"), ("10s", "1m"), ("1m",), ("1s", "1h", "1d")]
)
lateness = st.sampled_from([0, 1, SECOND, 15 * SECOND, 2 * MINUTE])


@settings(max_examples=tried(250), deadline=None)
@given(
    records=tapes(), widths=widths_, lateness_ns=lateness, cuts=st.lists(st.integers(0, 60), max_size=20),
    resumes=st.sets(st.integers(0, 20), max_size=3), stops=st.sets(st.integers(0, 20), max_size=3),
)  # fmt: skip
def test_bars_are_those_of_the_reference_for_any_cut(
    records: Array,
    widths: tuple[str, ...],
    lateness_ns: int,
    cuts: list[int],
    resumes: set[int],
    stops: set[int],
) -> None:
    wanted, late = reference(records, widths, lateness_ns)
    logic, shown, out = WindowedBars(widths, lateness_ns), Shown(), None
    late_records = 0
    for number, batch in enumerate(batches(records, cuts)):
        out = logic.on_batch(batch)
        shown.take(out)
        shown.check(out)
        late_records += 0 if out.late is None else len(out.late.rows)
        if number in stops and (last := logic.on_eof()) is not None:
            shown.take(last)
            shown.check(last, ended=True)
        if number in resumes:
            logic = WindowedBars(widths, lateness_ns, pickle.loads(pickle.dumps(logic.snapshot())))
    final = logic.on_eof()
    if final is not None:
        shown.take(final)
        assert final.counters.get(0, {}).get("late_records", 0) == len(late) == late_records
    assert shown.late == late
    assert shown.table == {place: {**bar} for place, bar in wanted.items()}
    assert set(shown.closed) == {place for place, bar in wanted.items() if bar["closed"]}


def test_a_window_is_half_open() -> None:
    records = np.zeros(3, TRADE)
    records["ts_recv"] = records["ts_event"] = np.array([0, MINUTE - 1, MINUTE]) + 1_717_400_040 * SECOND
    records["instrument_id"], records["price"], records["size"] = 1, 10**9, [1, 2, 4]
    shown, logic = Shown(), WindowedBars(("1m",), 0)
    for batch in batches(records, []):
        shown.take(logic.on_batch(batch))
    assert [bar["volume"] for bar in shown.closed.values()] == [3]


def bar_records(count: int) -> Array:
    records = np.zeros(count, OHLCV)
    records["ts_event"] = 1_717_400_040 * SECOND + np.arange(count) * MINUTE
    records["instrument_id"] = 1
    records["open"], records["close"] = np.arange(count) + 5, np.arange(count) + 6
    records["high"], records["low"] = np.arange(count) + 9, np.arange(count) + 1
    records["volume"] = 10
    return records


@pytest.mark.parametrize("cuts", [[], [1], [3, 4, 5], list(range(1, 125))])
def test_bars_that_come_in_roll_up_and_make_no_finer_ones(cuts: list[int]) -> None:
    records, splitter, shown = bar_records(125), Splitter(1), Shown()
    logic, clock = WindowedBars(("1s", "1m", "1h"), 0), 0
    for seq, part in enumerate(np.split(records, cuts)):
        clock = int(part["ts_event"][-1]) + MINUTE
        tape = Tape(
            "T", seq, "bars", "", part, part["ts_event"].astype(np.int64), Symbols(), clock, width_ns=MINUTE
        )
        for batch in splitter.split(tape):
            shown.take(logic.on_batch(batch))
    last = logic.on_eof()
    assert last is not None
    shown.take(last)
    assert {width for _, width, _ in shown.table} == {"1m", "1h"}
    minutes = [bar for (_, width, _), bar in shown.table.items() if width == "1m"]
    hours = [bar for (_, width, _), bar in shown.table.items() if width == "1h"]
    assert len(minutes) == 125
    assert sum(bar["volume"] for bar in hours) == sum(bar["volume"] for bar in minutes) == 1250
    assert all(bar["final"] for bar in minutes)


def test_a_partition_that_never_had_a_record_shows_nothing_at_the_end() -> None:
    assert WindowedBars(("1m",), 0).on_eof() is None
