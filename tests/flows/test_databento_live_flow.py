"""The market flow on a live session: what a file of the same tape gives, whatever happens to the connection."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapewatch.records import Array
from tests.conftest import SYMBOLS, read_tables
from tests.connectors.live_gateway import DATASET, KEY, Gateway, Script
from tests.flows.test_market_crash import records_written, recovery

pytest.importorskip("databento")

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "5",
    "sinks__scores": "true",
    "sinks__bars": ["1s", "1m"],
    "detectors__high_volume__baseline_windows": "10",
    "detectors__high_volume__width": "10s",
}
#: What is counted of connections, not of records.
_OF_CONNECTIONS = {"disconnections", "gateway_errors", "slow_reader_warnings"}


@pytest.fixture(scope="module")
def tape(trades: Any) -> Array:
    """Return three days of trades with a few unfit ones among them, and many that are identical."""
    records: Array = trades(21, count=30_000, instruments=8)
    records = np.repeat(records, np.random.default_rng(2).integers(1, 4, len(records)))
    records["price"][::1_000] = 2**63 - 1
    records["size"][7::1_000] = 0
    return records


@pytest.fixture(scope="module")
def wanted(
    tape: Array, write: Any, run_market: Flow, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    """Return the results of a file of the tape."""
    folder = tmp_path_factory.mktemp("file")
    assert run_market(folder, [write(folder / "tape.dbn", tape, DATASET)], **SETTINGS).returncode == 0
    results = read_tables(folder / "results.db")
    assert {row[4] for row in results["anomalies"]} >= {"high_volume", "block_trade"}
    return results


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABENTO_API_KEY", KEY)


def gateway(tape: Array, **options: Any) -> Gateway:
    ids = np.unique(tape["instrument_id"]).tolist()
    return Gateway(tape, {number: SYMBOLS[number] for number in ids if number in SYMBOLS}, **options)


def live(port: int) -> dict[str, object]:
    return {
        **SETTINGS, "source__kind": "live", "live__dataset": DATASET, "live__symbols": ["ALL_SYMBOLS"],
        "live__gateway": "127.0.0.1", "live__port": str(port),
    }  # fmt: skip


def until(running: subprocess.Popen[str], folder: Path, count: int, seconds: float = 60) -> None:
    """Wait until the results are of so many records."""
    end = time.monotonic() + seconds
    while records_written(folder) < count:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < end, f"{records_written(folder)} of {count}"
        time.sleep(0.02)


def stopped(running: subprocess.Popen[str]) -> str:
    """Stop a run gracefully and return what it said."""
    running.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    out, err = running.communicate(timeout=20)
    assert (running.returncode, out) == (0, ""), err
    assert time.monotonic() - asked < 10
    assert KEY not in err
    assert "Traceback" not in err
    return err


def results(folder: Path) -> dict[str, list[Any]]:
    found = read_tables(folder / "results.db")
    return {**found, "counters": [row for row in found["counters"] if row[0] not in _OF_CONNECTIONS]}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_session_gives_what_a_file_gives(
    workers: str, tape: Array, wanted: dict[str, Any], start_market: Start, tmp_path: Path
) -> None:
    with gateway(tape) as serving:
        running = start_market(tmp_path, [], "-w", workers, **live(serving.port))
        until(running, tmp_path, len(tape))
        assert stopped(running) == ""
    assert results(tmp_path) == wanted
    assert serving.asked[0][1]["schema"] == "trades"
    assert "start" not in serving.asked[0][1]


@pytest.mark.parametrize("seed", [1, 2])
def test_disconnections_change_nothing(
    seed: int, tape: Array, wanted: dict[str, Any], start_market: Start, tmp_path: Path
) -> None:
    """Clean ends, resets, ends within a record, refusals in between: nothing is lost, nothing doubled."""
    rng = np.random.default_rng(seed)
    places = np.sort(rng.integers(1, len(tape), 6)).tolist()
    scripts = [
        Script(until=at, cut=int(rng.integers(0, 48)), reset=bool(rng.random() < 0.5)) for at in places
    ]
    scripts.insert(3, Script(refuse="Connection limit exceeded"))
    scripts.insert(5, Script(error=(6, "Internal error")))
    with gateway(tape, scripts=scripts, seed=seed) as serving:
        running = start_market(tmp_path, [], **live(serving.port))
        until(running, tmp_path, len(tape))
        said = stopped(running)
    assert "comes in again" in said
    assert len(serving.asked) == len(scripts) + 1
    assert results(tmp_path) == wanted
    assert dict(read_tables(tmp_path / "results.db")["counters"])["disconnections"] >= 6


@pytest.mark.parametrize(("epoch", "workers", "seed"), [("0", "1", 1), ("1", "2", 2)])
def test_kills_and_resumes_change_nothing(
    epoch: str, workers: str, seed: int, tape: Array, wanted: dict[str, Any], start_market: Start, tmp_path: Path
) -> None:  # fmt: skip
    options = ["-w", workers, "-r", recovery(tmp_path, 2), "-s", epoch, "-b", "0"]
    rng = np.random.default_rng(seed)
    with gateway(tape, pace=20_000, seed=seed) as serving:
        for _ in range(4):
            running = start_market(tmp_path, [], *options, **live(serving.port))
            until(running, tmp_path, min(records_written(tmp_path) + 1, len(tape)))
            time.sleep(float(rng.uniform(0, 0.5)))
            running.send_signal(signal.SIGKILL if rng.random() < 0.75 else signal.SIGTERM)
            running.communicate()
        assert records_written(tmp_path) < len(tape)
        serving.pace = None
        running = start_market(tmp_path, [], *options, **live(serving.port))
        until(running, tmp_path, len(tape))
        stopped(running)
    assert results(tmp_path) == wanted
    assert serving.asked[0][1].get("start") is None
    assert all("start" in asked[1] for asked in serving.asked[1:])
