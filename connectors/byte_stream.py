"""The bytes of a plain or zst-compressed file, in bounded pieces, with damage told apart from the end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import zstandard

from connectors.zst_blocks import NotZstError, TruncatedError, ZstBlocks
from tapewatch.errors import DamagedError, UserError

#: Largest window of a frame: what `zstd --ultra --long=28` may ask for.
_LARGEST_WINDOW = 1 << 28


class ByteStream:
    """Sequential reader of a file's (decompressed) bytes.

    Parameters
    ----------
    path
        The file; it is decompressed if its name ends in ``.zst``.

    Raises
    ------
    UserError
        If the file cannot be opened.

    Notes
    -----
    A frame that ends in the middle, or bytes that are no zst, raise `DamagedError` once every byte
    before the damage has been returned. A file may hold several frames, and grow between two runs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file = path.open("rb", buffering=0)
            self.size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            raise UserError(f"cannot read {path}: {error.strerror}") from error
        self.consumed = 0
        self.damage: str | None = None
        self._pieces = self._decompressed() if path.name.endswith(".zst") else self._plain()

    def _plain(self) -> Iterator[bytes]:
        while piece := self._file.read(1 << 20):
            self.consumed += len(piece)
            yield piece

    def _decompressed(self) -> Iterator[bytes]:
        factory = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
        blocks = ZstBlocks(self._file)
        frame = factory.decompressobj()
        try:
            for chunk, ends in blocks.chunks():
                self.consumed = blocks.consumed
                piece = frame.decompress(chunk)
                if piece:
                    yield piece
                if ends:
                    frame = factory.decompressobj()
        except (zstandard.ZstdError, NotZstError):
            self.damage = f"its zst data is damaged near byte {blocks.consumed:,} of {self.size:,}"
        except TruncatedError:
            self.damage = f"it ends in the middle of a zst frame, after {blocks.consumed:,} bytes"
        self.consumed = blocks.consumed

    def read(self, size: int, held: bytes = b"") -> bytes:
        """Return ``held`` and the next bytes, at least ``size`` in all unless the file ends before."""
        pieces = [held] if held else []
        have = len(held)
        while have < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            pieces.append(piece)
            have += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def skip(self, size: int) -> bytes:
        """Pass over ``size`` bytes; return what was read beyond them."""
        left = size
        while left > 0:
            piece = self.read(1 << 20)
            if not piece:
                return b""
            if len(piece) > left:
                return piece[left:]
            left -= len(piece)
        return b""

    def raise_damage(self) -> None:
        """Raise `DamagedError` if the bytes ended in damage rather than at the file's end."""
        if self.damage is not None:
            raise DamagedError(f'{self.path}: {self.damage}; `source.on_error = "skip"` keeps what is whole')

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
