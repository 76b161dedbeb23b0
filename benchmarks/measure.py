"""Timing of whole runs and peak memory of processes."""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_FLOW = [sys.executable, "-m", "bytewax.run", "flows.market:flow"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A work of which only the second part is timed: what the first one returns."""

    prepare: Callable[[], Callable[[], object]]


def interleaved(runs: int, **works: Callable[[], object] | Prepared) -> dict[str, float]:
    """Return the median seconds of each work, all of them in turn after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for number in range(runs + 1):
        for name, work in works.items():
            timed = work.prepare() if isinstance(work, Prepared) else work
            begun = time.perf_counter()
            timed()
            if number:
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(values) for name, values in seconds.items()}


def environment(path: Path, folder: Path, **settings: str) -> dict[str, str]:
    """Return the environment of a run on one file with results in ``folder``."""
    return {
        **os.environ,
        "TAPEWATCH_SOURCE__PATHS": f'["{path}"]',
        "TAPEWATCH_SINKS__SQLITE__PATH": str(folder / "bench.db"),
        **settings,
    }


def forget(folder: Path) -> None:
    """Remove the results of the run before."""
    for found in folder.glob("bench.db*"):
        found.unlink()


def peak_mib(path: Path, folder: Path, *arguments: str, processes: int = 1, **settings: str) -> float:
    """Return the largest resident set of any process of a run, MiB."""
    forget(folder)
    env = environment(path, folder, **settings)
    extra: list[list[str]] = [list(arguments)]
    if processes > 1:
        address = ";".join(f"127.0.0.1:{_free_port()}" for _ in range(processes))
        extra = [["-i", str(i), "-a", address] for i in range(processes)]
    script = (
        "import resource, subprocess, sys\n"
        "status = subprocess.run(sys.argv[1:]).returncode\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(status)"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, *_FLOW, *more], env=env, stdout=subprocess.PIPE, text=True
        )
        for more in extra
    ]
    peaks = []
    for process in running:
        out, _ = process.communicate(timeout=600)
        if process.returncode:
            msg = f"a run ended with status {process.returncode}"
            raise RuntimeError(msg)
        peaks.append(int(out.split()[-1]) / 1024)
    return max(peaks)


def start_up(path: Path, folder: Path, **settings: str) -> float:
    """Return the seconds from the start of the process until the source hands over its first record."""
    forget(folder)
    script = (
        "import time, sys, runpy\n"
        "import connectors.files as files\n"
        "first = files.FilesPartition._tape\n"
        "def told(self, piece):\n"
        "    print(time.time(), flush=True)\n"
        "    files.FilesPartition._tape = first\n"
        "    return first(self, piece)\n"
        "files.FilesPartition._tape = told\n"
        "sys.argv = ['bytewax.run', 'flows.market:flow']\n"
        "runpy.run_module('bytewax.run', run_name='__main__')\n"
    )
    begun = time.time()
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment(path, folder, **settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout.split()[0]) - begun


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
