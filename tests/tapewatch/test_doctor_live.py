"""The doctor looks at what a live session needs."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.connectors.live_gateway import DATASET, KEY, Gateway
from tests.forked_python import tapewatch

pytest.importorskip("databento")


def doctor(folder: Path, port: int, **changes: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
    ours = {
        "TAPEWATCH_SOURCE__KIND": "live", "TAPEWATCH_LIVE__DATASET": DATASET, "DATABENTO_API_KEY": KEY,
        "TAPEWATCH_LIVE__SYMBOLS": '["SYM1"]', "TAPEWATCH_LIVE__GATEWAY": "127.0.0.1",
        "TAPEWATCH_LIVE__PORT": str(port), **changes,
    }  # fmt: skip
    return tapewatch("doctor", cwd=folder, env={**kept, **ours})


def test_the_doctor_tries_the_gateway_and_looks_at_the_key(trades: Any, tmp_path: Path) -> None:
    with Gateway(trades(1, count=1), {}) as gateway:
        port = gateway.port
        ended = doctor(tmp_path, port)
        assert ended.returncode == 0, ended.stdout
        assert f"ok       live: a key is set, and the gateway for {DATASET} answers" in ended.stdout
        refused = doctor(tmp_path, port, DATABENTO_API_KEY="db-wrong")
    for ended, words in ((refused, "DATABENTO_API_KEY"), (doctor(tmp_path, port), f"127.0.0.1:{port}")):
        assert ended.returncode == 2
        (line,) = [line for line in ended.stdout.splitlines() if line.startswith("failure")]
        assert words in line
        assert "db-wrong" not in ended.stdout + ended.stderr
        assert KEY not in ended.stdout + ended.stderr
