"""The page as Streamlit runs it, on results of every kind and on none."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from connectors.sqlite import SqliteWriter

make: Any = import_module("tests.connectors.made_results")

_APP = Path(__file__).parents[2] / "dashboard" / "app.py"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "results.db"
    monkeypatch.setenv("TAPEWATCH_SINKS__SQLITE__PATH", str(path))
    monkeypatch.chdir(tmp_path)
    return path


def shown() -> AppTest:
    page = AppTest.from_file(str(_APP), default_timeout=60).run()
    assert not page.exception
    return page


def charts(page: AppTest) -> int:
    return len(page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart"))


def write(path: Path, **parts: Any) -> None:
    with SqliteWriter(path) as writer:
        writer.write([make.results(**parts)])


def test_it_shows_lanes_reasons_and_the_worst_key_first(database: Path) -> None:
    calm, wild = make.anomaly(3, severity=55.0), make.anomaly(5, severity=91.0, key="QQQ", symbol="QQQ")
    tapes = [make.bars(*range(10, 40)), make.bars(*range(10, 40), key="QQQ")]
    write(database, bars=tapes, anomalies=[calm, wild], counters={"records": 1234})
    page = shown()
    assert [metric.value for metric in page.metric] == ["1,234", "0", "60", "2"]
    assert list(page.dataframe[0].value["severity"]) == [91.0, 55.0]
    assert page.dataframe[0].value["reason"][0] == wild.reason
    assert page.selectbox(key="key").options == ["QQQ", "SPY"]
    assert charts(page) == 3

    page.slider(key="least").set_value(60).run()
    assert not page.exception
    assert list(page.dataframe[0].value["key"]) == ["QQQ"]
    page.selectbox(key="key").set_value("SPY").run()
    assert not page.exception
    assert charts(page) == 3


def test_anomalies_without_bars_and_bars_without_anomalies(database: Path, tmp_path: Path) -> None:
    write(database, anomalies=[make.anomaly()])
    page = shown()
    assert len(page.dataframe) == 1
    assert "No bars are stored" in page.info[0].value
    database.unlink()
    write(database, bars=[make.bars(1, 2, 3)])
    page = shown()
    assert "No anomalies" in page.info[0].value
    assert charts(page) == 2


def test_without_results_it_says_what_to_do(database: Path) -> None:
    assert "run the flow first" in shown().info[0].value
    SqliteWriter(database).close()
    assert "Nothing is stored" in shown().info[0].value


def test_a_store_may_be_replaced_while_it_is_looked_at(database: Path, tmp_path: Path) -> None:
    write(database, bars=[make.bars(1, 2)], anomalies=[make.anomaly()])
    page = shown()
    other = tmp_path / "other.db"
    write(other, bars=[make.bars(1, 2, key="IWM")])
    database.unlink()
    for suffix in ("-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    shutil.move(other, database)
    page.run()
    assert not page.exception
    assert page.selectbox(key="key").options == ["IWM"]
