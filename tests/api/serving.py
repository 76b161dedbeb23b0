"""The application in this process, and as a server of its own, for the tests of the API."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from api.app import application
from connectors.sqlite import SqliteWriter
from tapewatch.settings import Settings, load

HOST = "http://127.0.0.1"
#: The client would name another host for a stream.
STREAM = "ws://127.0.0.1/ws"


def settings(folder: Path, **api: Any) -> Settings:
    """Return the settings with results in ``results.db`` of a folder."""
    sinks = load().sinks
    sqlite = sinks.sqlite.model_copy(update={"path": str(folder / "results.db")})
    sinks = sinks.model_copy(update={"sqlite": sqlite})
    ours = type(load().api).model_validate(api)
    return load().model_copy(update={"sinks": sinks, "api": ours})


def client(folder: Path, **api: Any) -> TestClient:
    """Return a client of the application over a store that is made if it is not there."""
    SqliteWriter(folder / "results.db").close()
    return TestClient(application(settings(folder, **api)), base_url=HOST, raise_server_exceptions=True)


@dataclass
class Server:
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str = ""
    _read: bytearray = field(default_factory=bytearray)

    def log(self, *, until: str = "", seconds: float = 200) -> str:
        """Return what it wrote on stderr so far, once this text (a pattern) is in it."""
        stream, deadline = self.process.stderr, time.monotonic() + seconds
        assert stream is not None
        while re.search(until, self._read.decode()) is None or (not until and _ready(stream)):
            assert time.monotonic() < deadline, self._read.decode()
            if _ready(stream, 0.1):
                piece = os.read(stream.fileno(), 1 << 16)
                assert piece or not until, self._read.decode()
                if not piece:
                    break
                self._read += piece
        return self._read.decode()

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(number)
        self.process.wait(200)
        return self.process.returncode


def _ready(stream: Any, seconds: float = 0.0) -> bool:
    return bool(select.select([stream], [], [], seconds)[0])


def command(*arguments: str) -> list[str]:
    """Return the command line that serves."""
    return [sys.executable, "-m", "api", *arguments]


def environment(**settings: str) -> dict[str, str]:
    """Return an environment with these settings and no others; a free port is taken."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("TAPEWATCH_")}
    asked = {"sinks__sqlite__path": "results.db", "api__port": "0", **settings}
    return kept | {f"TAPEWATCH_{name.upper()}": value for name, value in asked.items()}


@contextlib.contextmanager
def server(folder: Path, **settings: str) -> Iterator[Server]:
    """Run a server in a folder for as long as the block lasts."""
    process = subprocess.Popen(
        command(), cwd=folder, env=environment(**settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    running = Server(process)
    try:
        line = re.search(r"API on (\S+),", running.log(until=r"API on \S+, .*\n"))
        assert line is not None
        running.url = line[1]
        yield running
    finally:
        process.kill()
        process.wait()
        if process.stderr is not None:
            process.stderr.close()
