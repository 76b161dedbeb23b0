"""The page that scores one payment: what is asked, what is told of it, and what is wrong with it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from connectors.sqlite import SqliteWriter
from connectors.store_sqlite import SqliteStore
from dashboard.words import moment_of
from scoring.scorer import Scorer
from tapewatch.records import MINUTE

app: Any = import_module("tests.dashboard.test_app")
stored: Any = import_module("tests.scoring.stored")
paid: Any = import_module("tests.dashboard.made_payment_anomalies")
made: Any = import_module("tests.connectors.made_payments")
database = app.database
shown, checked, write, charts = app.shown, app.checked, app.write, app.charts
_JUDGED = 1_500


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a store in which a flow has left its anomalies and what it knows."""
    path = tmp_path_factory.mktemp("judged") / "results.db"
    flow = stored.Flow()
    with SqliteWriter(path) as writer:
        writer.write(flow.until(_JUDGED))
    flow.publish(path)
    return path


@pytest.fixture
def filled(judged: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("TAPEWATCH_SINKS__SQLITE__PATH", str(judged))
    monkeypatch.chdir(tmp_path)
    return judged


def asked(page: Any, **fields: Any) -> Any:
    """Fill the form of a page in, and press the button."""
    for name, value in fields.items():
        kind = {"user_id": page.text_input, "amount": page.number_input, "timestamp": page.datetime_input}
        kind.get(name, page.selectbox)(key=f"asked {name}").set_value(value)
    return checked(page.button[0].click().run())


def test_it_says_what_to_do_first(database: Path) -> None:
    assert "un the flow first" in shown("predict").info[0].value
    SqliteWriter(database).close()
    assert "Describe a payment" in shown("predict").info[0].value


def test_what_must_be_given_is_named(database: Path) -> None:
    SqliteWriter(database).close()
    page = asked(shown("predict"), user_id=" ", amount=None)
    assert "`Amount` must be given" in page.error[0].value
    assert "`User` must be given" in asked(page, user_id="", amount=5.0).error[0].value


def test_without_a_flow_it_says_what_it_is_compared_with(database: Path) -> None:
    SqliteWriter(database).close()
    page = asked(shown("predict"), user_id="ana", amount=5.0)
    assert any("simulated payments" in caption.value for caption in page.caption)
    assert charts(page) == 3
    assert not page.metric


def test_it_tells_what_the_flow_would(filled: Path) -> None:
    user = made.payments().users[_JUDGED]
    page = shown("predict", user=user)
    with SqliteStore(filled) as store:
        usual = store.profiles(user)[0]["locations"]
    elsewhere = next(place for place in page.selectbox(key="asked location").options if place not in usual)
    page = asked(page, amount=9_000.0, location=elsewhere, payment_method="card")
    row = {
        "transaction_id": "this payment", "user_id": user, "amount": 9_000.0, "location": elsewhere,
        "payment_method": "card", "timestamp": _next(page),
    }  # fmt: skip
    scorer = Scorer(stored.settings(filled))
    (wanted,) = scorer.score([row])
    scorer.close()
    assert wanted["is_anomaly"]
    assert wanted["basis"] == "profile"
    told = [markdown.value.replace("\\", "") for markdown in page.markdown]
    assert any(wanted["reason"] in text for text in told)
    assert any("an alarm" in text for text in told)
    compared = {metric.label: metric.delta for metric in page.metric}
    assert compared["Place"] == "never before"
    assert charts(page) == 3


def _next(page: Any) -> int:
    moment = page.datetime_input(key="asked timestamp").value
    last = int(made.payments().times[:_JUDGED].max())
    assert moment == moment_of(last + MINUTE)
    return int(moment.timestamp()) * 1_000_000_000


def test_a_stored_payment_fills_the_form(database: Path) -> None:
    write(database, anomalies=[paid.payment(1, "ana", 12.5, location="BR"), paid.make.anomaly(2)])
    page = shown("predict", payment=f"{1:032x}")
    assert page.text_input(key="asked user_id").value == "ana"
    assert page.number_input(key="asked amount").value == 12.5
    assert page.selectbox(key="asked location").value == "BR"
    # The same time of day, behind all that is stored.
    moment = page.datetime_input(key="asked timestamp").value
    assert f"{moment:%d %H:%M}" == "04 00:02"
    assert "not stored" in shown("predict", payment=f"{2:032x}").toast[0].value
