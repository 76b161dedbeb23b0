"""Real days: what the flow says, and what is on the tape beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from connectors.dbn_writer import write_dbn
from connectors.injections import inject
from connectors.market_simulator import MarketSimulation, simulate
from models.real_days import RealDays, judge_files, real_days, tables
from operators.detectors import detectors
from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR, SECOND


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[RealDays, int]:
    session = simulate(MarketSimulation(symbols=3, minutes=460, seed=6, anomalies=()))
    # Not at the turn of a minute: what happens just before it is no part of that minute's windows.
    at = session.hours[0][0] + 3 * HOUR + 20 * SECOND
    session = inject(session, "block_trade", "SIM002", at, 400.0, np.random.default_rng(1))
    path = tmp_path_factory.mktemp("tape") / "days.dbn.zst"
    write_dbn(path, session.records, session.symbols)
    return real_days([path], 4), at


def test_what_was_injected_is_the_worst_and_the_remark_is_its_own(judged: tuple[RealDays, int]) -> None:
    days, at = judged
    first = days.worst[0]
    assert (first.key, abs(first.ts_start - at) < HOUR // 60) == ("SIM002", True)
    assert "block_trade" in (first.detector, *first.others)
    assert "of the day's volume" in first.remark
    assert len(days.worst) == 4
    severities = [incident.severity for incident in days.worst]
    assert severities == sorted(severities, reverse=True)


def test_spending_is_told_for_each_instrument_and_day(judged: tuple[RealDays, int]) -> None:
    spent = {(s.key, s.first): s for s in judged[0].spending}
    assert set(spent) == {(f"SIM00{n}", first) for n in (1, 2, 3) for first in (True, False)}
    assert spent["SIM002", True].alarms["block_trade"] >= 1
    assert spent["SIM002", False].day - spent["SIM002", True].day == 1
    assert all(s.trades >= 400 for s in spent.values())


def test_rates_are_of_every_detector_that_is_on(judged: tuple[RealDays, int]) -> None:
    days = judged[0]
    told = days.as_json()["alarms_per_instrument_day"]
    assert set(told) >= {d.name for d in detectors({})}
    for name, rate in told.items():
        alarms = [spent.alarms.get(name, 0) for spent in days.spending]
        assert rate["all_days"] == pytest.approx(np.mean(alarms), abs=1e-3)
        assert f"| `{name}` | {rate['first_day']:.2f} | {rate['later_days']:.2f} |" in tables(days)
    assert told["block_trade"]["first_day"] > 0


def test_tables_and_json_say_the_same(judged: tuple[RealDays, int]) -> None:
    days = judged[0]
    text, plain = tables(days), days.as_json()
    for place, row in enumerate(plain["worst"], start=1):
        assert f"| {place} | {row['ts_start'][:19].replace('T', ' ')} | {row['key']} |" in text
        assert f"| {row['reason']} | {row['remark']} |" in text
    for row in plain["spending"]:
        assert f"| {row['key']} | {row['day']}" in text


def test_a_refusal_of_the_flow_is_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "a.dbn"
    path.write_bytes(b"not a tape")
    with pytest.raises(UserError, match=r"a\.dbn"):
        judge_files([path], tmp_path / "results.db")


def test_on_the_real_days_detectors_keep_to_the_budget(data: Path) -> None:
    """On the second day each has an alarm an instrument or so, and nobody's first day is a flood."""
    names = ("equs-mini-20131007.trades.dbn.zst", "equs-mini-20131008.trades.dbn.zst")
    days = real_days([data / "dbn" / name for name in names], 20)
    for name in days.detectors:
        later = [spent.alarms.get(name, 0) for spent in days.spending if not spent.first]
        assert len(later) == 4
        assert np.mean(later) <= 1.5
        assert max(spent.alarms.get(name, 0) for spent in days.spending) <= 5
    assert len(days.worst) == 20
    assert all(incident.remark for incident in days.worst)
    assert {incident.ts_start // DAY for incident in days.worst} == {15_985, 15_986}
