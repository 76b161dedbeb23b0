"""Starting and stopping the real market flow."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from api.times import parse
from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from connectors.store_sqlite import SqliteStore
from tapewatch.flow_command import flow_environment

serving: Any = import_module("tests.api.serving")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder of its own with ten minutes of three symbols as the configured source."""
    for variable in os.environ:
        if variable.upper().startswith(("TAPEWATCH_", "BYTEWAX_")):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    session = simulate(MarketSimulation(symbols=3, minutes=10))
    write_dbn(tmp_path / "day.dbn.zst", session.records, session.symbols)
    monkeypatch.setenv("TAPEWATCH_SOURCE__PATHS", '["day.dbn.zst"]')
    monkeypatch.setenv("TAPEWATCH_SINKS__SQLITE__PATH", "results.db")
    return tmp_path


@pytest.fixture
def client(place: Path) -> Iterator[TestClient]:
    with serving.client(place) as made:
        yield made


def status_when(client: TestClient, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 280
    while True:
        status: dict[str, Any] = client.get("/status").json()
        if wanted(status):
            return status
        assert time.monotonic() < deadline, status
        time.sleep(0.05)


def ended(client: TestClient) -> dict[str, Any]:
    return status_when(client, lambda status: not status["running"])


def test_the_configured_flow_runs_to_its_end(client: TestClient, place: Path) -> None:
    assert client.get("/status").json() == {"running": False}
    before = time.time_ns()
    started = client.post("/start")
    assert started.status_code == 200
    assert started.json() | {"process": 0, "started_at": ""} == {
        "running": True, "flow": "market", "source": "configured", "process": 0, "started_at": "",
        "ended_at": None, "exit_status": None, "error": None,
    }  # fmt: skip
    status = ended(client)
    assert (status["exit_status"], status["error"]) == (0, None)
    assert before <= parse(status["started_at"]) < parse(status["ended_at"]) <= time.time_ns()
    with SqliteStore(place / "results.db") as store:
        assert store.totals()["records"] == len(simulate(MarketSimulation(symbols=3, minutes=10)).records)
    again = client.post("/start", json={"flow": "market", "source": "configured"})
    assert (again.status_code, again.json()["running"]) == (200, True)


def test_one_at_a_time_and_stopped_gracefully(
    client: TestClient, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # So slow that it does not come to its end by itself.
    monkeypatch.setenv("TAPEWATCH_SOURCE__SPEED", "2")
    first = client.post("/start", json={}).json()
    refused = client.post("/start")
    assert (refused.status_code, refused.json()["detail"]) == (409, "a flow runs already; stop it first")
    assert client.get("/status").json()["process"] == first["process"]
    metrics = client.get("/metrics").text
    assert "tapewatch_flow_running 1.0" in metrics

    deadline = time.monotonic() + 280
    while not client.get("/api/stats").json()["counters"].get("records"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    stopped = client.post("/stop")
    assert stopped.status_code == 200
    assert (stopped.json()["running"], stopped.json()["exit_status"]) == (False, 0)
    assert client.post("/stop").json() == stopped.json()
    with SqliteStore(place / "results.db") as store:
        (series, *_) = store.series()
        assert not store.bars(series["key"], "1m")[-1]["final"], "open windows are kept as they are"


def test_without_a_flow_there_is_nothing_to_stop(client: TestClient) -> None:
    assert client.post("/stop").json() == {"running": False}


def test_a_simulation_is_the_day_after_the_last(
    client: TestClient, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A recovery store of the configured source, which is not there, must not be asked for.
    monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", str(place / "none"))
    monkeypatch.setenv("TAPEWATCH_SOURCE__SPEED", "1e8")
    days = []
    for _ in range(2):
        assert client.post("/start", json={"source": "simulation"}).status_code == 200
        assert ended(client)["exit_status"] == 0
        with SqliteStore(place / "results.db") as store:
            span = store.span()
            assert span is not None
            days.append(client.get("/api/stats").json()["rates"]["ts_last"][:10])
            assert {row["dataset"] for row in store.series()} == {"XSIM.TAPE"}
    assert days == ["2024-06-03", "2024-06-04"]
    assert client.get("/api/anomalies").json()["anomalies"]


def test_payments_can_be_simulated_and_then_predicted(client: TestClient) -> None:
    answer = client.post("/start", json={"flow": "transactions", "source": "simulation"})
    assert (answer.status_code, answer.json()["flow"]) == (200, "transactions")
    payment = {
        "transaction_id": "t",
        "timestamp": "2024-01-15T12:00:00",
        "user_id": "u000001",
        "amount": 9_000,
    }
    assert client.post("/predict", json=payment).json()["basis"] in ("cold start", "profile", "population")
    assert ended(client)["exit_status"] == 0
    told = client.post("/predict", json=payment).json()
    assert (told["basis"], told["is_anomaly"]) == ("profile", True)
    assert client.get("/api/users/u000001").json()["transactions"] > 10


def test_an_unknown_flow_or_source_is_named(client: TestClient) -> None:
    for body, detail in (
        ({"flow": "bars"}, "`flow` must be 'market' or 'transactions', was 'bars'"),
        ({"source": "live"}, "`source` must be 'configured' or 'simulation', was 'live'"),
        ({"flows": "market"}, "unknown field `flows`"),
    ):
        answer = client.post("/start", json=body)
        assert (answer.status_code, answer.json()["detail"]) == (422, detail)
    assert client.get("/status").json() == {"running": False}


def test_wrong_settings_are_told_at_once(client: TestClient, place: Path) -> None:
    (place / "tapewatch.toml").write_text("shards = 0")
    answer = client.post("/start")
    assert answer.status_code == 409
    assert answer.json()["detail"].startswith("`shards` must be a whole number from 1 up to 4096, was 0")
    (place / "tapewatch.toml").unlink()
    assert client.post("/start").status_code == 200


def test_what_only_the_flow_finds_is_in_its_status(client: TestClient, place: Path) -> None:
    (place / "day.dbn.zst").write_text("no DBN")
    client.post("/start")
    status = ended(client)
    assert status["exit_status"] == 2
    assert "day.dbn.zst" in status["error"]


def test_a_flow_that_does_not_end_is_killed(client: TestClient, place: Path) -> None:
    # A program in the place of Bytewax's, as nothing of ours ignores its signals.
    program = (
        "import pathlib, signal, time\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "pathlib.Path('deaf').touch()\n"
        "time.sleep(600)\n"
    )
    (place / "bytewax").mkdir()
    (place / "bytewax" / "__init__.py").touch()
    (place / "bytewax" / "run.py").write_text(program)
    with pytest.MonkeyPatch.context() as patch, serving.client(place) as short:
        patch.setattr("api.flow_process.GRACE_SECONDS", 0.5)
        short.post("/start")
        deadline = time.monotonic() + 280
        while not (place / "deaf").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        stopped = short.post("/stop").json()
    assert (stopped["running"], stopped["exit_status"]) == (False, -9)


def test_the_flow_ends_with_the_application(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEWATCH_SOURCE__SPEED", "1")
    with serving.client(place) as client:
        process = client.post("/start").json()["process"]
        os.kill(process, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


def test_a_flow_is_given_no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEWATCH_API__TOKEN", "hunter2")
    monkeypatch.setenv("tapewatch_api", '{"token": "hunter2"}')
    monkeypatch.setenv("TAPEWATCH_SHARDS", "3")
    monkeypatch.setenv("TAPEWATCH_DASHBOARD__TOKEN", "hunter2")
    for simulation in (False, True):
        given = flow_environment(simulation=simulation)
        assert "hunter2" not in str(given)
        assert given["TAPEWATCH_SHARDS"] == "3"
