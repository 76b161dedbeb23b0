"""Payments over HTTP: each once, page by page, with all that the contract names."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from connectors.sqlite import SqliteWriter
from tapewatch.documents import PAYMENT_FIELDS

make: Any = import_module("tests.connectors.made_results")
serving: Any = import_module("tests.api.serving")


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    told = [make.payment(n, name) for n in range(12) for name in ("ensemble", "rules")]
    with SqliteWriter(tmp_path / "results.db") as writer:
        writer.write([make.results(anomalies=[*told, make.anomaly(1)])])
    made: TestClient = serving.client(tmp_path)
    return made


@pytest.mark.parametrize("order", ["newest", "oldest", "worst"])
def test_pages_hold_each_payment_once(client: TestClient, order: str) -> None:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        asked = {"limit": "5", "order": order, **cursor}
        page = client.get("/api/transactions", params=asked).json()
        found += page["transactions"]
        cursor = None if page["next"] is None else {"cursor": page["next"]}
    numbers = [int(row["transaction_id"][1:]) for row in found]
    wanted = {"newest": range(11, -1, -1), "oldest": range(12), "worst": sorted(range(12), key=_worst)}
    assert numbers == list(wanted[order])
    assert all(row["detectors"] == ["ensemble", "rules"] for row in found)


def _worst(number: int) -> tuple[float, int]:
    return -make.payment(number).severity, number


@pytest.mark.parametrize("order", ["newest", "oldest", "worst"])
def test_the_worst_of_its_anomalies_speaks(tmp_path: Path, order: str) -> None:
    mild = [make.payment(n, "rules") for n in (1, 2)]
    grave = [replace(make.payment(n, "ensemble"), severity=91.0, reason="Very odd.") for n in (1, 2)]
    assert [anomaly.id for anomaly in mild] < [anomaly.id for anomaly in grave]
    with SqliteWriter(tmp_path / "results.db") as writer:
        writer.write([make.results(anomalies=[*mild, *grave])])
    client = serving.client(tmp_path)
    page = client.get(f"/api/transactions?limit=1&order={order}").json()
    pages = [page, client.get(f"/api/transactions?order={order}&cursor={page['next']}").json()]
    told = [(row["reason"], row["detector"]) for page in pages for row in page["transactions"]]
    assert told == [("Very odd.", "ensemble")] * 2
    asked = client.get(f"/api/transactions?order={order}&detector=rules").json()["transactions"]
    assert {row["detector"] for row in asked} == {"rules"}


def test_a_payment_has_the_contracts_names(client: TestClient) -> None:
    (row,) = client.get("/api/transactions?user_id=u1&limit=1").json()["transactions"]
    payment = make.payment(10)
    assert {name: row[name] for name in PAYMENT_FIELDS} == payment.payment._asdict()
    assert row["timestamp"] == "2024-06-03T09:10:00.000000000Z"
    assert (row["anomaly_id"], row["reason"]) == (make.payment(10, "rules").id, payment.reason)
    (anomaly,) = client.get("/api/anomalies?user_id=u1&limit=1&detector=ensemble").json()["anomalies"]
    assert {name: anomaly[name] for name in PAYMENT_FIELDS} == payment.payment._asdict()
    assert "amount" not in client.get("/api/anomalies?key=SPY").json()["anomalies"][0]


@pytest.mark.parametrize(
    ("asked", "numbers"),
    [
        ("user_id=u2&location=DE", [8, 2]),
        ("merchant_category=travel&min_severity=0", [10, 7, 4, 1]),
        ("start=2024-06-03T09:10:00Z", [11, 10]),
        ("end=2024-06-03T09:01:00Z", [0]),
        ("payment_method=cash", []),
    ],
)
def test_what_is_wanted(client: TestClient, asked: str, numbers: list[int]) -> None:
    found = client.get(f"/api/transactions?{asked}").json()["transactions"]
    assert [row["transaction_id"] for row in found] == [f"t{number}" for number in numbers]


def test_a_cursor_of_another_list_is_refused(client: TestClient) -> None:
    other = client.get("/api/anomalies?limit=1").json()["next"]
    answer = client.get("/api/transactions", params={"cursor": other})
    assert (answer.status_code, answer.json()["field"]) == (422, "cursor")
