"""The page of amounts: sums by place, category and method of what the filters leave."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from dashboard.words import table_of

app: Any = import_module("tests.dashboard.test_app")
paid: Any = import_module("tests.dashboard.made_payment_anomalies")
make: Any = import_module("tests.connectors.made_results")
database = app.database
shown, checked, write, charts, figures = app.shown, app.checked, app.write, app.charts, app.figures


@pytest.fixture
def filled(database: Path) -> Path:
    anomalies = [
        paid.payment(1, "ana", 100.0, location="DE", severity=60.0),
        paid.payment(2, "ana", 10.0, location="BR", merchant_category="travel", severity=95.0),
        paid.payment(3, "bea", 30.0, location=None, payment_method="transfer", severity=99.0),
        # The same payment, found by another detector.
        paid.payment(4, "bea", 30.0, location=None, payment_method="transfer", incident=f"{3:032x}"),
    ]
    anomalies[3] = anomalies[3].__class__(
        **{name: getattr(anomalies[3], name) for name in anomalies[3].__slots__}
        | {"payment": anomalies[2].payment, "ts_event": anomalies[2].ts_event, "severity": 51.0}
    )
    write(database, anomalies=[*anomalies, make.anomaly(50, severity=99.9)])
    return database


def test_without_payments_it_says_what_to_do(database: Path) -> None:
    assert "un the flow first" in shown("amounts").info[0].value
    write(database, anomalies=[make.anomaly()])
    assert "flows.transactions:flow" in shown("amounts").info[0].value


def test_each_payment_counts_once(filled: Path) -> None:
    page = shown("amounts")
    assert figures(page) == {"Payments": "3", "Together": "140", "Mean": "46.67", "Largest": "100.00"}
    assert list(page.dataframe[0].value["user_id"]) == ["bea", "ana", "ana"]
    assert charts(page) == 2
    assert page.selectbox(key="location").options == ["BR", "DE"]


def test_filters_come_from_the_address(filled: Path) -> None:
    assert figures(shown("amounts", least="90"))["Together"] == "40"
    assert figures(shown("amounts", location="DE"))["Together"] == "100"
    assert figures(shown("amounts", by="Method", payment_method="transfer"))["Together"] == "30"
    assert figures(shown("amounts", merchant_category="travel", range="1 hour"))["Together"] == "10"
    assert "No payment fits" in shown("amounts", location="BR", detector="ensemble").info[0].value


def test_a_place_that_is_gone_does_not_end_the_page(filled: Path) -> None:
    page = shown("amounts")
    checked(page.selectbox(key="location").set_value("DE").run())
    assert figures(page)["Payments"] == "1"
    assert not shown("amounts", location="XX").exception


def test_payments_are_exported_with_what_was_paid() -> None:
    row = dict.fromkeys(("transaction_id", "user_id", "amount"))
    anomaly = paid.payment(1, amount=12.5)
    told = {name: getattr(anomaly, name) for name in anomaly.__slots__ if name != "payment"}
    told |= {"contributions": {"a": 1.0}}
    lines = table_of([{**told, **row}, {**told, **anomaly.payment._asdict()}]).splitlines()
    assert lines[0].endswith("payment_method,risk_level")
    assert lines[1].endswith(",,,,,,,")
    assert lines[2].endswith(",t1,ana,12.5,fuel,DE,card,medium")
