"""Services of the Compose file started with the commands that stand there, and asked for their health."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from tests.deploy.test_docker import FILLED, SERVICES, interpolated
from tests.deploy.test_systemd import answers
from tests.ports import free_port

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in what stands for ``/var/lib/tapewatch``, with our programs on the ``PATH``."""
    for variable in os.environ:
        if variable.upper().startswith(("TAPEWATCH_", "BYTEWAX_", "STREAMLIT_")):
            monkeypatch.delenv(variable)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    shutil.copy(_ROOT / "tapewatch.toml", tmp_path)
    return tmp_path


def healthy(service: dict[str, Any], env: dict[str, str], port: tuple[int, int]) -> bool:
    kind, command = service["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    line = interpolated(command, FILLED).replace(str(port[0]), str(port[1]))
    return subprocess.run(["/bin/sh", "-c", line], env=env, check=False, capture_output=True).returncode == 0


def counters(place: Path) -> int:
    """Return how many counters the results have, 0 while there are none."""
    try:
        with closing(sqlite3.connect(f"file:{place / 'tapewatch.db'}?mode=ro", uri=True)) as results:
            return int(results.execute("SELECT count(*) FROM counters").fetchone()[0])
    except sqlite3.OperationalError:
        return 0


def test_the_flow_starts_is_healthy_and_ends(place: Path) -> None:
    """With the command that stands there, on a file at the market's own pace instead of a topic."""
    session = simulate(MarketSimulation(symbols=2, minutes=20))
    write_dbn(place / "day.dbn.zst", session.records, session.symbols)
    service, port = SERVICES["flow"], free_port()
    command = [interpolated(part, FILLED) for part in service["command"]]
    env = {
        **os.environ, "TAPEWATCH_SOURCE__PATHS": '["day.dbn.zst"]', "TAPEWATCH_SOURCE__SPEED": "1",
        "BYTEWAX_DATAFLOW_API_ENABLED": service["environment"]["BYTEWAX_DATAFLOW_API_ENABLED"],
        "BYTEWAX_DATAFLOW_API_PORT": str(port),
    }  # fmt: skip
    for _ in range(2):
        process = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + 280
            while not (healthy(service, env, (0, 0)) and counters(place)):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            assert process.wait(200) == 0
        finally:
            process.kill()
        assert not healthy(service, env, (0, 0))
    assert len(list((place / "recovery").glob("part-*.sqlite3"))) == 4


def test_the_dashboard_starts_and_is_healthy(place: Path) -> None:
    service, port = SERVICES["dashboard"], free_port()
    command = [
        part.replace("8501", str(port))
        .replace("/opt/tapewatch", str(_ROOT))
        .replace("=0.0.0.0", "=127.0.0.1")
        for part in service["command"]
    ]
    process = subprocess.Popen(
        command, env=dict(os.environ), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        answers(process, f"http://127.0.0.1:{port}/_stcore/health")
        assert healthy(service, dict(os.environ), (8501, port))
    finally:
        process.kill()
        process.wait()
    assert not healthy(service, dict(os.environ), (8501, port))


def test_the_feeds_health_is_that_of_the_process_that_reads() -> None:
    service = SERVICES["feed"]
    assert service["command"] == ["python", "-m", "flows.live_to_kafka"]
    kind, command = service["healthcheck"]["test"]
    assert kind == "CMD-SHELL"
    line = ["/bin/sh", "-c", interpolated(command, FILLED)]
    # Other tests may be running such processes of their own.
    if subprocess.run(line, check=False).returncode != 0:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)  # spawn_main"])
        try:
            deadline = time.monotonic() + 200
            # It is another program until it has started.
            while subprocess.run(line, check=False).returncode:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            child.kill()
            child.wait()
