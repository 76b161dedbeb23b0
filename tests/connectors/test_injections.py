"""What an injection does is what its label says, and as large as was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.injection_kinds import Injection
from connectors.injections import KINDS, inject, inject_all
from connectors.market_simulator import MarketSimulation, simulate
from connectors.sessions import Label, Session
from tapewatch.records import MINUTE, SECOND, Array
from tests.examples import tried

CLEAN = simulate(MarketSimulation(symbols=6, minutes=200, anomalies=()))
OPENS = CLEAN.hours[0][0]


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def trades(session: Session, key: str) -> Array:
    mine: Array = session.records[session.records["instrument_id"] == session.instrument_id(key)]
    return mine


def volume(session: Session, key: str, start: int, end: int) -> int:
    mine = trades(session, key)
    times = mine["ts_recv"].astype(np.int64)
    return int(mine["size"][(times >= start) & (times < end)].sum())


def others_unchanged(before: Session, after: Session, key: str) -> bool:
    names = ["ts_recv", "ts_event", "instrument_id", "price", "size", "side"]
    return all(
        np.array_equal(
            before.records[before.records["instrument_id"] != before.instrument_id(key)][name],
            after.records[after.records["instrument_id"] != after.instrument_id(key)][name],
        )
        for name in names
    )


@settings(max_examples=tried(40), deadline=None)
@given(
    size=st.floats(1.0, 40.0),
    minute=st.integers(31, 190),
    offset=st.integers(0, MINUTE - 1),
    symbol=st.integers(1, 6),
)
def test_high_volume_is_exactly_as_large_as_asked(size: float, minute: int, offset: int, symbol: int) -> None:
    key, start = f"SIM{symbol:03d}", OPENS + minute * MINUTE
    after = inject(CLEAN, "high_volume", key, start + offset, size, rng())
    median = np.median([volume(CLEAN, key, start - (i + 1) * MINUTE, start - i * MINUTE) for i in range(30)])
    assert volume(after, key, start, start + MINUTE) == round(size * median)
    assert after.labels == (Label(key, "high_volume", start, start + MINUTE),)
    assert others_unchanged(CLEAN, after, key)
    assert np.array_equal(np.diff(after.records["sequence"]), np.ones(len(after.records) - 1))


@given(size=st.floats(0.5, 40.0), minute=st.integers(1, 190))
@settings(max_examples=tried(20), deadline=None)
def test_a_block_is_a_multiple_of_the_clean_tail(size: float, minute: int) -> None:
    at = OPENS + minute * MINUTE + 17
    after = inject(CLEAN, "block_trade", "SIM002", at, size, rng())
    mine = trades(after, "SIM002")
    block = mine[(mine["ts_recv"] == at)]
    expected = max(1, round(size * float(np.quantile(trades(CLEAN, "SIM002")["size"], 0.9999))))
    assert block["size"].tolist() == [expected]
    label = after.labels[0]
    assert label.ts_start == block["ts_event"][0]
    assert label.ts_end == at + 1
    before = mine["price"][np.searchsorted(mine["ts_recv"], at) - 1]
    assert abs(int(block["price"][0]) - int(before)) <= 30_000_000


def test_a_second_block_is_measured_by_the_clean_tape_too() -> None:
    once = inject(CLEAN, "block_trade", "SIM001", OPENS + 70 * MINUTE, 20.0, rng())
    twice = inject(once, "block_trade", "SIM001", OPENS + 170 * MINUTE, 20.0, rng())
    assert len(set(np.sort(trades(twice, "SIM001")["size"])[-2:].tolist())) == 1


def test_a_price_jump_stays() -> None:
    at = OPENS + 100 * MINUTE
    after = inject(CLEAN, "price_jump", "SIM003", at, 15.0, rng())
    ratio = trades(after, "SIM003")["price"] / trades(CLEAN, "SIM003")["price"]
    late = trades(CLEAN, "SIM003")["ts_recv"].astype(np.int64) >= at
    assert (ratio[~late] == 1).all()
    moved = np.log(ratio[late])
    assert np.ptp(moved) < 0.01 * abs(moved.mean()) + 1e-3
    ends = np.searchsorted(trades(CLEAN, "SIM003")["ts_recv"].astype(np.int64), at - MINUTE * np.arange(31))
    sigma = np.diff(np.log(trades(CLEAN, "SIM003")["price"][ends - 1] / 1e9)).std()
    assert abs(moved.mean()) == pytest.approx(15 * sigma, rel=0.05)


def test_a_flash_crash_falls_and_recovers_with_heavy_volume() -> None:
    start, end = OPENS + 100 * MINUTE, OPENS + 107 * MINUTE
    after = inject(CLEAN, "flash_crash", "SIM001", start, 6.0, rng())
    label = after.labels[0]
    assert (label.ts_start, label.ts_end) == (start, end)
    mine = trades(after, "SIM001")
    times = mine["ts_recv"].astype(np.int64)
    price = mine["price"] / 1e9
    level = price[np.searchsorted(times, start) - 1]
    inside = (times >= start) & (times < end)
    assert 0.93 * level < price[inside].min() < 0.955 * level
    assert 1 * MINUTE <= times[inside][price[inside].argmin()] - start <= 3 * MINUTE
    assert abs(price[np.searchsorted(times, end) + 1] / level - 1) < 0.015
    assert volume(after, "SIM001", start, end) > 2 * volume(CLEAN, "SIM001", start, end)


def test_bad_ticks_are_far_off_and_revert_at_once() -> None:
    after = inject(CLEAN, "bad_tick", "SIM002", OPENS + 80 * MINUTE, 5.0, rng())
    label = after.labels[0]
    mine = trades(after, "SIM002")
    off = mine["ts_event"].astype(np.int64) >= label.ts_start
    off &= mine["ts_recv"].astype(np.int64) < label.ts_end
    far = np.abs(mine["price"] / np.median(mine["price"][np.flatnonzero(off)[0] - 20 :][:15]) - 1) > 0.04
    assert 1 <= (far & off).sum() <= 3
    assert len(mine) - len(trades(CLEAN, "SIM002")) == (far & off).sum()
    after_it = np.flatnonzero(off)[-1] + 1
    assert not far[after_it : after_it + 5].any()


def test_silence_has_no_trades_and_no_hole_in_the_sequence() -> None:
    at = OPENS + 90 * MINUTE
    after = inject(CLEAN, "silence", "SIM001", at, 12.0, rng())
    assert volume(after, "SIM001", at, at + 12 * MINUTE) == 0
    assert volume(after, "SIM001", at - MINUTE, at) > 0
    assert others_unchanged(CLEAN, after, "SIM001")
    assert np.array_equal(after.records["sequence"], np.arange(1, len(after.records) + 1))


def test_a_gap_loses_everyone_and_its_sequence_numbers() -> None:
    at = OPENS + 90 * MINUTE
    after = inject(CLEAN, "gap", "SIM001", at, 20.0, rng())
    lost = len(CLEAN.records) - len(after.records)
    times = after.records["ts_recv"].astype(np.int64)
    assert not ((times >= at) & (times < at + 20 * SECOND)).any()
    assert lost > 0
    assert np.diff(after.records["sequence"].astype(np.int64)).max() == lost + 1
    assert after.records["sequence"][-1] == CLEAN.records["sequence"][-1]
    later = inject(after, "quote_burst", "SIM002", at + 30 * MINUTE, 200, rng())
    assert np.diff(later.records["sequence"].astype(np.int64)).max() == lost + 1


def test_a_quote_burst_is_many_single_shares_within_seconds() -> None:
    after = inject(CLEAN, "quote_burst", "SIM005", OPENS + 90 * MINUTE, 300, rng())
    label = after.labels[0]
    assert label.ts_end - label.ts_start < 6 * SECOND
    mine = trades(after, "SIM005")
    times = mine["ts_recv"].astype(np.int64)
    assert (mine["size"][(times >= label.ts_start) & (times < label.ts_end)] == 1).sum() >= 300


@pytest.mark.parametrize("kind", KINDS)
def test_injecting_leaves_the_given_session_as_it_was_and_is_repeatable(kind: str) -> None:
    before = CLEAN.records.copy()
    one, two = (inject(CLEAN, kind, "SIM001", OPENS + 99 * MINUTE, 9.0, rng()) for _ in range(2))
    assert np.array_equal(before, CLEAN.records)
    assert CLEAN.labels == ()
    assert one.records.tobytes() == two.records.tobytes()
    assert [label.kind for label in one.labels] == [kind]


def test_many_at_once_are_labelled_in_time_order() -> None:
    wanted = [
        Injection("block_trade", "SIM004", OPENS + 150 * MINUTE, 5.0),
        Injection("gap", "SIM001", OPENS + 120 * MINUTE, 5.0),
        Injection("bad_tick", "SIM002", OPENS + 70 * MINUTE, 5.0),
    ]
    after = inject_all(CLEAN, wanted, rng())
    assert [label.kind for label in after.labels] == ["bad_tick", "gap", "block_trade"]


def test_unknown_kinds_and_symbols_are_refused() -> None:
    with pytest.raises(ValueError, match="kind must be one of high_volume"):
        inject(CLEAN, "dip", "SIM001", OPENS, 1.0, rng())
    for kind in ("gap", "block_trade"):
        with pytest.raises(ValueError, match="key must be a symbol of the session, was 'SPY'"):
            inject(CLEAN, kind, "SPY", OPENS, 1.0, rng())
    with pytest.raises(ValueError, match="traded in too few"):
        inject(CLEAN, "high_volume", "SIM001", OPENS, 9.0, rng())
