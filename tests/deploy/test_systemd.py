"""The systemd units: sound, hardened, and their commands do what they are there for."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from tests.ports import free_port

_ROOT = Path(__file__).parents[2]
_FOLDER = _ROOT / "deploy" / "systemd"
_UNITS = sorted(_FOLDER.glob("*.service"))
_PLACES = {"/opt/tapewatch/.venv/bin": str(Path(sys.executable).parent), "/opt/tapewatch": str(_ROOT)}
_HARDENED = {
    "User": "tapewatch", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes",
    "PrivateTmp": "yes", "PrivateDevices": "yes", "CapabilityBoundingSet": "", "RestrictSUIDSGID": "yes",
    "RestrictNamespaces": "yes", "SystemCallFilter": "@system-service", "StateDirectory": "tapewatch",
    "Restart": "on-failure", "RestartPreventExitStatus": "2",
    "EnvironmentFile": "-/etc/tapewatch/secrets.env",
}  # fmt: skip


def here(text: str) -> str:
    """Return a unit's text with the places of this checkout in those of an installation."""
    for installed, ours in _PLACES.items():
        text = text.replace(installed, ours)
    return text


def service(name: str) -> dict[str, str]:
    """Return the section ``[Service]`` of a unit."""
    text = (_FOLDER / f"tapewatch-{name}.service").read_text()
    section = re.split(r"^\[(\w+)\]$", text, flags=re.MULTILINE)
    found = dict(zip(section[1::2], section[2::2], strict=True))["Service"]
    lines = [line for line in found.splitlines() if line and not line.startswith("#")]
    pairs = [line.split("=", 1) for line in lines]
    assert len({key for key, _ in pairs}) == len(pairs), "each key once"
    return dict(pairs)


def test_there_is_a_unit_for_each_part() -> None:
    assert [path.stem for path in _UNITS] == ["tapewatch-api", "tapewatch-dashboard", "tapewatch-flow"]


@pytest.mark.parametrize("path", _UNITS, ids=lambda path: path.stem)
def test_a_unit_is_hardened_and_holds_no_secret(path: Path) -> None:
    settings = service(path.stem.removeprefix("tapewatch-"))
    assert settings | _HARDENED == settings
    assert "TOKEN" not in "".join(settings.values())
    assert f"u {settings['User']} " in (_FOLDER / "tapewatch.sysusers.conf").read_text()


def test_systemd_finds_nothing_wrong(tmp_path: Path) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("there is no systemd-analyze")

    def analyzed(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["systemd-analyze", "--no-pager", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=280)

    units = []
    for path in _UNITS:
        units.append(tmp_path / path.name)
        units[-1].write_text(here(path.read_text()))
    done = analyzed("verify", "--man=no", *map(str, units))
    assert (done.returncode, done.stderr) == (0, "")
    for unit in units:
        # Of 10; a service without any of it has 9.6.
        assert analyzed("security", "--offline=true", "--threshold=20", str(unit)).returncode == 0
    units[0].write_text(units[0].read_text().replace("ExecStart=", "ExecStart=/nowhere"))
    assert analyzed("verify", "--man=no", str(units[0])).returncode != 0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in what stands for ``/var/lib/tapewatch``, with the settings file of the repository."""
    for variable in os.environ:
        if variable.upper().startswith(("TAPEWATCH_", "BYTEWAX_", "STREAMLIT_")):
            monkeypatch.delenv(variable)
    (tmp_path / "etc").mkdir()
    shutil.copy(_ROOT / "tapewatch.toml", tmp_path / "etc")
    state = tmp_path / "state"
    state.mkdir()
    monkeypatch.chdir(state)
    monkeypatch.setenv("HOME", str(state))
    return state


def environment(settings: dict[str, str], place: Path, **more: str) -> dict[str, str]:
    """Return what systemd would hand to a service of these settings, in another place."""
    name, _, value = settings["Environment"].partition("=")
    return {**os.environ, name: value.replace("/etc/tapewatch", str(place.parent / "etc")), **more}


def run(line: str, env: dict[str, str]) -> None:
    """Run a command of a unit to its end."""
    subprocess.run(shlex.split(here(line)), env=env, check=True, timeout=280)


@contextmanager
def running(line: str, env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(shlex.split(here(line)), env=env, stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def answers(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + 280
    while True:
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310
                assert answer.status == 200
                return
        except urllib.error.URLError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_the_flow_makes_its_recovery_store_and_goes_on_from_it(place: Path) -> None:
    session = simulate(MarketSimulation(symbols=2, minutes=20))
    write_dbn(place / "day.dbn.zst", session.records, session.symbols)
    settings = service("flow")
    env = environment(settings, place, TAPEWATCH_SOURCE__PATHS='["*.dbn.zst"]')
    # As a crash in the middle of it leaves it.
    (place / "recovery.new").mkdir()
    (place / "recovery.new" / "part-0.sqlite3").touch()
    for _ in range(2):
        run(settings["ExecStartPre"], env)
        run(settings["ExecStart"], env)
    assert len(list((place / "recovery").glob("part-*.sqlite3"))) == 4
    with closing(sqlite3.connect(place / "tapewatch.db")) as results:
        counted = results.execute("SELECT sum(value) FROM counters WHERE name = 'records'").fetchone()
    assert counted == (len(session.records),)


def test_the_api_starts_and_ends(place: Path) -> None:
    settings, port = service("api"), free_port()
    env = environment(settings, place, TAPEWATCH_API__PORT=str(port))
    with running(settings["ExecStart"], env) as process:
        answers(process, f"http://127.0.0.1:{port}/health")
        process.send_signal(signal.SIGTERM)
        assert process.wait(200) == 0
    # The flow that it runs is ended by it, not by systemd as well.
    assert settings["KillMode"] == "mixed"


def test_the_dashboard_starts_and_ends(place: Path) -> None:
    settings, port = service("dashboard"), free_port()
    line = settings["ExecStart"].replace("8501", str(port))
    assert line != settings["ExecStart"]
    with running(line, environment(settings, place)) as process:
        answers(process, f"http://127.0.0.1:{port}/_stcore/health")
        process.send_signal(signal.SIGTERM)
        assert process.wait(200) in (0, -signal.SIGTERM)
