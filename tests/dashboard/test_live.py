"""What ``make live`` starts is kept alive, and all of it ends with it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from connectors.store_sqlite import SqliteStore
from dashboard.live import Kept, answers, main
from tapewatch.errors import UserError
from tests.ports import free_port

served: Any = import_module("tests.dashboard.served")


def until(question: Callable[[], Any], seconds: float = 280) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := question()):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return found


def children(process: int) -> set[int]:
    return {int(name) for name in Path(f"/proc/{process}/task/{process}/children").read_text().split()}


def records(path: Path) -> int:
    with SqliteStore(path) as store:
        return store.totals().get("records", 0)


def test_what_dies_is_started_again_and_all_ends_with_it(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "dashboard.live", "--speed", "60", "--port", str(port)]
    log = tmp_path / "live.log"
    with log.open("wb") as output:
        live = subprocess.Popen(
            command, cwd=tmp_path, env=served.environment(tmp_path), stdout=output, stderr=output
        )
    try:
        until(lambda: "The simulated market is at" in log.read_text())
        before = children(live.pid)
        assert len(before) == 2
        seen = records(tmp_path / "demo" / "live.db")
        for process in before:
            os.kill(process, signal.SIGKILL)
        until(lambda: len(children(live.pid) - before) == 2)
        until(lambda: answers(f"http://127.0.0.1:{port}"))
        until(lambda: records(tmp_path / "demo" / "live.db") > seen)
        after = children(live.pid)
        live.send_signal(signal.SIGINT)
        assert live.wait(200) == 0
    finally:
        live.kill()
        live.wait()
    for process in after:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)


def test_what_cannot_be_kept_alive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dashboard.live.time.monotonic", lambda: 1_000.0)
    kept = Kept("flow", started=1_000.0)
    for _ in range(4):
        kept.died("ended with status 1")
        assert kept.due > 1_000.0
    with pytest.raises(UserError, match="the flow ended with status 1 5 times in a row"):
        kept.died("ended with status 1")


def test_a_port_that_is_taken_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import socket

    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["--port", str(port)]) == 2
    assert f"port {port} cannot be listened on" in capsys.readouterr().err
    assert not (tmp_path / "demo").exists()
