"""The live source: one tape out of any number of sessions, with what is missing told."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from connectors.databento_live import LivePartition, LiveSource, api_key
from connectors.dbn_records import DbnRecords
from tapewatch import stopping
from tapewatch.credit import acknowledge
from tapewatch.errors import UserError
from tapewatch.records import DAY, MINUTE, OHLCV, Tape
from tapewatch.settings import LiveSettings
from tests.connectors import live_reading
from tests.connectors.live_gateway import DATASET, KEY, Gateway, Script
from tests.connectors.live_reading import Opened, keys_of, live, read, records_of
from tests.examples import tried
from tests.made_trades import SYMBOLS

soon, failed, opened = live_reading.soon, live_reading.failed, live_reading.opened


@settings(
    max_examples=tried(15), deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)  # fmt: skip
@example(seed=166, breaks=[(1456, 44, False), (3000, 12, True)], selects="ts_recv", batch=100, resumed=False)
@given(
    seed=st.integers(0, 2**32),
    breaks=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 47), st.booleans()), max_size=4),
    selects=st.sampled_from(["ts_event", "ts_recv"]),
    batch=st.sampled_from([1, 100, 65_536]),
    resumed=st.booleans(),
)
def test_no_disconnection_and_no_resume_changes_the_tape(
    seed: int, breaks: list[tuple[int, int, bool]], selects: Any, batch: int, resumed: bool, trades: Any
) -> None:
    records = np.repeat(trades(seed, count=1_500), np.random.default_rng(seed).integers(1, 4, 1_500))
    scripts = [Script(until=at, cut=cut, reset=reset) for at, cut, reset in sorted(breaks)]
    found: list[Tape] = []
    saved = None
    with Gateway(records, SYMBOLS, scripts=scripts, selects=selects, seed=seed) as gateway:
        part = LivePartition(live(gateway), KEY, batch, 1, None)
        if resumed:
            found += read(part, len(records) // 2)
            saved = pickle.loads(pickle.dumps(part.snapshot()))
            part.close()
            part = LivePartition(live(gateway), KEY, batch, 1, saved)
        found += read(part, len(records) - sum(len(tape.records) for tape in found))
        part.close()
    assert np.array_equal(records_of(found), records)
    assert all(tape.gaps == () for tape in found)
    assert keys_of(found) == [SYMBOLS[number] for number in records["instrument_id"].tolist()]
    last = found[-1]
    assert (last.partition, last.dataset, last.kind, last.width_ns) == (
        f"live/{DATASET}",
        DATASET,
        "trades",
        0,
    )
    assert last.clock == int(records["ts_recv"].max())
    assert last.counters["records"] == len(records)
    assert last.counters.get("disconnections", 0) == len(scripts)
    clocks = [tape.clock for tape in found]
    assert clocks == sorted(clocks)


def test_what_is_unfit_is_counted_and_moves_no_clock(trades: Any, opened: Opened) -> None:
    records = trades(3, count=600, days=1)
    ahead = time.time_ns() + 2 * DAY
    for place, value in ((10, ahead), (11, 5), (599, ahead)):
        records["ts_recv"][place] = records["ts_event"][place] = value
    records["price"][20] = 2**63 - 1
    records["size"][30] = 0
    with Gateway(records, SYMBOLS, scripts=[Script(until=300)], selects="ts_recv") as gateway:
        found = read(opened(gateway), 595)
    fit = np.delete(records, [10, 11, 20, 30, 599])
    assert np.array_equal(records_of(found), fit)
    assert found[-1].clock == int(fit["ts_recv"].max())
    counted = {name: found[-1].counters[name] for name in ("impossible_time", "undefined_price", "zero_size")}
    assert counted == {"impossible_time": 3, "undefined_price": 1, "zero_size": 1}
    left_out: dict[str, int] = {}
    for tape in found:
        for key, places in tape.unfit.items():
            left_out[key] = left_out.get(key, 0) + len(places)
    ids = records["instrument_id"][[10, 11, 20, 30, 599]].tolist()
    assert left_out == {SYMBOLS[number]: ids.count(number) for number in ids}


def test_a_symbol_that_changes_is_followed_from_its_record_on(trades: Any, opened: Opened) -> None:
    """An id that has no symbol yet is its own name until one comes; one that gets another keeps its past."""
    records = trades(3, count=400, days=1)
    records["instrument_id"] = 7
    day_later = records.copy()
    for name in ("ts_event", "ts_recv"):
        day_later[name] += np.uint64(DAY)
    tape = np.concatenate([records, day_later])
    with Gateway(tape, {}, mappings=[(100, 7, "OLD")], seed=4) as gateway:
        found = read(opened(gateway), 800)
    # The mapping is of the first day, before the first record that follows it.
    assert keys_of(found) == ["7"] * 100 + ["OLD"] * 700
    gateway = Gateway(tape, {7: "OLD"}, mappings=[(400, 7, "NEW")])
    gateway.mapping_time = int(day_later["ts_event"][0])
    with gateway:
        found = read(opened(gateway), 800)
    assert keys_of(found) == ["OLD"] * 400 + ["NEW"] * 400


def test_bars_of_a_session_are_bars(opened: Opened) -> None:
    bars = np.zeros(200, OHLCV)
    bars["length"], bars["rtype"], bars["publisher_id"] = 14, 33, 1
    bars["instrument_id"] = 1 + np.arange(200) % 4
    bars["ts_event"] = 19_877 * DAY + np.arange(200) // 4 * MINUTE
    for name in ("open", "high", "low", "close"):
        bars[name] = 10**9
    bars["volume"] = np.arange(200)
    with Gateway(bars, SYMBOLS, schema="ohlcv-1m", scripts=[Script(until=101), Script(until=150)]) as gateway:
        found = read(opened(gateway), 200)
    assert np.array_equal(records_of(found), bars)
    assert (found[-1].kind, found[-1].width_ns) == ("bars", MINUTE)
    assert found[-1].clock == int(bars["ts_event"][-1]) + MINUTE


def test_a_real_book_gives_its_trades(data: Path, opened: Opened) -> None:
    """Most records of a book are no trades; the position counts them all the same."""
    path = data / "dbn" / "nautilus" / "esh4-glbx-mdp3-20231225.mbo.dbn.zst"
    reader = DbnRecords(path, 1 << 20)
    blocks = list(reader.blocks())
    reader.close()
    wanted = np.concatenate([block.records for block in blocks])
    import databento

    book = databento.DBNStore.from_file(path).to_ndarray()
    scripts = [Script(until=at, cut=20) for at in (9_000, 30_001, 30_002, 55_555)]
    with Gateway(book, {}, schema="mbo", scripts=scripts) as gateway:
        found = read(opened(gateway), len(wanted))
    assert np.array_equal(records_of(found), wanted)
    assert found[-1].counters["not_a_trade"] == sum(b.passed_over.get("not_a_trade", 0) for b in blocks)
    assert all(tape.gaps == () for tape in found)


def test_nothing_is_read_while_the_results_are_behind(trades: Any, opened: Opened) -> None:
    records = trades(3, count=5_000)
    with Gateway(records, SYMBOLS) as gateway:
        part = opened(gateway, batch=1_000)
        found: list[Tape] = []
        end, since = time.monotonic() + 200, time.monotonic()
        # Until there is something, and after it nothing for a while.
        while not found or time.monotonic() < since + 1.0:
            assert time.monotonic() < end
            new = part.next_batch()
            since = time.monotonic() if new else since
            found += new
            time.sleep(0.005)
        assert 0 < sum(len(tape.records) for tape in found) < len(records)
        assert len(found) <= 4
        for tape in found:
            acknowledge(tape.credit, 0, tape.seq)
        found += read(part, len(records) - sum(len(tape.records) for tape in found))
    assert np.array_equal(records_of(found), records)


def test_a_first_session_that_brought_nothing_is_gone_on_with(trades: Any, opened: Opened) -> None:
    records = trades(3, count=300)
    with Gateway(records, SYMBOLS, scripts=[Script(until=100)]) as gateway:
        gateway.sent = 100
        part = opened(gateway)
        end = time.monotonic() + 200
        while not any(tape.counters.get("disconnections") for tape in part.next_batch()):
            assert time.monotonic() < end
        # What happened on the market before the next session.
        gateway.sent = 200
        found = read(part, 200)
    since = records["ts_event"][100:].min()
    assert np.array_equal(records_of(found), records[records["ts_event"] >= since])


def test_a_stop_ends_the_input(trades: Any, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gateway(trades(3, count=10), SYMBOLS) as gateway:
        part = opened(gateway)
        read(part, 10)
        monkeypatch.setattr(stopping, "stopping", lambda: True)
        with pytest.raises(StopIteration):
            part.next_batch()


def test_the_key_is_looked_at_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LiveSettings(dataset=DATASET, symbols=["A"])
    for key in ("", "db-short", "db-" + "ä" * 29, "DB-" + "a" * 29, KEY + "a", "db-" + "a" * 28 + "\n"):
        monkeypatch.setenv("DATABENTO_API_KEY", key)
        with pytest.raises(UserError) as raised:
            LiveSource(settings, 1, 1)
        assert "DATABENTO_API_KEY" in str(raised.value)
        assert not key.strip() or key.strip() not in str(raised.value)
    monkeypatch.setenv("DATABENTO_API_KEY", f" {KEY}\n")
    assert api_key() == KEY


def test_a_state_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class _AbortedError(Exception):
        pass

    def abort(line: str, status: int) -> None:
        raise _AbortedError(f"{line} {status}")

    monkeypatch.setattr(stopping, "abort", abort)
    monkeypatch.setenv("DATABENTO_API_KEY", KEY)
    source = LiveSource(LiveSettings(dataset=DATASET, symbols=["A"]), 1, 1)
    with pytest.raises(_AbortedError, match=r"another version.* 2$"):
        source.build_part("step", source.list_parts()[0], {"version": 0})
