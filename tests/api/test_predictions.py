"""Predictions and users over HTTP: what is asked, what is answered, and what is refused."""

from __future__ import annotations

import sqlite3
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from scoring.scorer import Scorer

serving: Any = import_module("tests.api.serving")
stored: Any = import_module("tests.scoring.stored")

ROWS: list[dict[str, Any]] = stored.rows(2_400, 2_640)
ROW = ROWS[0]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("predictions")
    flow = stored.Flow()
    flow.until(2_400)
    flow.publish(place / "results.db")
    return place


@pytest.fixture(scope="module")
def client(folder: Path) -> TestClient:
    made: TestClient = serving.client(folder)
    return made


def test_answers_are_those_of_the_library(client: TestClient, folder: Path) -> None:
    wanted = Scorer(stored.settings(folder / "results.db")).score(ROWS)
    assert client.post("/predict/batch", json={"transactions": ROWS}).json() == {"predictions": wanted}
    assert client.post("/predict/batch", json=ROWS).json() == wanted
    alarms = [place for place, told in enumerate(wanted) if told["is_anomaly"]]
    assert alarms
    for place in (0, *alarms[:2]):
        assert client.post("/predict", json=ROWS[place]).json() == wanted[place]
    assert client.post("/predict/batch", json=[]).json() == []


def test_times_without_a_zone_are_utc_and_ids_may_be_numbers(client: TestClient) -> None:
    row = ROW | {"user_id": 7, "transaction_id": 8}
    times = (
        "2024-01-20T12:00:00",
        "2024-01-20T12:00:00Z",
        "2024-01-20T13:00:00+01:00",
        1_705_752_000_000_000_000,
    )
    first, *others = [client.post("/predict", json=row | {"timestamp": time}).json() for time in times]
    assert first["transaction_id"] == "8"
    assert first["basis"] == "population"
    assert others == [first] * 3


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"amount": -1}, "amount", "`amount` must be greater than or equal to 0, was -1"),
        ({"amount": "much"}, "amount", "`amount` must be a valid number"),
        ({"user_id": ""}, "user_id", "`user_id` must have at least 1 character"),
        ({"timestamp": "soon"}, "timestamp", "`timestamp` must be RFC 3339 or ns, was 'soon'"),
        ({"timestamp": "1984-01-01"}, "timestamp", "`timestamp` must be 1990 to 2100"),
        ({"hour": 24}, "hour", "`hour` must be less than or equal to 23, was 24"),
        ({"colour": "red"}, "colour", "unknown field `colour`"),
    ],
)
def test_what_is_wrong_is_named(client: TestClient, change: dict[str, Any], field: str, said: str) -> None:
    for path, body, place in (
        ("/predict", ROW | change, ""),
        ("/predict/batch", [ROW, ROW | change], "1."),
        ("/predict/batch", {"transactions": [ROW, ROW, ROW | change]}, "transactions.2."),
    ):
        answer = client.post(path, json=body)
        assert answer.status_code == 422
        assert answer.json()["field"].startswith(place + field)
        assert said.split("`")[2] in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/predict", b"", "the body is no JSON"),
        ("/predict", b"[]", "`body` must be an object"),
        ("/predict", b'{"transaction_id": 1}', "`timestamp` is missing"),
        ("/predict/batch", b"{}", "`transactions` is missing"),
        ("/predict/batch", b"[" + b",".join([b"0"] * 10_001) + b"]", "must have at most 10000 items"),
    ],
)
def test_bodies_that_are_none_are_refused(client: TestClient, path: str, body: bytes, said: str) -> None:
    answer = client.post(path, content=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_a_batch_may_be_longer_than_other_bodies(client: TestClient) -> None:
    assert client.post("/predict/batch", json=ROWS * 3).status_code == 200
    assert client.post("/predict", json=ROW | {"device": "x" * 70_000}).status_code == 413
    assert client.post("/predict/batch", content=b" " * (8 << 20) + b"x").status_code == 413


def test_what_a_user_usually_does(client: TestClient, folder: Path) -> None:
    found = client.get(f"/api/users/{ROW['user_id']}").json()
    assert found["user_id"] == ROW["user_id"]
    assert found["transactions"] > 10
    assert found["locations"]
    assert found["ts_last"].startswith("2024-01-")
    assert "state" not in found
    missing = client.get("/api/users/nobody")
    assert (missing.status_code, missing.json()["detail"]) == (404, "no payment of this user is known")
    assert client.get("/api/users/" + "x" * 257).status_code == 422
    slashed = client.get("/api/users/no%2Fbody")
    assert (slashed.status_code, slashed.json()["detail"]) == (404, "no payment of this user is known")


def test_before_a_flow_has_run_predictions_say_so(tmp_path: Path) -> None:
    answer = serving.client(tmp_path).post("/predict", json=ROW)
    assert (answer.status_code, answer.json()["basis"]) == (200, "cold start")


def test_a_state_of_another_version_is_a_problem_of_the_moment(tmp_path: Path) -> None:
    flow = stored.Flow()
    flow.until(300)
    flow.publish(tmp_path / "results.db")
    with sqlite3.connect(tmp_path / "results.db") as connection:
        connection.execute("UPDATE judges SET version = 9")
    for path, body in (("/predict", ROW), ("/predict/batch", [ROW])):
        answer = serving.client(tmp_path).post(path, json=body)
        assert answer.status_code == 503
        assert "version 9" in answer.json()["detail"]
