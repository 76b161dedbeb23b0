"""The page of a user: found by how its id begins, compared with one of its payments."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.sqlite import SqliteWriter
from tapewatch.pseudonyms import Pseudonyms

app: Any = import_module("tests.dashboard.test_app")
paid: Any = import_module("tests.dashboard.made_payment_anomalies")
make: Any = import_module("tests.connectors.made_results")
database = app.database
shown, checked, write, charts = app.shown, app.checked, app.write, app.charts


def test_without_payments_it_says_what_to_do(database: Path) -> None:
    assert "un the flow first" in shown("users").info[0].value
    write(database, bars=[make.bars(1, 2)], anomalies=[make.anomaly()])
    assert "flows.transactions:flow" in shown("users").info[0].value
    assert "No user begins with nobody" in shown("users", user="nobody").info[0].value


def test_users_are_found_by_how_their_id_begins(database: Path) -> None:
    users = ["ana", "anb", "an\U0001f600", "a%", "bea"]
    write(database, anomalies=[paid.payment(1, "bea")], profiles=[paid.profile(user) for user in users])
    assert list(shown("users").dataframe[0].value["user"]) == ["bea"]
    page = shown("users", user="an")
    assert list(page.dataframe[0].value["user"]) == ["ana", "anb", "an\U0001f600"]
    checked(page.text_input(key="user").set_value("a%").run())
    assert "No payment of this user" in page.success[0].value
    checked(page.text_input(key="user").set_value("%").run())
    assert "No user begins" in page.info[0].value


def test_a_payment_is_compared_with_what_is_usual(database: Path) -> None:
    strange = paid.payment(8 * 60 - 1, amount=1000.0, location="BR", payment_method=None, severity=91.0)
    write(database, anomalies=[paid.payment(1), strange], profiles=[paid.profile()])
    page = shown("users", user="ana")
    told = {metric.label: (metric.value, metric.delta) for metric in page.metric}
    assert told["Payments"][0] == "10"
    # The newest, at 08:00.
    assert told["Amount"] == ("1,000.00", "50 × mean")
    assert told["Place"] == ("BR", "never before")
    assert told["Category"] == ("fuel", "usual: 100%")
    assert told["Method"] == ("(unknown)", "not told")
    assert told["Hour (UTC)"] == ("8:00", "usual: 75%")
    assert charts(page) == 6
    assert list(page.dataframe[0].value["amount"]) == [1000.0, 50.0]

    older = shown("users", user="ana", payment=f"{1:032x}")
    assert {metric.label: metric.delta for metric in older.metric}["Place"] == "usual: 90%"


def test_the_worst_of_its_anomalies_speaks_for_a_payment(database: Path) -> None:
    mild = paid.payment(1, reason="Somewhat odd.", severity=51.0)
    grave = paid.payment(2, incident=mild.incident, reason="Very odd.", severity=95.0, ts_event=mild.ts_event)
    write(database, anomalies=[mild, grave], profiles=[paid.profile()])
    assert list(shown("users", user="ana").dataframe[0].value["reason"]) == ["Very odd."]


def test_an_address_names_no_payment_of_another_user(database: Path) -> None:
    write(database, anomalies=[paid.payment(1), paid.payment(2, "bea")], profiles=[paid.profile()])
    page = shown("users", user="ana", payment=f"{2:032x}")
    assert "not one of this user" in page.toast[0].value
    assert "Volume" in page.markdown[0].value


def test_a_user_is_found_by_an_id_that_is_stored_as_a_pseudonym(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "a-key-that-only-the-tests-have"
    name = Pseudonyms(key.encode()).of("ana")
    write(database, anomalies=[paid.payment(1, name)], profiles=[paid.profile(name)])
    assert "No user begins" in shown("users", user="ana").info[0].value
    monkeypatch.setenv("TAPEWATCH_TRANSACTIONS__PSEUDONYMISE", "true")
    assert "PSEUDONYM_KEY" in shown("users", user="ana").error[0].value
    monkeypatch.setenv("TAPEWATCH_TRANSACTIONS__PSEUDONYM_KEY", key)
    for asked in ("ana", name):
        page = shown("users", user=asked)
        assert {metric.label: metric.value for metric in page.metric}["Payments"] == "10"
        assert len(page.dataframe[0].value) == 1


def test_payments_are_shown_without_a_profile(database: Path) -> None:
    write(database, anomalies=[paid.payment(1, "*ana*")])
    page = shown("users", user="*ana*")
    assert "transactions.mode" in page.info[0].value
    assert r"\*ana\*" in page.info[0].value
    assert charts(page) == 1


def test_a_profile_without_anything_known(database: Path) -> None:
    nothing = dict.fromkeys(("locations", "merchant_categories", "payment_methods", "hours"))
    amounts = dict.fromkeys(("amount_min", "amount_max", "amount_mean"))
    with SqliteWriter(database) as writer:
        profile = paid.profile(**nothing, **amounts)
        writer.write([make.results(anomalies=[paid.payment(1)], profiles=[profile])])
    page = shown("users", user="ana")
    assert {metric.label: metric.value for metric in page.metric}["Mean amount"] == "–"


def test_one_anomaly_leads_to_its_user(database: Path) -> None:
    write(database, anomalies=[paid.payment(1, amount=12.5, risk_level="high")])
    page = shown("anomalies", id=f"{1:032x}")
    told = {metric.label: metric.value for metric in page.metric}
    assert (told["Amount"], told["Place"], told["Risk"]) == ("12.50", "DE", "high")
    assert orjson.loads(page.json[0].value)["transaction_id"] == "t1"
    assert not any("bars" in caption.value for caption in page.caption)
