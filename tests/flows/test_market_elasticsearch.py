"""The market flow into Elasticsearch: the same as into SQLite, also over crashes, outages and overload."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

server: Any = import_module("tests.elasticsearch_server")

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "5",
    "sinks__kinds": ["sqlite", "elasticsearch"],
    "sinks__scores": "true",
    "sinks__bars": ["1s", "1m"],
    "source__batch_records": "1000",
    "detectors__high_volume__baseline_windows": "10",
    "detectors__high_volume__width": "10s",
}


@pytest.fixture(scope="module")
def tape(trades: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two files of three days each that overlap on one day."""
    folder = tmp_path_factory.mktemp("tape")
    return [
        write(folder / f"{n}.dbn{'.zst' * n}", trades(n, count=20_000, instruments=8, first_day=2 * n))
        for n in (0, 1)
    ]


def to(place: Any, **more: object) -> dict[str, object]:
    """Return settings of a flow that writes to a server."""
    url = more.pop("url", place.url)
    return {
        **SETTINGS,
        "sinks__elasticsearch__url": url,
        "sinks__elasticsearch__index_prefix": place.index_prefix,
        **more,
    }


def recovery(folder: Path) -> list[str]:
    """Return the options of a flow with a recovery store."""
    (folder / "rec").mkdir()
    command = [sys.executable, "-m", "bytewax.recovery", str(folder / "rec"), "2"]
    subprocess.run(command, check=True, capture_output=True)
    return ["-r", "rec", "-s", "0", "-b", "0"]


def same(place: Any, folder: Path, least: dict[str, int] | None = None) -> None:
    """Check that both stores hold the same, and not too little of it."""
    for kind, (ours, theirs) in server.compared(place, folder / "results.db").items():
        assert len(theirs) >= (least or {}).get(kind, 1), kind
        assert ours == theirs, kind


@pytest.mark.parametrize("arguments", [[], ["-w", "2"]], ids=["one worker", "two workers"])
def test_both_stores_hold_the_same(
    arguments: list[str], tape: list[Path], elasticsearch_settings: Any, run_market: Flow, tmp_path: Path
) -> None:
    ended = run_market(tmp_path, tape, *arguments, **to(elasticsearch_settings))
    assert (ended.returncode, ended.stderr) == (0, "")
    same(elasticsearch_settings, tmp_path, {"anomalies": 20, "bars": 10_000, "scores": 40_000})
    # Once more into the same stores, without a recovery store, changes nothing.
    before = server.documents(elasticsearch_settings, "anomalies")
    assert run_market(tmp_path, tape, **to(elasticsearch_settings)).returncode == 0
    same(elasticsearch_settings, tmp_path)
    assert server.documents(elasticsearch_settings, "anomalies") == before


def test_the_real_day_in_both_stores(
    data: Path, elasticsearch_settings: Any, run_market: Flow, tmp_path: Path
) -> None:
    tape = [data / "dbn" / "equs-mini-20131007.trades.dbn.zst"]
    settings = to(
        elasticsearch_settings, source__batch_records="65536", sinks__bars=["1m"], sinks__scores="false"
    )
    ended = run_market(tmp_path, tape, **settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    same(elasticsearch_settings, tmp_path, {"anomalies": 20, "bars": 1500, "scores": 0})


def until_documents(place: Any, running: subprocess.Popen[str], more_than: int) -> int:
    """Wait until so many bars are written, or the run has ended; return how many there are."""
    client = server.connect(place)
    end, found = time.monotonic() + 60, 0
    while running.poll() is None and time.monotonic() < end and found <= more_than:
        client.indices.refresh(index=f"{place.index_prefix}-bars-*")
        found = client.count(index=f"{place.index_prefix}-bars-*")["count"]
        time.sleep(0.05)
    client.close()
    return int(found)


def test_kills_and_stops_change_nothing(
    tape: list[Path], elasticsearch_settings: Any, start_market: Start, run_market: Flow, tmp_path: Path
) -> None:
    options, settings = recovery(tmp_path), to(elasticsearch_settings)
    found = interrupted = 0
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        running = start_market(tmp_path, tape, *options, **settings)
        found = until_documents(elasticsearch_settings, running, found + 500)
        interrupted += running.poll() is None
        running.send_signal(number)
        running.communicate(timeout=60)
        assert running.returncode in ((0,) if number == signal.SIGTERM else (0, -9))
    ended = run_market(tmp_path, tape, *options, **settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert interrupted
    same(elasticsearch_settings, tmp_path, {"anomalies": 20, "bars": 10_000, "scores": 40_000})
