"""The study of the rules counts what it should: on a small session everything large is found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from connectors.market_simulator import MarketSimulation, simulate
from connectors.sessions import Label
from models import rule_quality
from models.rule_quality import KINDS, Found, planned, recall, tables, touches
from tapewatch.documents import Anomaly
from tapewatch.records import MINUTE


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rule_quality, "_SYMBOLS", 3)


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(("name", "size"), [("bad_tick", 5.0), ("silence", 120.0), ("gap", 30.0)])
def test_what_is_large_is_found_and_what_is_nothing_is_not(name: str, size: float) -> None:
    found = recall(name, size, [3])
    assert [f.events for f in found] == ([1, 1] if name == "gap" else [3, 3])
    assert [f.found for f in found] == [f.events for f in found]
    assert all(f.incidents <= 2 * f.found for f in found)


def test_a_silence_is_as_long_as_so_many_gaps() -> None:
    session = simulate(MarketSimulation(symbols=2, minutes=390, seed=2, anomalies=()))
    plan = planned(session, "silence", 20.0, np.random.default_rng(1))
    assert [injection.key for injection in plan] == ["SIM001", "SIM002"]
    for injection in plan:
        number = session.instrument_id(injection.key)
        times = session.records["ts_recv"][session.records["instrument_id"] == number].astype(np.int64)
        before = times[(times >= injection.at_ns - 30 * MINUTE) & (times < injection.at_ns)]
        assert injection.size == pytest.approx(20 * 30 / len(before))


def test_an_anomaly_touches_a_label_up_to_a_minute_after_it() -> None:
    label = Label("SYM1", "silence", 10 * MINUTE, 12 * MINUTE)
    anomaly = Anomaly(
        id="a", incident="a", revision=1, flow="market", detector="feed_integrity", dataset="", publisher_id=0,
        instrument_id=1, key="SYM1", symbol="SYM1", ts_event=0, ts_start=13 * MINUTE, ts_end=14 * MINUTE,
        severity=60.0, score=1.0, threshold=1.0, observed=1.0, expected=1.0, reason="", contributions={},
    )  # fmt: skip
    assert touches(anomaly, label)
    assert not touches(replace(anomaly, ts_start=13 * MINUTE + 1), label)
    assert not touches(replace(anomaly, key="SYM2"), label)
    assert not touches(replace(anomaly, ts_start=8 * MINUTE, ts_end=9 * MINUTE), label)


def test_the_tables_have_a_row_for_each_size_and_day() -> None:
    rows = {"gap": [Found(5.0, 1, 4, 3, 4), Found(5.0, 2, 4, 0, 0)]}
    text = tables({"price_jump": [1.0, 0.5]}, rows)
    assert "| price_jump | 1.00 | 0.50 |" in text
    assert f"`gap`: {KINDS['gap'].unit}" in text
    assert "| 5 | 1 | 4 | 3 | 0.750 | 1.33 |" in text
    assert "| 5 | 2 | 4 | 0 | 0.000 | 0.00 |" in text
