"""Whether this process is one of several, and a bound on how long it waits for the others.

Bytewax connects the processes of a cluster before anything else, and waits for them without end: where one
refuses to start, the others would never say so, nor hear a signal. So a thread watches until the dataflow
begins.
"""

from __future__ import annotations

import argparse
import atexit
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from types import TracebackType

from tapewatch import stopping
from tapewatch.errors import UserError
from tapewatch.log import log

#: How long a process waits for the others, and after how much of it it says so.
PATIENCE_SECONDS = 60.0
_QUIET_SECONDS = 5.0
_begun = threading.Event()
#: What Bytewax raises if a peer hung up before the last bytes to it had left: when all workers have ended.
_HUNG_UP = ("PanicException", "Send thread panic")


def peers() -> list[str] | None:
    """Return the addresses of the cluster's other processes, none if there is only this one.

    None if it cannot be told, because the dataflow is not run by ``python -m bytewax.run``.
    """
    asked, env = _asked(), os.environ
    if asked is None:
        return None
    number, addresses = asked.process_id, asked.addresses
    if number is None and "BYTEWAX_POD_NAME" in env:
        number = env["BYTEWAX_POD_NAME"].rpartition("-")[2]
    if number is not None and addresses is None and "BYTEWAX_HOSTFILE_PATH" in env:
        addresses = ";".join(Path(env["BYTEWAX_HOSTFILE_PATH"]).read_text().split())
    if number is None or addresses is None:
        return []
    return [address for place, address in enumerate(addresses.split(";")) if str(place) != str(number)]


def shards_of_run(shards: int) -> int:
    """Return into how many parts this run splits instruments, of which the settings want ``shards``.

    A recovery store holds a state of each, so with one there are as many as the settings say. Without one the
    fewest that keep all workers busy do: every batch costs less the fewer there are, and no result depends on
    their number.

    Examples
    --------
    >>> shards_of_run(4)  # who runs this is unknown
    4
    """
    asked = _asked()
    if asked is None or asked.recovery_directory is not None:
        return shards
    try:
        workers = int(asked.workers_per_process) * (len(peers() or []) + 1)
    except ValueError:
        return shards  # Bytewax says what is wrong
    return workers if workers > 0 and shards % workers == 0 else shards


def check_asked() -> None:
    """Refuse workers and a recovery store with which Bytewax would do nothing, or end at length.

    Raises
    ------
    UserError
        One line that names Bytewax's flag.
    """
    asked = _asked()
    if asked is None:
        return
    if str(asked.workers_per_process).strip() == "0":
        raise UserError("`-w` must be a whole number of workers from 1, was 0")
    if asked.recovery_directory is None:
        return
    place = Path(asked.recovery_directory)
    make = f"mkdir -p {place}; python -m bytewax.recovery {place} 4"
    if not place.is_dir():
        raise UserError(f"`-r` must be the folder of a recovery store, was {place}; to make one: {make}")
    # Each process of a cluster may have only some of the parts, or none.
    if not peers() and not any(place.glob("part-*.sqlite3")):
        raise UserError(f"`-r` is {place}, which holds no recovery store; to make one there: {make}")


def _asked() -> argparse.Namespace | None:
    """Return what ``python -m bytewax.run`` was asked for, None if it is not what runs."""
    if Path(sys.argv[0]).parts[-2:] != ("bytewax", "run.py"):
        return None
    env = os.environ
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("-i", "--process-id", default=env.get("BYTEWAX_PROCESS_ID"))
    parser.add_argument("-a", "--addresses", default=env.get("BYTEWAX_ADDRESSES"))
    parser.add_argument("-w", "--workers-per-process", default=env.get("BYTEWAX_WORKERS_PER_PROCESS", "1"))
    parser.add_argument("-r", "--recovery-directory", default=env.get("BYTEWAX_RECOVERY_DIRECTORY"))
    return parser.parse_known_args(sys.argv[1:])[0]


def begin() -> None:
    """Note that the dataflow runs: all processes have come."""
    _begun.set()


def watch() -> None:
    """Bound the wait for the other processes, if there are any; call it just before the dataflow runs.

    When they have not come after `PATIENCE_SECONDS` the process ends with one line and status 1. A signal
    ends it meanwhile, with status 0: nothing has begun.
    """
    others = peers()
    if not others or threading.current_thread() is not threading.main_thread():
        return
    sys.excepthook = _end
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    # Handlers run in the main thread, which is not in Python while it waits; this is written where it is.
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    thread = threading.Thread(target=_wait, args=(others, woken), name="tapewatch-cluster", daemon=True)
    thread.start()


def _end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """End well where only the good-bye to a peer has failed, which was asked to stop a moment earlier."""
    if stopping.stopping() and (kind.__name__, str(error).partition(":")[0]) == _HUNG_UP:
        log.info("the other processes of the cluster hung up first; all is saved")
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)
    sys.__excepthook__(kind, error, trace)


def _wait(others: list[str], woken: int) -> None:
    names = ", ".join(others)
    begun, told = time.monotonic(), False
    while not _begun.wait(0.05):
        if select.select([woken], [], [], 0)[0] and not _begun.wait(0.5):
            os._exit(0)
        passed = time.monotonic() - begun
        if passed > _QUIET_SECONDS and not told:
            told = True
            log.info("waiting for the other processes of the cluster: %s", names)
        if passed > PATIENCE_SECONDS:
            stopping.abort(
                f"the other processes of the cluster ({names}) did not all come within "
                f"{PATIENCE_SECONDS:g} s; see what each of them said, then start all again"
            )
