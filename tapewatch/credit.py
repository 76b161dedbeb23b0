"""Credit: how far a source may run ahead of the results.

Bytewax does not bound what lies between a fast source and a slow step, least of all between processes, so
the source keeps its own account: a little shared memory with one slot per consumer (a shard at a sink)
that holds the last batch it has finished. Each slot has one writer, so nothing is locked. A process that is
alone keeps it to itself; processes of one machine share it as a file in the temporary folder, which is locked
as long as its owner lives, so that what a killed one left is found and removed by the next run. Consumers on
other machines cannot acknowledge; for them the source counts what an epoch has already carried away
(`Credit.settle`).
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import mmap
import os
import struct
import tempfile
from pathlib import Path

from tapewatch.cluster import peers

_SLOT = struct.Struct("<q")
_PREFIX = "tapewatch-credit-"
_open: dict[str, mmap.mmap | None] = {}
_numbers = itertools.count()


class Credit:
    """The source's side, which knows whether another batch may go out.

    Parameters
    ----------
    slots
        Number of consumers that acknowledge.
    batches
        How many batches may be under way at once.

    Examples
    --------
    >>> credit = Credit(slots=1, batches=1)
    >>> credit.free(seq=0)
    True
    >>> credit.free(seq=1)
    False
    >>> acknowledge(credit.path, slot=0, seq=0)
    >>> credit.free(seq=1)
    True
    >>> credit.close()
    """

    def __init__(self, slots: int, batches: int) -> None:
        self._batches = batches
        self._slots = max(slots, 1)
        _sweep()
        alone = peers() == []
        #: What consumers know the account by: a file, or a name of this process only.
        self.path, self._handle = (f"memory:{next(_numbers)}", -1) if alone else _locked_file()
        if not alone:
            os.ftruncate(self._handle, _SLOT.size * self._slots)
        self._map = mmap.mmap(self._handle, _SLOT.size * self._slots)
        self._map[:] = _SLOT.pack(-1) * self._slots
        _open[self.path] = self._map
        self._settled = self._before = -1

    def free(self, seq: int) -> bool:
        """Return whether batch ``seq`` may be sent now."""
        slowest = min(_SLOT.unpack_from(self._map, _SLOT.size * i)[0] for i in range(self._slots))
        return bool(seq - max(slowest, self._settled) <= self._batches)

    def settle(self, seq: int) -> None:
        """Note the last batch sent when a snapshot is taken: the one before it has been dealt with."""
        self._settled, self._before = self._before, seq

    def close(self) -> None:
        """Remove the account."""
        _open[self.path] = None
        self._map.close()
        if self._handle >= 0:
            Path(self.path).unlink(missing_ok=True)
            os.close(self._handle)
            self._handle = -1


def acknowledge(path: str, slot: int, seq: int) -> None:
    """Tell the source that a consumer has finished batch ``seq``; nothing happens where its file is not."""
    if not path:
        return
    if path not in _open:
        _open[path] = None
        with contextlib.suppress(OSError, ValueError), Path(path).open("r+b") as file:
            _open[path] = mmap.mmap(file.fileno(), 0)
    account = _open[path]
    if account is not None:
        # The source may have closed it, or know of fewer slots.
        with contextlib.suppress(ValueError, struct.error):
            _SLOT.pack_into(account, slot * _SLOT.size, seq)


def _locked_file() -> tuple[str, int]:
    """Return a new file, locked until this process ends or closes it."""
    while True:
        handle, path = tempfile.mkstemp(prefix=_PREFIX)
        fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return path, handle
        # Another process found it before it was locked, and took it for one left behind.
        os.close(handle)


def _sweep() -> None:
    """Remove the files of processes that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()
            finally:
                os.close(handle)
