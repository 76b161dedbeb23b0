"""The simulated market: the same for the same seed, well-formed, and like a market."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.injections import KINDS
from connectors.market_simulator import SESSION_MINUTES, MarketSimulation, simulate
from connectors.sessions import Session
from tapewatch.errors import UserError
from tapewatch.records import MINUTE, TRADE, Array
from tests.examples import tried


@pytest.fixture(scope="module")
def clean() -> Session:
    return simulate(MarketSimulation(anomalies=()))


def minute_volumes(session: Session, day: int = 0) -> Array:
    """Return volumes of shape (symbols, minutes)."""
    opens, closes = session.hours[day]
    times = session.records["ts_recv"].astype(np.int64)
    here = session.records[(times >= opens) & (times < closes)]
    rows = np.searchsorted(list(session.symbols), here["instrument_id"])
    minutes = (here["ts_recv"].astype(np.int64) - opens) // MINUTE
    volumes = np.zeros((len(session.symbols), (closes - opens) // MINUTE), np.int64)
    np.add.at(volumes, (rows, minutes), here["size"])
    return volumes


def test_the_same_seed_gives_the_same_bytes_whatever_the_hash_seed() -> None:
    code = (
        "import hashlib; from connectors.market_simulator import MarketSimulation, simulate;"
        "s = simulate(MarketSimulation(symbols=9, minutes=150, seed=4));"
        "print(hashlib.sha256(s.records.tobytes()).hexdigest(), s.labels)"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "77")
    }
    session = simulate(MarketSimulation(symbols=9, minutes=150, seed=4))
    digest = hashlib.sha256(session.records.tobytes()).hexdigest()
    assert outputs == {f"{digest} {session.labels}\n"}
    assert session.labels


def test_another_seed_gives_another_session() -> None:
    one, two = (simulate(MarketSimulation(symbols=2, minutes=5, seed=seed)) for seed in (1, 2))
    assert one.records.tobytes() != two.records.tobytes()


def test_the_order_of_the_kinds_is_of_no_consequence() -> None:
    there = simulate(MarketSimulation(symbols=4, minutes=120, anomalies=("gap", "block_trade")))
    back = simulate(MarketSimulation(symbols=4, minutes=120, anomalies=("block_trade", "gap")))
    assert there.labels == back.labels
    assert there.records.tobytes() == back.records.tobytes()


@settings(max_examples=tried(40), deadline=None)
@given(
    symbols=st.integers(1, 9),
    minutes=st.integers(1, 2 * SESSION_MINUTES + 5),
    seed=st.integers(0, 2**40),
    kinds=st.sets(st.sampled_from(KINDS)),
    rate=st.sampled_from([0.01, 1.0, 5.0, 20.0]),
)
def test_every_session_is_well_formed(
    symbols: int, minutes: int, seed: int, kinds: set[str], rate: float
) -> None:
    session = simulate(MarketSimulation(symbols, minutes, seed, tuple(kinds), rate))
    records = session.records
    assert records.dtype == TRADE
    received = records["ts_recv"].astype(np.int64)
    delay = received - records["ts_event"].astype(np.int64)
    assert (np.diff(received) >= 0).all()
    assert ((delay >= 20_000) & (delay < 300_000)).all()
    assert (np.diff(records["sequence"].astype(np.int64)) >= 1).all()
    assert (records["price"] > 0).all()
    assert (records["price"] % 10_000_000 == 0).all()
    assert (records["size"] >= 1).all()
    assert set(np.unique(records["instrument_id"]).tolist()) <= set(session.symbols)
    assert set(np.unique(records["side"]).tolist()) <= {b"A", b"B", b"N"}
    assert (records["flags"] == 128).all()
    inside = np.zeros(len(records), bool)
    for opens, closes in session.hours:
        inside |= (received >= opens) & (received < closes)
    assert inside.all()
    assert {label.kind for label in session.labels} <= kinds
    for label in session.labels:
        assert label.key in session.symbols.values()
        assert label.ts_start < label.ts_end
        opens, closes = next(h for h in session.hours if h[0] <= label.ts_start < h[1])
        # A label begins at most with the first print's ts_event, shortly before it was received.
        assert opens + 60 * MINUTE - 300_000 <= label.ts_start
        assert label.ts_end <= closes


def test_days_are_weekdays_and_instruments_keep_their_ids() -> None:
    friday = dt.date(2024, 6, 7)
    session = simulate(MarketSimulation(3, 2 * SESSION_MINUTES + 20, anomalies=(), start=friday))
    opens = [dt.datetime.fromtimestamp(h[0] // 10**9, dt.UTC) for h in session.hours]
    assert [f"{o:%a %H:%M}" for o in opens] == ["Fri 13:30", "Mon 13:30", "Tue 13:30"]
    assert (session.hours[2][1] - session.hours[2][0]) // MINUTE == 20
    for day in range(3):
        assert (minute_volumes(session, day).sum(axis=1) > 0).all()
    last = session.records["ts_recv"][-1]
    assert session.hours[2][0] < last < session.hours[2][1]


def test_without_injections_the_tape_is_the_same_clean_one(clean: Session) -> None:
    session = simulate(MarketSimulation(anomalies=("block_trade",)))
    added = ~np.isin(session.records["ts_recv"], clean.records["ts_recv"])
    assert 0 < added.sum() <= len(session.labels)
    kept = session.records[~added]
    for name in ("ts_recv", "ts_event", "price", "size", "instrument_id"):
        assert np.array_equal(kept[name], clean.records[name])


def test_activity_is_u_shaped(clean: Session) -> None:
    volumes = minute_volumes(clean).sum(axis=0)
    midday = np.median(volumes[150:270])
    assert volumes[:5].mean() > 2.5 * midday
    assert 1.2 * midday < volumes[20:30].mean() < volumes[:10].mean() / 1.5
    assert volumes[-5:].mean() > 2 * midday


def test_every_symbol_trades_and_activity_is_spread(clean: Session) -> None:
    counts = np.unique(clean.records["instrument_id"], return_counts=True)[1] / SESSION_MINUTES
    assert len(counts) == 20
    assert counts.min() > 4
    assert counts.max() > 5 * np.median(counts)


def test_minute_volumes_are_roughly_lognormal_about_their_local_median(clean: Session) -> None:
    volumes = minute_volumes(clean)
    windows = np.lib.stride_tricks.sliding_window_view(volumes, 31, axis=1)
    ratios = np.log(np.maximum(volumes[:, 15:-15], 1) / np.median(windows, axis=2))
    assert 0.35 < np.median(ratios.std(axis=1)) < 0.6
    assert ratios.std(axis=1).min() > 0.25


def test_sizes_are_odd_lots_hundreds_and_a_heavy_tail(clean: Session) -> None:
    sizes = clean.records["size"]
    assert 0.2 < (sizes < 100).mean() < 0.5
    assert 0.35 < (sizes == 100).mean() < 0.6
    largest = np.sort(sizes)[-len(sizes) // 200 :].astype(float)
    hill = 1 / np.log(largest / largest[0]).mean()
    assert 1.9 < hill < 3.2


def test_returns_move_together_and_prices_bounce(clean: Session) -> None:
    opens = clean.hours[0][0]
    returns, bounces = [], []
    for instrument in list(clean.symbols)[:10]:
        mine = clean.records[clean.records["instrument_id"] == instrument]
        ends = np.searchsorted(mine["ts_recv"].astype(np.int64), opens + MINUTE * np.arange(1, 391))
        returns.append(np.diff(np.log(mine["price"][ends - 1] / 1e9)))
        ticks = np.diff(mine["price"]) / 1e7
        bounces.append(np.corrcoef(ticks[1:], ticks[:-1])[0, 1])
    correlations = np.corrcoef(returns)[np.triu_indices(10, 1)]
    assert 0.1 < np.median(correlations) < 0.6
    assert np.median(bounces) < -0.2
    assert 1e-4 < np.median(np.std(returns, axis=1)) < 3e-3


def test_no_python_is_run_for_each_trade() -> None:
    lines = 0

    def count(frame: object, event: str, argument: object) -> Any:
        nonlocal lines
        lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        session = simulate(MarketSimulation(symbols=10, trades_per_minute=40.0))
    finally:
        sys.settrace(before)
    assert len(session.records) > 140_000
    assert lines < len(session.records) / 4


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        ({"symbols": 0}, "`symbols` must be from 1 to 1000, was 0"),
        ({"minutes": 97_501}, "`minutes` must be from 1 to 97500, was 97501"),
        ({"seed": -1}, "`seed` must be from 0 to 9223372036854775807, was -1"),
        ({"trades_per_minute": float("nan")}, "`trades_per_minute` must be from 0.01 to 100000, was nan"),
        (
            {"symbols": 1000, "minutes": 3900},
            "`symbols` times `minutes` must be at most 1250000, was 3900000",
        ),
    ],
)
def test_bad_values_are_named(wrong: dict[str, int], line: str) -> None:
    with pytest.raises(UserError, match="must be") as caught:
        MarketSimulation(**wrong)  # type: ignore[arg-type]
    assert str(caught.value) == line


def test_an_unknown_kind_names_those_there_are() -> None:
    with pytest.raises(UserError, match=r"high_volume, .*quote_burst, was 'dip'"):
        MarketSimulation(anomalies=("dip",))
