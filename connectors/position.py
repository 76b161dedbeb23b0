"""How far a file has been read: what of it is in the recovery store."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path

from tapewatch.errors import DamagedError

#: Bytes at the beginning of a file by which it is known again.
_HEAD = 4096


@dataclass(slots=True)
class Position:
    """How far a file has been read: ``taken`` records behind decompressed byte ``offset``.

    ``clock`` is the latest event time of the file so far. Once it was read to its end, ``size`` is the length
    on disk that it had when it was opened: a file that still has it is not opened again, and one that grew
    while it was read has another. ``head`` is the length and CRC-32 of its first bytes, by which a file that
    was put in its place is told from one that has grown.
    """

    offset: int = 0
    taken: int = 0
    clock: int = 0
    size: int = -1
    head: tuple[int, int] = (0, 0)

    def check(self, path: Path) -> None:
        """Note the file's first bytes, or find them as they were.

        Raises
        ------
        DamagedError
            If it is not the file that was read before.
        """
        length, known = self.head
        with path.open("rb") as file:
            head = file.read(length or _HEAD)
        if length and (len(head), zlib.crc32(head)) != (length, known):
            raise DamagedError(
                f"{path} is not the file that was read before under this name, as the recovery store "
                "knows it; give the new file another name, or start with a new recovery store"
            )
        self.head = len(head), zlib.crc32(head)
