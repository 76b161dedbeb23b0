"""What a choice on the page of control becomes."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import orjson
import pytest

from dashboard.control_plan import CONFIGURED, FILES, REPLAY, SIMULATION, Asked, commands
from dashboard.processes import Processes
from tapewatch.errors import UserError
from tapewatch.settings import load

_KNOWN = ("high_volume", "river")
_BOTH = ("high_volume", "price_jump")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TAPEWATCH_DASHBOARD__TOKEN", "hunter2")
    monkeypatch.setenv("tapewatch_source__speed", "7")
    return tmp_path


def test_files_are_read_with_what_was_chosen(place: Path) -> None:
    asked = Asked(FILES, ("high_volume",), 0.25, 60.0, ("a.dbn", "b*.dbn"))
    (flow,) = commands(asked, _KNOWN, load(), place)
    told = flow.environment
    assert flow.command[1:] == ["-m", "bytewax.run", "flows.market:flow"]
    assert orjson.loads(told["TAPEWATCH_SOURCE__PATHS"]) == ["a.dbn", "b*.dbn"]
    assert told["TAPEWATCH_ALERTS__PER_KEY_PER_DAY"] == "0.25"
    assert told["TAPEWATCH_DETECTORS__HIGH_VOLUME__ENABLED"] == "true"
    assert told["TAPEWATCH_DETECTORS__RIVER__ENABLED"] == "false"
    assert [value for name, value in told.items() if name.upper() == "TAPEWATCH_SOURCE__SPEED"] == ["60"]
    assert "hunter2" not in str(told)


def test_a_simulation_is_made_and_played(place: Path) -> None:
    (flow,) = commands(Asked(SIMULATION, _BOTH, 1.0, 30.0), _KNOWN, load(), place)
    (path,) = orjson.loads(flow.environment["TAPEWATCH_SOURCE__PATHS"])
    assert Path(path).stat().st_size > 1_000_000
    assert flow.environment["TAPEWATCH_SOURCE__SPEED"] == "30"


def test_a_replay_feeds_the_topic_that_the_flow_reads(place: Path) -> None:
    replay, flow = commands(Asked(REPLAY, _BOTH, 1.0, 0.0, ("-a.dbn",)), _KNOWN, load(), place)
    # What looks like an option is a file.
    assert replay.command[-2:] == ["--", "-a.dbn"]
    assert replay.command[3:] == [
        "replay", "--topic", "trades", "--brokers", "127.0.0.1:9092", "--speed", "max", "--", "-a.dbn",
    ]  # fmt: skip
    assert flow.environment["TAPEWATCH_SOURCE__KIND"] == "kafka"


def test_a_replay_is_the_command_that_replays(place: Path) -> None:
    replay, _ = commands(Asked(REPLAY, _BOTH, 1.0, 0.0, ("gone.dbn",)), _KNOWN, load(), place)
    processes = Processes()
    running = processes.start(replay.name, replay.about, replay.command, replay.environment)
    assert running.popen.wait(280) == 2
    (line,) = processes.tail("replay")
    assert "gone.dbn" in line
    processes.close()


def test_what_is_configured_stays(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", "state")
    (flow,) = commands(Asked(CONFIGURED, _BOTH, 1.0), _KNOWN, load(), place)
    assert flow.environment["BYTEWAX_RECOVERY_DIRECTORY"] == "state"
    assert "TAPEWATCH_SOURCE__KIND" not in flow.environment
    (flow,) = commands(Asked(FILES, _BOTH, 1.0, paths=("a",)), _KNOWN, load(), place)
    assert "BYTEWAX_RECOVERY_DIRECTORY" not in flow.environment


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (Asked(FILES, _BOTH, 1.0), "no files are named"),
        (Asked(REPLAY, _BOTH, 1.0), "no files are named"),
        (Asked(SIMULATION, (), 1.0), "no detector is chosen"),
        (Asked("elsewhere", _BOTH, 1.0), "the source must be one of"),
    ],
)
def test_what_cannot_be_started_is_told(asked: Asked, text: str, place: Path) -> None:
    with pytest.raises(UserError, match=text):
        commands(asked, _KNOWN, load(), place)


def test_one_of_a_name_runs_and_is_ended(place: Path) -> None:
    processes = Processes()
    code = "import time; print('begun', flush=True); time.sleep(600)"
    started = processes.start("flow", "", [sys.executable, "-c", code], {})
    with pytest.raises(UserError, match="flow runs already"):
        processes.start("flow", "", [sys.executable, "-c", code], {})
    deadline = time.monotonic() + 280
    while processes.tail("flow") != ["begun"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes.stop("flow")
    assert started.exit_status == -signal.SIGTERM
    deaf = "import signal; signal.signal(15, signal.SIG_IGN); print('deaf', flush=True)\nwhile True: signal.pause()"
    started = processes.start("flow", "", [sys.executable, "-c", deaf], {})
    while processes.tail("flow") != ["deaf"]:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    processes.stop("flow", grace_seconds=0.2)
    assert started.exit_status == -signal.SIGKILL
    processes.close()
    assert not started.log.exists()


def test_a_tail_is_the_end_of_a_log(place: Path) -> None:
    processes = Processes()
    code = "print(*range(9999), sep='\\n'); print('one\\rtwo')"
    processes.start("flow", "", [sys.executable, "-c", code], {}).popen.wait()
    assert processes.tail("flow", 2) == ["9998", "two"]
    assert processes.tail("other") == []
    processes.close()
