"""The pages as Streamlit runs them, on results of every kind and on none."""

from __future__ import annotations

import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from connectors.sqlite import SqliteWriter

make: Any = import_module("tests.connectors.made_results")
paid: Any = import_module("tests.dashboard.made_payment_anomalies")

_APP = Path(__file__).parents[2] / "dashboard" / "app.py"


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "results.db"
    monkeypatch.setenv("TAPEWATCH_SINKS__SQLITE__PATH", str(path))
    monkeypatch.chdir(tmp_path)
    return path


def shown(page: str = "", **query: str) -> AppTest:
    """Return a page as it is drawn first; without a name it is the monitor."""
    drawn = AppTest.from_file(str(_APP), default_timeout=280)
    if page:
        drawn._page_hash = calc_hash(page)
    for name, value in query.items():
        drawn.query_params[name] = value
    return checked(drawn.run())


def checked(page: AppTest) -> AppTest:
    assert not page.exception
    return page


def charts(page: AppTest) -> int:
    return len(page.get("vega_lite_chart") or page.get("arrow_vega_lite_chart"))


def write(path: Path, **parts: Any) -> None:
    with SqliteWriter(path) as writer:
        writer.write([make.results(**parts)])


def figures(page: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in page.metric}


def test_the_monitor_shows_lanes_reasons_and_the_worst_key_first(database: Path) -> None:
    calm, wild = make.anomaly(3, severity=55.0), make.anomaly(5, severity=91.0, key="QQQ", symbol="QQQ")
    tapes = [make.bars(*range(10, 40)), make.bars(*range(10, 40), key="QQQ")]
    scores = [make.scores(1.0, 5.0, 2.0, key="QQQ")]
    write(database, bars=tapes, scores=scores, anomalies=[calm, wild], counters={"records": 1234})
    page = shown()
    told = figures(page)
    assert (told["Records"], told["Anomalies"], told["Bars"]) == ("1,234", "2", "60")
    assert list(page.dataframe[0].value["severity"]) == [91.0, 55.0]
    assert page.dataframe[0].value["reason"][0] == wild.reason
    assert page.selectbox(key="key").value == "QQQ"
    assert charts(page) == 4

    checked(page.slider(key="least").set_value(60).run())
    assert list(page.dataframe[0].value["key"]) == ["QQQ"]
    checked(page.selectbox(key="key").set_value("SPY").run())
    assert charts(page) == 3
    assert "Scores are not kept" in page.caption[-1].value


def test_anomalies_without_bars_and_bars_without_anomalies(database: Path) -> None:
    write(database, anomalies=[make.anomaly()])
    page = shown()
    assert len(page.dataframe) == 1
    assert "No bars are stored" in page.info[0].value
    database.unlink()
    write(database, bars=[make.bars(1, 2, 3)])
    page = shown()
    assert "No anomalies" in page.info[0].value
    assert charts(page) == 2


@pytest.mark.parametrize("name", ["", "anomalies", "review"])
def test_without_results_it_says_what_to_do(database: Path, name: str) -> None:
    assert "un the flow first" in shown(name).info[0].value
    SqliteWriter(database).close()
    assert "Nothing is stored" in shown(name).info[0].value


@pytest.mark.parametrize("name", ["", "anomalies", "review"])
def test_a_store_that_is_none_is_told_of(database: Path, name: str) -> None:
    database.write_text("this is no database, but a text")
    assert "is not a SQLite database" in shown(name).error[0].value


def test_a_store_may_be_replaced_while_it_is_looked_at(database: Path, tmp_path: Path) -> None:
    write(database, bars=[make.bars(1, 2)], anomalies=[make.anomaly()])
    page = shown()
    other = tmp_path / "other.db"
    write(other, bars=[make.bars(1, 2, key="IWM")])
    database.unlink()
    for suffix in ("-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    shutil.move(other, database)
    checked(page.run())
    assert page.selectbox(key="key").options == ["IWM"]


def test_anomalies_are_narrowed_by_what_the_address_says(database: Path) -> None:
    made = [
        make.anomaly(n, key="SPY" if n % 2 else "QQQ", detector=("high_volume", "price_jump")[n % 2])
        for n in range(6)
    ]
    lost = make.anomaly(9, contributions={"lost_records": 1.0}, severity=99.0, reason="Two were lost.")
    write(database, anomalies=[*made, lost])
    assert len(shown("anomalies").expander) == 7
    assert len(shown("anomalies", key="QQQ").expander) == 3
    assert len(shown("anomalies", detector="price_jump", least="53").expander) == 2
    (line,) = shown("anomalies", kind="lost records").expander
    assert "Two were lost" in line.label.replace("\\", "")
    assert "Nothing fits" in shown("anomalies", q="nobody").info[0].value
    minute = shown("anomalies", since="2024-06-03T00:03", until="2024-06-03T00:05")
    assert len(minute.expander) == 2
    assert (
        "must be before"
        in shown("anomalies", since="2024-06-03T00:05", until="2024-06-03T00:03").warning[0].value
    )


def test_the_address_of_another_page_is_no_cursor(database: Path) -> None:
    write(database, anomalies=[make.anomaly()])
    assert "`after` must be a cursor" in shown("anomalies", after="x").error[0].value


def test_symbols_are_no_markdown(database: Path) -> None:
    write(
        database,
        anomalies=[make.anomaly(key="![x](http://example.invalid/a.png)", reason="# *big* $x$ :red[y]")],
    )
    label = shown("anomalies").expander[0].label
    assert "![x](" not in label
    assert "*big*" not in label
    assert ":red[" not in label


def test_what_a_payment_or_a_tape_says_of_itself_is_no_markdown(database: Path) -> None:
    image = "![x](http://example.invalid/a.png)"
    strange = paid.payment(1, location=image, merchant_category=f"*{image}*")
    tape = make.anomaly(2, key=image)
    write(database, anomalies=[strange, tape], bars=[make.bars(1, 2, key=image)], profiles=[paid.profile()])
    opened = figures(shown("anomalies", id=strange.id))
    compared = figures(shown("users", user="ana"))
    for told in (opened, compared):
        assert told["Place"].startswith(r"\!\[x\]")
        assert "![" not in told["Category"]
    page = shown("")
    assert any("bars of 1m" in caption.value for caption in page.caption)
    assert not any("![" in caption.value for caption in page.caption)


def test_what_is_reviewed_leaves_the_queue(database: Path) -> None:
    pair = [make.anomaly(n, incident="pair", severity=90.0 + n) for n in (1, 2)]
    write(database, anomalies=[*pair, make.anomaly(7, severity=60.0)])
    page = shown("review")
    assert "Nobody has reviewed" in page.info[0].value
    page.text_input(key="reviewer-queue").set_value("ana")
    checked(page.button(key=f"confirm-{2:032x}").click().run())
    checked(page.button(key=f"refuse-{7:032x}").click().run())
    assert "Everything" in page.success[0].value
    by_detector, by_reviewer = page.dataframe
    assert by_detector.value.to_dict("records") == [
        {"detector": "high_volume", "confirmed": 2, "false alarms": 1, "precision": 2 / 3}
    ]
    assert list(by_reviewer.value["reviewer"]) == ["ana"]
    assert len(shown("anomalies", reviewed="not reviewed").expander) == 0
    assert len(shown("anomalies", reviewed="reviewed").expander) == 2


def test_control_is_off_unless_it_is_switched_on(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = AppTest.from_string("from dashboard.control import page\npage()")
    assert "switches this page on" in checked(alone.run()).info[0].value
    monkeypatch.setenv("TAPEWATCH_DASHBOARD__CONTROL", "true")
    # Here no address is set, which is all of them.
    assert "set a password" in checked(alone.run()).error[0].value
    monkeypatch.setenv("TAPEWATCH_DASHBOARD__TOKEN", "hunter2")
    assert [button.label for button in checked(alone.run()).button] == ["Start"]


def test_the_password_is_asked_for_once(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEWATCH_DASHBOARD__TOKEN", "hunter2")
    write(database, bars=[make.bars(1, 2)], anomalies=[make.anomaly()])
    page = shown()
    assert not page.metric
    page.text_input[0].set_value("hunter")
    checked(page.button[0].click().run())
    assert "not the password" in page.error[0].value
    assert not page.metric
    page.text_input[0].set_value("hunter2")
    checked(page.button[0].click().run())
    assert page.metric
    assert checked(page.run()).metric


def test_wrong_settings_are_told(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEWATCH_SHARDS", "0")
    assert "`shards` must be" in shown().error[0].value
