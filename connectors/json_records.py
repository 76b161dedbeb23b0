"""Databento's JSON encoding, one record a line; `connectors.json_lines` says what a line may hold."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from connectors.byte_stream import ByteStream
from connectors.json_lines import JsonLines, loaded
from connectors.text_lines import damaged, whole_lines
from connectors.text_records import header_of, kind_of
from tapewatch.errors import UserError
from tapewatch.records import OHLCV_WIDTHS, Block, Header


class JsonRecords:
    """Reader of one ``.json`` or ``.jsonl`` file, or one of these with ``.zst``.

    Parameters
    ----------
    path
        The file; its first line tells what all its records are.
    block_bytes
        Text per block, about.

    Raises
    ------
    UserError
        If the file is empty, or its first line is no trade or bar.

    Attributes
    ----------
    header
        What the file holds.
    """

    def __init__(self, path: Path, block_bytes: int = 4 << 20) -> None:
        self.path = path
        self._block_bytes = block_bytes
        with ByteStream(path) as stream:
            lines = next(whole_lines(stream, 0, 1), None)
        if lines is None:
            raise UserError(f"{path} is empty; a JSON file has a record in each line")
        record = loaded(lines.data)
        if isinstance(record, str):
            raise damaged(path, 1, record)
        kind = kind_of(set(record))
        if kind not in ("trades", "bars"):
            raise UserError(f"{path} {kind}")
        rtype = str(record.get("rtype"))
        if kind == "bars" and rtype not in map(str, OHLCV_WIDTHS):
            raise UserError(
                f"{path} has bars of `rtype` {rtype[:40]!r}; "
                "it must be 32, 33, 34 or 35 (of a second, minute, hour, day)"
            )
        self.header: Header = header_of("bars", int(rtype)) if kind == "bars" else header_of("trades", 0)
        self._lines = JsonLines(self.header)
        self._stream = ByteStream(path)

    @property
    def consumed(self) -> int:
        """Compressed bytes read so far."""
        return self._stream.consumed

    @property
    def size(self) -> int:
        """Compressed bytes of the file when it was opened."""
        return self._stream.size

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def blocks(self, start: int = 0) -> Iterator[Block]:
        """Yield the file's blocks from decompressed byte ``start`` on (0, or the ``end`` of a block).

        Raises
        ------
        DamagedError
            After the last whole record, if what follows is damaged.
        """
        if self._stream.consumed:
            self._stream.close()
            self._stream = ByteStream(self.path)
        for lines in whole_lines(self._stream, start, self._block_bytes):
            parsed = self._lines.parse(lines.data)
            if parsed.fault is None:
                yield parsed.block(lines.end)
                continue
            row = parsed.fault.row
            if row:
                until = sum(map(len, lines.data.split(b"\n", row)[:row])) + row
                yield parsed.block(lines.end - len(lines.data) + lines.cut + until)
            found = parsed.fault.found + "; the file ends within this line" * lines.cut
            raise damaged(self.path, lines.first + row, found)
