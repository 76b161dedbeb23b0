"""The bytes of a plain or zst-compressed file, in bounded pieces, with damage told apart from the end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import zstandard

from tapewatch.errors import DamagedError, UserError

#: Compressed bytes given to the decompressor at once. One such piece can expand to 128 MiB at the very
#: most (a zst block of 4 bytes may stand for 128 KiB), so a hostile file cannot take the memory.
_PIECE = 1 << 12


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
            self.size = path.stat().st_size
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
        factory = zstandard.ZstdDecompressor(max_window_size=1 << 28)
        frame = None
        while raw := self._file.read(_PIECE):
            self.consumed += len(raw)
            while raw:
                frame = frame or factory.decompressobj()
                try:
                    piece = frame.decompress(raw)
                except zstandard.ZstdError:
                    self.damage = f"its zst data is damaged near byte {self.consumed:,} of {self.size:,}"
                    return
                if piece:
                    yield piece
                raw = frame.unused_data if frame.eof else b""
                if frame.eof:
                    frame = None
        if frame is not None:
            self.damage = f"it ends in the middle of a zst frame, after {self.consumed:,} bytes"

    def read(self, size: int, held: bytes = b"") -> bytes:
        """Return ``held`` and the next bytes, at least ``size`` in all unless what is whole of the file ends."""
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
