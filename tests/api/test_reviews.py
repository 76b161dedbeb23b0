"""Reviews over HTTP."""

from __future__ import annotations

import time
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.times import parse
from connectors.sqlite import SqliteWriter

make: Any = import_module("tests.connectors.made_results")
serving: Any = import_module("tests.api.serving")

ID = f"{1:032x}"


@pytest.fixture
def client(tmp_path: Path) -> TestClient:
    with SqliteWriter(tmp_path / "results.db") as writer:
        writer.write([make.results(anomalies=[make.anomaly(1), make.anomaly(2)])])
    made: TestClient = serving.client(tmp_path)
    return made


def test_a_review_is_kept_and_listed(client: TestClient) -> None:
    sent = {
        "anomaly_id": ID, "label": 0, "reviewer": "ana", "notes": "the close",
        "reviewed_at": "2024-06-04T10:00:00.000000001+02:00",
    }  # fmt: skip
    wanted = sent | {"transaction_id": None} | {"reviewed_at": "2024-06-04T08:00:00.000000001Z"}
    for _ in range(2):
        answer = client.post("/api/reviews", json=sent)
        assert (answer.status_code, answer.json()) == (201, wanted)
    assert client.get("/api/reviews").json() == {"reviews": [wanted], "next": None}


def test_only_the_anomaly_and_the_label_are_needed(client: TestClient) -> None:
    before = time.time_ns()
    answer = client.post("/api/reviews", json={"anomaly_id": ID, "label": 1}).json()
    assert before <= parse(answer["reviewed_at"]) <= time.time_ns()
    assert answer == {
        "anomaly_id": ID,
        "label": 1,
        "reviewer": None,
        "notes": None,
        "transaction_id": None,
    } | {"reviewed_at": answer["reviewed_at"]}


def test_any_transaction_may_be_reviewed_and_one_of_the_two_must_be_named(client: TestClient) -> None:
    missed = {"transaction_id": "t9", "label": 1, "reviewed_at": "2024-06-04T08:00:00Z"}
    answer = client.post("/api/reviews", json=missed)
    assert answer.status_code == 201
    assert (answer.json()["transaction_id"], answer.json()["anomaly_id"]) == ("t9", None)
    assert client.post("/api/reviews", json={"anomaly_id": ID, "label": 1}).status_code == 201
    of_it = client.get("/api/reviews?transaction_id=t9").json()["reviews"]
    assert of_it == [answer.json()]
    first = client.get("/api/reviews?limit=1").json()
    second = client.get(f"/api/reviews?limit=1&cursor={first['next']}").json()
    assert [row["transaction_id"] for row in first["reviews"] + second["reviews"]] == [None, "t9"]
    for wrong in ({"label": 1}, {"label": 1, "anomaly_id": ID, "transaction_id": "t9"}):
        refused = client.post("/api/reviews", json=wrong)
        assert refused.status_code == 422
        assert "either `anomaly_id` or `transaction_id`" in refused.json()["detail"]


def test_pages_newest_first(client: TestClient) -> None:
    for number in range(5):
        review = {"anomaly_id": f"{1 + number % 2:032x}", "label": 1, "reviewed_at": f"2024-06-0{number + 1}"}
        assert client.post("/api/reviews", json=review).status_code == 201
    first = client.get("/api/reviews?limit=3").json()
    second = client.get(f"/api/reviews?limit=3&cursor={first['next']}").json()
    days = [row["reviewed_at"][:10] for row in first["reviews"] + second["reviews"]]
    assert days == [f"2024-06-0{number}" for number in (5, 4, 3, 2, 1)]
    assert second["next"] is None
    mine = client.get(f"/api/reviews?anomaly_id={ID}").json()["reviews"]
    assert [row["anomaly_id"] for row in mine] == [ID] * 3


def test_an_unknown_anomaly_is_told(client: TestClient) -> None:
    answer = client.post("/api/reviews", json={"anomaly_id": "f" * 32, "label": 1})
    assert answer.status_code == 404
    assert answer.json()["detail"].startswith("`anomaly_id` must be that of a stored anomaly, was fff")
    assert client.get("/api/reviews").json()["reviews"] == []


WRONG: dict[str, tuple[object, str]] = {
    "label": ({"anomaly_id": ID, "label": 2}, "`label` must be 0 or 1, was 2"),
    "anomaly_id": ({"anomaly_id": "1", "label": 1}, "`anomaly_id` must match pattern"),
    "reviewed_at": ({"anomaly_id": ID, "label": 1, "reviewed_at": "now"}, "`reviewed_at` must be a time such as"),
    "reviewer": ({"anomaly_id": ID, "label": 1, "reviewer": ""}, "`reviewer` must have at least 1 character"),
    "notes": ({"anomaly_id": ID, "label": 1, "notes": 7}, "`notes` must be a valid string, was 7"),
    "lable": ({"anomaly_id": ID, "label": 1, "lable": 1}, "unknown field `lable`"),
    "body": ([], "`body` must be a valid dictionary"),
}  # fmt: skip


@pytest.mark.parametrize("field", WRONG)
def test_what_is_wrong_is_named(client: TestClient, field: str) -> None:
    body, detail = WRONG[field]
    answer = client.post("/api/reviews", json=body)
    assert answer.status_code == 422
    assert answer.json()["field"] == field
    assert answer.json()["detail"].startswith(detail)
    assert client.get("/api/reviews").json()["reviews"] == []


def test_a_missing_field_and_a_broken_body_are_named(client: TestClient) -> None:
    assert client.post("/api/reviews", json={"anomaly_id": ID}).json()["detail"] == "`label` is missing"
    assert client.post("/api/reviews").json()["detail"] == "`body` is missing"
    answer = client.post("/api/reviews", content='{"label": ', headers={"Content-Type": "application/json"})
    assert answer.json()["detail"].startswith("the body is no JSON: ")
