"""New processes of Python that need not read their libraries first: forks of one that has read them.

A fresh interpreter takes half a second of processor time before the market flow is reached, more than most
runs on small tapes do. A fork has its own memory, signals, environment, folder and end, like any process.
What is about the start itself, or about processes that are signalled, starts an interpreter of its own.
"""

from __future__ import annotations

import atexit
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from itertools import cycle
from pathlib import Path
from typing import Any

import orjson

#: What flows and commands import. Not ``flows``, where importing one builds it, nor ONNX Runtime, which has a
#: thread that a fork would miss.
_LIBRARIES = (
    "bytewax.operators",
    "connectors.files",
    "connectors.sqlite_sink",
    "operators.dataflow",
    "operators.detectors",
    "tapewatch.cli",
    "tapewatch.settings",
    "typer.rich_utils",
)
#: Strings hash differently in each: what comes after another run must not depend on that.
_SEEDS = cycle(str(int.from_bytes(os.urandom(4), "little")) for _ in range(2))


def run_python(
    code: str, *args: str, cwd: Path, env: Mapping[str, str], timeout: float
) -> subprocess.CompletedProcess[str]:
    """Return what ``python -c CODE ARGS`` ended with.

    Raises
    ------
    subprocess.TimeoutExpired
        If it took longer; it is dead then.
    """
    forks = _forks(env.get("PYTHONHASHSEED") or next(_SEEDS))
    command = [sys.executable, "-c", code, *args]
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder) / name for name in ("out", "err")]
        asked = {
            "code": code,
            "args": args,
            "cwd": str(cwd),
            "env": dict(env),
            "said": [str(p) for p in said],
        }
        forks.stdin.write(orjson.dumps(asked, option=orjson.OPT_APPEND_NEWLINE))
        forks.stdin.flush()
        process = int(forks.stdout.readline())
        in_time = bool(select.select([forks.stdout], [], [], timeout)[0])
        if not in_time:
            os.kill(process, 9)
        status = int(forks.stdout.readline())
        out, err = (path.read_text() for path in said)
    if not in_time:
        raise subprocess.TimeoutExpired(command, timeout, out, err)
    return subprocess.CompletedProcess(command, status, out, err)


def tapewatch(
    *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, timeout: float = 280
) -> subprocess.CompletedProcess[str]:
    """Return what ``tapewatch ARGS`` ended with, in this folder and environment if none are given."""
    code = "from tapewatch.cli import main; main()"
    return run_python(
        code, *args, cwd=cwd or Path.cwd(), env=os.environ if env is None else env, timeout=timeout
    )


@cache
def _forks(seed: str) -> Any:
    """Return the process that forks, of one seed of hashes; it ends with this one, whose pipe it reads."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": seed},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )
    atexit.register(process.communicate)
    return process


def serve() -> None:
    """Fork for each line of stdin; in a fork, return once its code has run, to end as any process does."""
    for name in _LIBRARIES:
        import_module(name)
    answers = os.dup(1)
    while line := sys.stdin.buffer.readline():
        asked = orjson.loads(line)
        process = os.fork()
        if not process:
            os.close(answers)
            _become(asked)
            exec(compile(asked["code"], "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102
            return
        os.write(answers, b"%d\n" % process)
        _, status = os.waitpid(process, 0)
        os.write(answers, b"%d\n" % os.waitstatus_to_exitcode(status))


def _become(asked: dict[str, Any]) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, path in enumerate(asked["said"], start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["-c", *asked["args"]]
