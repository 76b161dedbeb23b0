"""Processes of a cluster: one that does not come is not waited for without end, and nothing is left behind."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

Start = Callable[..., "subprocess.Popen[str]"]
#: The bounds, shorter than a person would have them.
IMPATIENT = "import tapewatch.cluster as c\nc.PATIENCE_SECONDS, c._QUIET_SECONDS = 3.0, 0.5\n"
#: Who waited any further once all have come would give up at once.
NO_LONGER = """
import tapewatch.cluster as c
c.PATIENCE_SECONDS, c._QUIET_SECONDS = 250.0, 0.2
def begin(begin=c.begin):
    begin()
    c.PATIENCE_SECONDS = 0.0
c.begin = begin
"""


@pytest.fixture(scope="module")
def day(trades: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = write(tmp_path_factory.mktemp("tape") / "day.dbn", trades(1, count=20_000))
    return path


@pytest.fixture
def places() -> tuple[str, str]:
    """Return two addresses that nobody listens to."""
    return f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"


@pytest.mark.parametrize("number", [0, 1])
def test_a_process_whose_peer_refuses_to_start_ends_with_one_line(
    number: int, day: Path, places: tuple[str, str], start_market: Start, tmp_path: Path
) -> None:
    cluster = ["-a", ";".join(places)]
    waiting = start_market(tmp_path, [day], "-i", str(number), *cluster, patch=IMPATIENT)
    refused = start_market(tmp_path, ["none.dbn"], "-i", str(1 - number), *cluster)
    assert refused.wait(280) == 2
    _, errors = waiting.communicate(timeout=280)
    assert waiting.returncode == 1
    lines = [
        line for line in errors.splitlines() if "INFO" not in line and "connecting to worker" not in line
    ]
    assert len(lines) == 1, errors
    assert lines[0].startswith(
        f"tapewatch: the other processes of the cluster ({places[1 - number]}) did not all"
    )
    assert f"INFO waiting for the other processes of the cluster: {places[1 - number]}" in errors
    refused.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_waits_can_be_stopped(
    number: int, day: Path, places: tuple[str, str], start_market: Start, tmp_path: Path
) -> None:
    waiting = start_market(
        tmp_path, [day], "-i", "0", "-a", ";".join(places), patch=IMPATIENT.replace("3.0", "250.0")
    )
    assert waiting.stderr is not None
    assert "waiting for the other processes" in waiting.stderr.readline()
    waiting.send_signal(number)
    waiting.communicate(timeout=200)
    assert waiting.returncode == 0


def test_a_process_that_comes_late_is_waited_for_and_the_bound_is_over_then(
    day: Path, places: tuple[str, str], start_market: Start, tmp_path: Path
) -> None:
    cluster = ["-a", ";".join(places)]
    slowly = NO_LONGER + "import time, connectors.files as f\ntake = f.FilesPartition._tape\n" \
        "f.FilesPartition._tape = lambda *a: time.sleep(0.02) or take(*a)"  # fmt: skip
    settings = {"source__batch_records": "400"}
    first = start_market(tmp_path, [day], "-i", "0", *cluster, patch=slowly, **settings)
    assert first.stderr is not None
    assert "waiting for the other processes" in first.stderr.readline()
    second = start_market(tmp_path, [day], "-i", "1", *cluster, patch=slowly, **settings)
    ended = [process.communicate(timeout=280) for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], ended
    assert "did not all come" not in ended[0][1] + ended[1][1]


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_processes_leave_no_files_once_another_has_run(
    processes: int, day: Path, places: tuple[str, str], start_market: Start, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    cluster = ["-a", ";".join(places)] if processes == 2 else []
    slow = {"source__speed": "1"}
    running = [
        start_market(tmp_path, [day], *(["-i", str(i)] if cluster else []), *cluster, **slow)
        for i in range(processes)
    ]
    end = time.monotonic() + 200
    database = tmp_path / "results.db-wal"
    while not (database.exists() and (not cluster or any(temporary.glob("tapewatch-*")))):
        assert time.monotonic() < end
        time.sleep(0.05)
    time.sleep(0.5)
    for process in running:
        process.kill()
    for process in running:
        process.communicate()
    # Libraries may leave something there too.
    assert len(list(temporary.glob("tapewatch-*"))) == processes - 1
    last = start_market(tmp_path, [day])
    assert last.communicate(timeout=280) == ("", "")
    assert list(temporary.glob("tapewatch-*")) == []
