"""Credit: how far a source may run ahead of the results.

Bytewax does not bound what lies between a fast source and a slow step, least of all between processes, so
the source keeps its own account: a small memory-mapped file with one slot per consumer (a shard at a sink)
that holds the last batch it has finished. Each slot has one writer, so nothing is locked, and processes of
one machine share it as threads do. Consumers on other machines cannot acknowledge; for them the source
counts what an epoch has already carried away (`Credit.settle`).
"""

from __future__ import annotations

import contextlib
import mmap
import struct
import tempfile
from pathlib import Path

_SLOT = struct.Struct("<q")
_open: dict[str, mmap.mmap | None] = {}


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
        with tempfile.NamedTemporaryFile(prefix="tapewatch-credit-", delete=False) as file:
            file.write(_SLOT.pack(-1) * self._slots)
            self.path = file.name
        with Path(self.path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
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
        self._map.close()
        Path(self.path).unlink(missing_ok=True)
        held = _open.pop(self.path, None)
        if held is not None:
            held.close()


def acknowledge(path: str, slot: int, seq: int) -> None:
    """Tell the source that a consumer has finished batch ``seq``; nothing happens where its file is not."""
    if not path:
        return
    if path not in _open:
        _open[path] = None
        with contextlib.suppress(OSError, ValueError), Path(path).open("r+b") as file:
            _open[path] = mmap.mmap(file.fileno(), 0)
    account = _open[path]
    if account is not None and (slot + 1) * _SLOT.size <= len(account):
        with contextlib.suppress(ValueError):
            _SLOT.pack_into(account, slot * _SLOT.size, seq)
