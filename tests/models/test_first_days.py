"""First days of many dates: streams share no date and nothing a model was trained on, and alarms are counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from connectors.dbn_writer import write_dbn
from connectors.injections import inject
from connectors.market_simulator import MarketSimulation, simulate
from models import first_days as study
from models.bar_series import MOST_BARS, Series
from models.first_days import Cost, Spent, costs, first_days, streams
from tapewatch.documents import BAR
from tapewatch.records import DAY, HOUR, MINUTE, PRICE_SCALE, Array


def bars(days: int, a_day: int = 390, seed: int = 1) -> Array:
    """Return minute bars of a price that wanders."""
    rng = np.random.default_rng(seed)
    made = np.zeros(days * a_day, BAR)
    day, minute = np.divmod(np.arange(len(made)), a_day)
    made["ts_start"] = (20_000 + day) * DAY + 13 * HOUR + minute * MINUTE
    close = 100 * np.exp(np.cumsum(rng.normal(0, 5e-4, len(made))))
    opened = np.concatenate([[100.0], close[:-1]])
    for name, price in (("open", opened), ("close", close)):
        made[name] = np.rint(price * PRICE_SCALE)
    made["high"], made["low"] = (
        np.maximum(made["open"], made["close"]),
        np.minimum(made["open"], made["close"]),
    )
    made["trades"] = 1
    return made


def test_streams_share_no_date_and_leave_out_what_models_were_trained_on() -> None:
    made = bars(90)
    series = Series("x", made, len(made) - 6_000)
    some = streams(series, 20)
    dates = [np.unique(part["ts_start"] // DAY).tolist() for part in some]
    assert len(some) == 17
    assert all(len(one) <= 3 for one in dates)
    assert len({date for one in dates for date in one}) == sum(map(len, dates))
    trained = made["ts_start"][len(made) - MOST_BARS : series.cut]
    assert not any(np.isin(part["ts_start"], trained).any() for part in some)
    assert len(streams(series, 5)) == 5


def test_a_series_that_is_trained_on_as_a_whole_is_used_as_a_whole() -> None:
    made = bars(7)
    some = streams(Series("x", made, len(made) - 700), 20)
    assert [len(part) for part in some] == [3 * 390, 3 * 390]
    assert streams(Series("x", made[:99], 50), 20) == []


def test_bars_have_alarms_on_first_and_later_days(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    pa = pytest.importorskip("pyarrow")
    made = bars(9)
    # On the fourth date, which is the first of the second stream, and on the one after it.
    for at in (3 * 390 + 300, 4 * 390 + 300):
        for name in ("open", "high", "low", "close"):
            made[name][at:] = np.rint(made[name][at:] * (1.05 if name != "open" else 1.0))
    columns = {name: made[name] / PRICE_SCALE for name in ("open", "high", "low", "close")}
    path = tmp_path / "wander.parquet"
    pq.write_table(pa.table({"ts_event": made["ts_start"].astype("datetime64[ns]"), **columns}), path)
    found = {cost.detector: cost for cost in first_days([path]).costs}
    jumps = found["price_jump"]
    assert (jumps.source, jumps.streams, jumps.later_days) == ("wander", 3, 6)
    assert jumps.first >= 1 / 3
    assert jumps.later is not None
    assert jumps.later >= 1 / 6
    assert {"block_trade", "feed_integrity", "high_volume"}.isdisjoint(found)


def test_each_date_of_a_tape_is_a_first_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = simulate(MarketSimulation(symbols=2, minutes=780, seed=6, anomalies=()))
    for opens, _ in session.hours:
        session = inject(session, "block_trade", "SIM002", opens + 3 * HOUR, 400.0, np.random.default_rng(1))
    path = tmp_path / "days.dbn.zst"
    write_dbn(path, session.records, session.symbols)
    asked: list[Spent] = []

    def noted(spent: Iterable[Spent]) -> Iterator[Cost]:
        asked.extend(spent)
        return costs(asked)

    monkeypatch.setattr(study, "costs", noted)
    (blocks,) = (cost for cost in first_days([path]).costs if cost.detector == "block_trade")
    assert (blocks.streams, blocks.later_days) == (4, 2)
    assert sorted(len(stream.alarms) for stream in asked) == [1, 1, 2, 2]
    assert blocks.first >= 0.5


def test_tables_and_json_say_the_same() -> None:
    some = [Spent("x", ({"d": 2}, {"d": 1})), Spent("x", ({"d": 0},)), Spent("y", ({"d": 1},))]
    days = study.FirstDays(tuple(costs(some)))
    text = days.table()
    assert "| x: 2 first, 1 later days | y: 1 first, 0 later days |" in text
    assert "| `d` | 1.00 ± 1.00 / 1.00 | 1.00 /  |" in text
    assert [(row["source"], row["first"], row["later"]) for row in days.as_json()] == [
        ("x", 1.0, 1.0),
        ("y", 1.0, None),
    ]
