"""Whole lines of a text file, some megabytes at a time, with where they are in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from connectors.byte_stream import ByteStream
from tapewatch.errors import DamagedError

#: A longer line is taken for damage.
LONGEST_LINE = 1 << 20
_SKIPPED_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Lines:
    """Some whole lines of a file.

    Attributes
    ----------
    data
        The lines; each ends with a newline.
    first
        Number of the first of them, counted from 1.
    end
        Offset in the file's decompressed bytes just behind the last.
    cut
        Whether the file ends without the last line's newline, so that the line may be half a line.
    """

    data: bytes
    first: int
    end: int
    cut: bool = False


def damaged(path: Path, line: int, found: str) -> DamagedError:
    """Return the error for a line that cannot be read.

    >>> print(damaged(Path("a.csv"), 7, "`size` must be a whole number, was 'x'"))
    a.csv, line 7: `size` must be a whole number, was 'x'; `source.on_error = "skip"` keeps what is before it
    """
    return DamagedError(f'{path}, line {line}: {found}; `source.on_error = "skip"` keeps what is before it')


def whole_lines(stream: ByteStream, start: int, block_bytes: int) -> Iterator[Lines]:
    """Yield the lines from the offset ``start`` on, about ``block_bytes`` of them at a time.

    Raises
    ------
    DamagedError
        After every whole line before the damage: if the compressed data is damaged, a line is longer than
        `LONGEST_LINE`, or the file does not go on at ``start`` where it was left.
    """
    first, offset, rest = _resumed(stream, start)
    at, more = 0, True
    while True:
        if more and len(rest) - at < block_bytes:
            piece = stream.read(block_bytes - (len(rest) - at))
            more = bool(piece)
            rest, at = rest[at:] + piece, 0
        if at == len(rest) and not more:
            break
        until = rest.rfind(b"\n", at, at + block_bytes) + 1 or rest.find(b"\n", at) + 1
        if until:
            data = rest[at:until]
            kept = _before_long_line(data)
            if kept:
                yield Lines(data[:kept], first, offset + kept)
            first += data.count(b"\n", 0, kept)
            if kept < len(data):
                raise _too_long(stream.path, first)
            offset += len(data)
            at = until
        elif len(rest) - at > LONGEST_LINE:
            raise _too_long(stream.path, first)
        elif more:
            piece = stream.read(_SKIPPED_AT_ONCE)
            more = bool(piece)
            rest, at = rest[at:] + piece, 0
        else:
            stream.raise_damage()
            yield Lines(rest[at:] + b"\n", first, offset + len(rest) - at, cut=True)
            break
    stream.raise_damage()


def _before_long_line(data: bytes) -> int:
    """Return how many of the bytes lie before the first line that is too long."""
    at = 0
    while at < len(data):
        newline = data.rfind(b"\n", at, at + LONGEST_LINE + 1)
        if newline < 0:
            break
        at = newline + 1
    return at


def _too_long(path: Path, line: int) -> DamagedError:
    return damaged(path, line, f"a line has at most {LONGEST_LINE:,} bytes, this one has more")


def _resumed(stream: ByteStream, start: int) -> tuple[int, int, bytes]:
    """Pass over ``start`` bytes; return the number and offset of the line there, and what was read of it."""
    passed, line, last, rest = 0, 1, b"\n", b""
    while passed < start:
        piece = stream.read(min(_SKIPPED_AT_ONCE, start - passed))
        if not piece:
            stream.raise_damage()
            raise DamagedError(
                f"{stream.path} has {passed:,} bytes of text, fewer than the {start:,} read of it before; "
                "restore the file, or begin without recovery state"
            )
        here = min(len(piece), start - passed)
        line += piece.count(b"\n", 0, here)
        last, rest = piece[here - 1 : here], piece[here:]
        passed += here
    if last == b"\n":
        return line, start, rest
    # What was read last had no newline then; the file may have been given one since.
    rest += stream.read(2) if len(rest) < 2 else b""
    ending = len(rest) - len(rest.removeprefix(b"\r\n").removeprefix(b"\n"))
    if rest and not ending:
        raise damaged(stream.path, line, "the file has grown in the middle of a line that was read before")
    return line + 1, start + ending, rest[ending:]
