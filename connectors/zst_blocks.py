"""Compressed zst data cut at its block boundaries, so that what a cut can expand to is known beforehand.

A frame is a header, blocks that stand for at most 128 KiB each, and perhaps a checksum (RFC 8878, section
3.1.1). Decompressing a few blocks at a time bounds the memory that a hostile file can take, tells half a
frame from a whole one, and gives the decompressor enough to do at once to work beside another thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import RawIOBase

_MAGIC = 0xFD2F_B528
_SKIPPABLE = range(0x184D_2A50, 0x184D_2A60)
_READ = 1 << 17
#: Blocks given out at once, at first (somebody may only want the header) and at most: 512 KiB of data.
_FIRST_BLOCKS, _MOST_BLOCKS = 1, 4
_DICTIONARY_BYTES = (0, 1, 2, 4)
_RLE, _RESERVED = 1, 3


class TruncatedError(Exception):
    """The file ends within a frame."""


class NotZstError(Exception):
    """What comes is no zst frame or block."""


class ZstBlocks:
    """Cuts a file's bytes at block boundaries.

    Parameters
    ----------
    file
        The compressed file, unbuffered.

    Attributes
    ----------
    consumed
        Bytes read from the file so far.
    """

    def __init__(self, file: RawIOBase) -> None:
        self._file = file
        self._held = b""
        self._at = 0
        self.consumed = 0

    def _have(self, count: int) -> bool:
        while len(self._held) - self._at < count:
            more = self._file.read(max(_READ, count))
            if not more:
                return False
            self.consumed += len(more)
            self._held = self._held[self._at :] + more
            self._at = 0
        return True

    def _take(self, count: int) -> bytes:
        if not self._have(count):
            raise TruncatedError
        self._at += count
        return self._held[self._at - count : self._at]

    def chunks(self) -> Iterator[tuple[bytes, bool]]:
        """Yield stretches of frames that end at block boundaries, and whether each ends its frame.

        Raises
        ------
        TruncatedError, NotZstError
            Once every whole block before has been yielded.
        """
        while self._have(1):
            magic = self._take(4)
            number = int.from_bytes(magic, "little")
            if number in _SKIPPABLE:
                left = int.from_bytes(self._take(4), "little")
                while left:
                    left -= len(self._take(min(left, _READ)))
                continue
            if number != _MAGIC:
                raise NotZstError
            descriptor = self._take(1)
            single = descriptor[0] >> 5 & 1
            sizes = (single, 2, 4, 8)
            length = (1 - single) + _DICTIONARY_BYTES[descriptor[0] & 3] + sizes[descriptor[0] >> 6]
            yield from self._blocks(
                magic + descriptor + self._take(length), checksum=bool(descriptor[0] >> 2 & 1)
            )

    def _blocks(self, header: bytes, *, checksum: bool) -> Iterator[tuple[bytes, bool]]:
        parts, count, most = [header], 0, _FIRST_BLOCKS
        try:
            while True:
                head = self._take(3)
                number = int.from_bytes(head, "little")
                kind, size = number >> 1 & 3, number >> 3
                if kind == _RESERVED:
                    raise NotZstError  # noqa: TRY301 - what was whole goes out first
                parts.append(head + self._take(1 if kind == _RLE else size))
                count += 1
                if number & 1:
                    parts.append(self._take(4) if checksum else b"")
                    yield b"".join(parts), True
                    return
                if count == most:
                    whole, parts, count = b"".join(parts), [], 0
                    most = min(2 * most, _MOST_BLOCKS)
                    yield whole, False
        except (TruncatedError, NotZstError):
            if count:
                yield b"".join(parts), False
            raise
