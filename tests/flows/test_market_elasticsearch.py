"""The market flow into Elasticsearch: the same as into SQLite, also over crashes, outages and overload."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tapewatch.records import SECOND
from tests.flows.gated import GATED, allow

server: Any = import_module("tests.elasticsearch_server")
proxies: Any = import_module("tests.elasticsearch_proxy")

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "5",
    "sinks__kinds": ["sqlite", "elasticsearch"],
    "sinks__scores": "true",
    "sinks__bars": ["1s", "1m"],
    "source__batch_records": "4000",
    "detectors__high_volume__baseline_windows": "10",
    "detectors__high_volume__width": "10s",
}


_JITTER = 15 * SECOND


@pytest.fixture(scope="module")
def tape(trades: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two files of three days each that overlap on one day."""
    folder = tmp_path_factory.mktemp("tape")
    return [
        write(
            folder / f"{n}.dbn{'.zst' * n}",
            trades(n, count=20_000, instruments=8, first_day=2 * n, jitter_ns=_JITTER),
        )
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
        assert len(theirs) >= (least or {}).get(kind, kind != "provisional"), kind
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
    same(elasticsearch_settings, tmp_path, {"anomalies": 20, "bars": 1500, "scores": 0, "late": 0})


def until_documents(place: Any, running: subprocess.Popen[str], more_than: int) -> int:
    """Wait until so many bars are written, or the run has ended; return how many there are."""
    # An index that is just being made cannot answer yet.
    client = server.connect(place).options(ignore_status=503)
    end, found = time.monotonic() + 280, 0
    while running.poll() is None and found <= more_than:
        assert time.monotonic() < end
        client.indices.refresh(index=f"{place.index_prefix}-bars-*")
        found = client.count(index=f"{place.index_prefix}-bars-*").body.get("count", 0)
        time.sleep(0.05)
    client.close()
    return int(found)


def test_kills_and_stops_change_nothing(
    tape: list[Path], elasticsearch_settings: Any, start_market: Start, run_market: Flow, tmp_path: Path
) -> None:
    options, settings = recovery(tmp_path), to(elasticsearch_settings)
    found = 0
    for part, number in enumerate((signal.SIGKILL, signal.SIGTERM, signal.SIGKILL), 1):
        allow(tmp_path, 12_000 * part)
        running = start_market(tmp_path, tape, *options, patch=GATED, **settings)
        found = until_documents(elasticsearch_settings, running, found + 500)
        assert running.poll() is None
        running.send_signal(number)
        running.communicate(timeout=280)
        assert running.returncode == (0 if number == signal.SIGTERM else -number)
    ended = run_market(tmp_path, tape, *options, **settings)
    assert (ended.returncode, ended.stderr) == (0, "")
    same(elasticsearch_settings, tmp_path, {"anomalies": 20, "bars": 10_000, "scores": 40_000})


def records_written(folder: Path) -> int:
    """Return how many records the results in SQLite are of, so far."""
    with closing(sqlite3.connect(f"file:{folder / 'results.db'}?mode=ro", uri=True)) as connection:
        (found,) = connection.execute("SELECT sum(value) FROM counters WHERE name = 'records'").fetchone()
    return int(found or 0)


def resident_mib(running: subprocess.Popen[str]) -> float:
    """Return the memory that a process has in use."""
    status = Path(f"/proc/{running.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def only_log_lines(text: str) -> bool:
    return all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z (INFO|WARNING) ", line) for line in text.splitlines())


@pytest.mark.timeout(900)
def test_a_server_that_is_away_for_a_while_is_waited_for(
    tape: list[Path], elasticsearch: Any, elasticsearch_settings: Any, start_market: Start, tmp_path: Path
) -> None:
    allow(tmp_path, 10_000)
    settings = to(elasticsearch_settings)
    running = start_market(tmp_path, tape, *recovery(tmp_path), patch=GATED, **settings)
    until_documents(elasticsearch_settings, running, 500)
    elasticsearch.stop(hard=True)
    gone = time.monotonic()
    allow(tmp_path, 1 << 40)
    before = -1, 0.0
    # What was read already is still on its way; then the source waits with what is not written: nothing piles up.
    while records_written(tmp_path) > before[0]:
        before = records_written(tmp_path), resident_mib(running)
        time.sleep(15)
        assert running.poll() is None
    assert before[0] < 40_000
    assert resident_mib(running) < before[1] + 10
    elasticsearch.start()
    assert time.monotonic() - gone > 15
    out, err = running.communicate(timeout=280)
    assert (running.returncode, out) == (0, "")
    assert only_log_lines(err)
    assert "does not answer" in err
    assert "takes documents again after" in err
    same(elasticsearch_settings, tmp_path, {"anomalies": 20, "bars": 10_000, "scores": 40_000})


def test_an_overloaded_server_is_waited_for(
    tape: list[Path], elasticsearch_settings: Any, run_market: Flow, tmp_path: Path
) -> None:
    faults = ["pass", "429 items", "pass", "429", "lost", "pass", "503", "hang up", "429 items", "cut"]
    proxy = proxies.Proxy(elasticsearch_settings.url, lambda number, body: faults[number % len(faults)])
    ended = run_market(tmp_path, tape, **to(elasticsearch_settings, url=proxy.url), timeout=280)
    proxy.close()
    assert (ended.returncode, ended.stdout) == (0, "")
    assert only_log_lines(ended.stderr)
    assert set(proxy.told) == set(faults)
    same(elasticsearch_settings, tmp_path, {"anomalies": 20, "bars": 10_000, "scores": 40_000})


def test_a_run_that_is_stopped_while_the_server_is_away_ends_and_is_resumed(
    tape: list[Path], elasticsearch_settings: Any, start_market: Start, run_market: Flow, tmp_path: Path
) -> None:
    options = recovery(tmp_path)
    proxy = proxies.Proxy(elasticsearch_settings.url, lambda number, body: "pass" if number < 10 else "503")
    running = start_market(tmp_path, tape, *options, **to(elasticsearch_settings, url=proxy.url))
    end = time.monotonic() + 280
    while len(proxy.told) < 12:
        assert time.monotonic() < end
        time.sleep(0.05)
    running.terminate()
    out, err = running.communicate(timeout=280)
    proxy.close()
    assert (running.returncode, out) == (1, "")
    *logged, line = err.splitlines()
    assert only_log_lines("\n".join(logged))
    assert line.startswith("tapewatch: ")
    assert "the run was to stop, and its last results are not written" in line
    ended = run_market(tmp_path, tape, *options, **to(elasticsearch_settings))
    assert (ended.returncode, ended.stderr) == (0, "")
    same(elasticsearch_settings, tmp_path, {"anomalies": 20, "bars": 10_000, "scores": 40_000})


@pytest.mark.parametrize("kinds", [["elasticsearch"], ["sqlite", "elasticsearch"]])
def test_a_run_without_its_server_is_refused_in_one_line(
    kinds: list[str], tape: list[Path], run_market: Flow, tmp_path: Path
) -> None:
    ended = run_market(
        tmp_path, tape, sinks__kinds=kinds, sinks__elasticsearch__url="http://127.0.0.1:9", timeout=280
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith("tapewatch: `sinks.elasticsearch.url` http://127.0.0.1:9 does not answer")


def test_the_library_is_not_imported_without_need(tape: list[Path], tmp_path: Path) -> None:
    code = (
        "import sys, flows.market; import connectors.store; "
        "print('elasticsearch' in sys.modules, 'elastic_transport' in sys.modules)"
    )
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
    env = {**kept, "TAPEWATCH_SOURCE__PATHS": f'["{tape[0]}"]'}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False False\n"
