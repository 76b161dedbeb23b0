"""The anomalies of a simulated session are few, apart from each other, and as large as promised."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from connectors.injections import KINDS
from connectors.market_simulator import SESSION_MINUTES, MarketSimulation, simulate
from connectors.sessions import Label, Session
from tapewatch.records import MINUTE


@pytest.fixture(scope="module", params=[1, 2, 3])
def session(request: pytest.FixtureRequest) -> Session:
    return simulate(MarketSimulation(seed=request.param))


def volumes(session: Session, label: Label) -> tuple[float, float]:
    """Return the window's volume and the median of the 30 minutes before."""
    mine = session.records[session.records["instrument_id"] == session.instrument_id(label.key)]
    times = mine["ts_recv"].astype(np.int64)
    first = label.ts_start // MINUTE * MINUTE
    edges = np.searchsorted(times, first - MINUTE * np.arange(30, -1, -1))
    sums = np.concatenate([[0], np.cumsum(mine["size"].astype(np.int64))])
    low, high = np.searchsorted(times, [label.ts_start, label.ts_end])
    return float(sums[high] - sums[low]), float(np.median(np.diff(sums[edges])))


def test_each_kind_comes_once_on_a_default_day(session: Session) -> None:
    assert sorted(label.kind for label in session.labels) == sorted(KINDS)
    assert len({label.key for label in session.labels}) == len(KINDS)


def test_about_one_for_three_or_four_symbols() -> None:
    many = simulate(MarketSimulation(symbols=60, trades_per_minute=15.0))
    assert 15 <= len(many.labels) <= 20
    one = simulate(MarketSimulation(symbols=1))
    assert len(one.labels) == 1


@pytest.mark.parametrize("minutes", [100, SESSION_MINUTES, 3 * SESSION_MINUTES])
def test_they_keep_their_distance(minutes: int) -> None:
    session = simulate(MarketSimulation(symbols=12, minutes=minutes, seed=8))
    assert session.labels == tuple(sorted(session.labels, key=lambda label: (label.ts_start, label.key)))
    for one, two in itertools.combinations(session.labels, 2):
        gap = max(one.ts_start, two.ts_start) - min(one.ts_end, two.ts_end)
        if one.key == two.key:
            assert gap >= 29 * MINUTE
        elif "gap" in (one.kind, two.kind):
            assert gap >= 4 * MINUTE


def test_a_high_volume_label_holds_eight_times_the_local_median() -> None:
    session = simulate(MarketSimulation(symbols=40, anomalies=("high_volume",)))
    assert len(session.labels) >= 10
    for label in session.labels:
        volume, median = volumes(session, label)
        assert volume >= 8 * median
        # So does one minute of the clock, wherever the window begins.
        first = label.ts_start // MINUTE * MINUTE
        minutes = [
            label._replace(ts_start=at, ts_end=at + MINUTE) for at in range(first, label.ts_end, MINUTE)
        ]
        assert max(volumes(session, minute)[0] for minute in minutes) >= 7.99 * median
        assert label.ts_end - label.ts_start in (MINUTE, 2 * MINUTE, 3 * MINUTE)


def test_a_silence_falls_on_a_symbol_that_trades(session: Session) -> None:
    label = next(label for label in session.labels if label.kind == "silence")
    volume, median = volumes(session, label)
    assert volume == 0
    assert median > 0
    assert 10 * MINUTE <= label.ts_end - label.ts_start <= 20 * MINUTE


def test_a_short_session_has_none() -> None:
    assert simulate(MarketSimulation(minutes=60)).labels == ()
