"""How a run ends: gracefully on a signal, or with one line and exit status 2 for a person's mistake.

An exception that leaves a Bytewax source prints a page of traceback and exits with 1, and a signal kills the
process where it stands. So signals only raise a flag; sources see it, end their input, and the flow
finishes the batch, takes its snapshots and flushes. A mistake found on the way is remembered and told last.
What makes going on impossible ends the process at once, before a snapshot could claim what was never written.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

from tapewatch.progress import close_bars

#: How soon a second signal means the same wish: `timeout` says it to the process and then to its group.
_ONE_WISH_SECONDS = 5.0

_stop = threading.Event()
_lines: list[str] = []
_aborting = threading.Lock()


def stopping() -> bool:
    """Return whether the run is to end as soon as the current batch is done."""
    return _stop.is_set()


def install() -> None:
    """Make SIGTERM and SIGINT end the input instead of the process; one seconds later ends the process."""
    first: float | None = None

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal first
        if first is None:
            first = time.monotonic()
        elif time.monotonic() - first > _ONE_WISH_SECONDS:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        _stop.set()

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)
        atexit.register(_finish)


def stop() -> None:
    """End the input as a signal would."""
    _stop.set()


def _finish() -> None:
    """Let nothing interrupt the last moments: all is written, and the handlers are about to go."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def fail(line: str) -> None:
    """End the run with this line on stderr and exit status 2, once all that came before is written."""
    if not _lines:
        atexit.register(_exit)
    _lines.append(line)
    _stop.set()


def abort(line: str, status: int = 1) -> NoReturn:
    """End the process now, with this line on stderr.

    For a failure in the midst of a run, such as a full disk. No more state is saved, so a run resumed from
    the recovery store does again whatever was not finished, as after a crash.
    """
    close_bars()
    # Workers of this process may be at it at once; the first line says all.
    if _aborting.acquire(blocking=False):
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(f"tapewatch: {line}\n")
            sys.stderr.flush()
        os._exit(status)
    threading.Event().wait()
    raise SystemExit(status)


def refuse_other_versions(version: object, known: int) -> None:
    """End the process now, with status 2, unless recovery state is of the version that is known.

    At once: a state of this version must not take the place of what is there.

    >>> refuse_other_versions(3, 3)
    """
    if version != known:
        abort("the recovery store was written by another version of tapewatch; start with a new one", 2)


def refuse_other_shards(shards: int, wanted: int) -> None:
    """End the process now, with status 2, unless recovery state is of as many shards as are wanted.

    An instrument would go on in another shard, without what is known of it.

    >>> refuse_other_shards(4, 4)
    """
    if shards != wanted:
        abort(
            f"`shards` is {wanted}, but the recovery store was begun with {shards}; set it to {shards}, or "
            "start with a new store",
            2,
        )


def _exit() -> None:
    sys.stdout.flush()
    for line in _lines:
        sys.stderr.write(f"tapewatch: {line}\n")
    sys.stderr.flush()
    os._exit(2)
