"""Processes that the page of control starts: one of a name at a time, each with its log, ended with us."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tapewatch.errors import UserError

#: Seconds that a process has to save its state before it is killed.
GRACE_SECONDS = 30.0
_TAIL_BYTES = 16_384


@dataclass(slots=True)
class Process:
    """One process; times in ns."""

    name: str
    about: str
    started_at: int
    log: Path
    popen: subprocess.Popen[bytes]
    ended_at: int | None = None

    @property
    def exit_status(self) -> int | None:
        """None while it runs; 0 done, 2 bad settings or input, negative if a signal ended it."""
        status = self.popen.poll()
        if status is not None and self.ended_at is None:
            self.ended_at = time.time_ns()
        return status

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self.exit_status is None


def end(process: subprocess.Popen[bytes], grace_seconds: float) -> None:
    """End a process as a signal does; if it does not heed that in time, its whole group for good."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace_seconds)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Processes:
    """Starts processes and ends them; may be used from several threads.

    Examples
    --------
    >>> import sys
    >>> processes = Processes()
    >>> process = processes.start("hello", "says hello", [sys.executable, "-c", "print('hello')"], os.environ)
    >>> process.popen.wait(), processes.tail("hello")
    (0, ['hello'])
    >>> processes.close()
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._folder = Path(tempfile.mkdtemp(prefix="tapewatch-control-"))
        self._found: dict[str, Process] = {}
        atexit.register(self.close)

    def folder(self, name: str) -> Path:
        """Return a folder for the files of what runs under a name, made empty."""
        folder = self._folder / f"{name}-files"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def all(self) -> list[Process]:
        """Return what runs, and how the last of each name ended."""
        with self._lock:
            return list(self._found.values())

    def start(self, name: str, about: str, command: Sequence[str], environment: Mapping[str, str]) -> Process:
        """Start a process whose output goes to its log; `UserError` if one of that name runs."""
        with self._lock:
            running = self._found.get(name)
            if running is not None and running.running:
                raise UserError(f"{name} runs already; stop it first")
            log = self._folder / f"{name}.log"
            with log.open("wb") as output:
                # In a group of its own, so that Ctrl-C reaches it through us, once.
                popen = subprocess.Popen(  # noqa: S603 - our own commands
                    list(command), env=dict(environment), stdin=subprocess.DEVNULL, stdout=output,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            process = Process(name, about, time.time_ns(), log, popen)
            self._found[name] = process
            return process

    def stop(self, name: str, grace_seconds: float = GRACE_SECONDS) -> None:
        """End a process as a signal does, and wait until it has; nothing if it does not run."""
        with self._lock:
            process = self._found.get(name)
        if process is None or not process.running:
            return
        end(process.popen, grace_seconds)

    def tail(self, name: str, lines: int = 30) -> list[str]:
        """Return the last lines that a process wrote."""
        with self._lock:
            process = self._found.get(name)
        if process is None:
            return []
        with process.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
            text = log.read().decode(errors="replace")
        # Progress bars draw a line again and again; its last state is enough.
        return [line.rsplit("\r", 1)[-1] for line in text.rstrip().split("\n")][-lines:]

    def close(self) -> None:
        """End everything, and remove the logs."""
        for process in self.all():
            self.stop(process.name)
        shutil.rmtree(self._folder, ignore_errors=True)
