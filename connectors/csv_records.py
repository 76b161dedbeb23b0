"""Databento's CSV encoding, parsed by columns rather than by lines.

Databento chooses two things independently of each other: prices are decimals with a dot ("pretty") or
whole numbers of 1e-9 ("raw"), and times are written out or whole numbers of nanoseconds. What a time is
shows in itself. What prices are is said by the first of the file that is not empty: with a dot, the file
has decimals (of which some may have no fraction); without, it has units of 1e-9, whatever its times look
like. An empty price or time is undefined, an empty symbol the instrument's id.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from connectors.byte_stream import ByteStream
from connectors.decimal_text import Text
from connectors.text_lines import LONGEST_LINE, Lines, damaged, whole_lines
from connectors.text_records import BAR_PRICES, DECIMAL, UNITS, Fault, Parsed, header_of, kind_of, parse
from tapewatch.errors import DamagedError, UserError
from tapewatch.records import OHLCV_WIDTHS, Block, Header, Int64s, Kind

_COMMA, _NEWLINE, _RETURN = b",\n\r"
#: Text read at once to find the first price.
_LOOK_AHEAD = 1 << 16


class CsvRecords:
    """Reader of one ``.csv`` or ``.csv.zst`` file.

    Parameters
    ----------
    path
        The file; its first line names the columns, in any order.
    block_bytes
        Text per block, about.

    Raises
    ------
    UserError
        If the file is empty, or its columns are not those of a schema with trades or bars.

    Attributes
    ----------
    header
        What the file holds. Bars of a file that has no line yet have schema ``ohlcv`` and no width.
    """

    def __init__(self, path: Path, block_bytes: int = 4 << 20) -> None:
        self.path = path
        self._block_bytes = block_bytes
        self._stream = ByteStream(path)
        try:
            self._columns, self._begin = self._read_columns()
            kind = self._kind()
            rtype, self._meant = self._look_ahead(kind)
        finally:
            self._stream.close()
        self.header: Header = header_of(kind, rtype)
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
            data, first, skipped = lines.data, lines.first, 0
            if first == 1:
                skipped = data.index(b"\n") + 1
                data, first = data[skipped:], 2
            if not data:
                continue
            parsed, until = self._parse(data)
            if until:
                yield parsed.block(lines.end if until == len(data) else _end(lines) + skipped + until)
            if parsed.fault is not None:
                found = parsed.fault.found + "; the file ends within this line" * lines.cut
                raise damaged(self.path, first + parsed.fault.row, found)

    def _read_columns(self) -> tuple[list[str], int]:
        head = self._stream.read(1)
        while b"\n" not in head and len(head) <= LONGEST_LINE and (more := self._stream.read(1)):
            head += more
        if not head:
            self._stream.raise_damage()
            raise UserError(f"{self.path} is empty; a CSV file begins with the names of its columns")
        line, newline, _ = head.partition(b"\n")
        if not newline:
            self._stream.raise_damage()
        columns = line.removesuffix(b"\r").decode("utf-8", "replace").split(",")
        return columns, len(line) + len(newline)

    def _kind(self) -> Kind:
        kind = kind_of(set(self._columns))
        if kind not in ("trades", "bars"):
            raise UserError(f"{self.path} {kind}")
        if len(set(self._columns)) < len(self._columns):
            raise UserError(f"{self.path} has two columns of one name")
        if kind == "bars" and "rtype" not in self._columns:
            raise UserError(f"{self.path} has no column `rtype`, which says how wide its bars are")
        return "bars" if kind == "bars" else "trades"

    def _look_ahead(self, kind: Kind) -> tuple[int, int]:
        """Return the first ``rtype``, and how prices are meant."""
        rtype = -1
        names = BAR_PRICES if kind == "bars" else ("price",)
        places = [self._columns.index(name) for name in names]
        with ByteStream(self.path) as stream:
            try:
                for lines in whole_lines(stream, 0, _LOOK_AHEAD):
                    for number, line in enumerate(lines.data.split(b"\n")[:-1], lines.first):
                        fields = line.split(b",")
                        if number == 1 or len(fields) != len(self._columns):
                            continue
                        if kind == "bars" and rtype < 0:
                            rtype = self._width_of(fields[self._columns.index("rtype")])
                        prices = [fields[place] for place in places if fields[place].strip()]
                        if prices:
                            return rtype, DECIMAL if any(b"." in price for price in prices) else UNITS
            except DamagedError:
                pass  # said when the records are read
        return rtype, DECIMAL

    def _width_of(self, field: bytes) -> int:
        rtype = field.strip().decode("utf-8", "replace")
        if rtype not in map(str, OHLCV_WIDTHS):
            raise UserError(
                f"{self.path} has bars of `rtype` {rtype[:40]!r}; "
                "it must be 32, 33, 34 or 35 (of a second, minute, hour, day)"
            )
        return int(rtype)

    def _parse(self, data: bytes) -> tuple[Parsed, int]:
        """Return the records of whole lines, and how many bytes are those before the first fault."""
        text = Text(data)
        characters = text.bytes[: len(data)]
        edges = np.flatnonzero((characters == _COMMA) | (characters == _NEWLINE))
        newlines, fault = self._misfit(data, characters, edges)
        width, count = len(self._columns), len(newlines)
        ends = edges[: count * width].reshape(count, width)
        starts = np.empty_like(ends)
        starts[:, 1:] = ends[:, :-1] + 1
        starts[:1, 0], starts[1:, 0] = 0, newlines[:-1] + 1
        columns = {
            name: (np.ascontiguousarray(starts[:, at]), np.ascontiguousarray(ends[:, at]))
            for at, name in enumerate(self._columns)
        }
        begin, end = columns[self._columns[-1]]
        columns[self._columns[-1]] = begin, end - ((end > begin) & (characters[end - 1] == _RETURN))
        meant = np.full(count, self._meant, dtype=np.uint8)
        parsed = parse(self.header, text, columns, count, meant)
        if parsed.fault is None and fault is not None:
            parsed = Parsed(
                parsed.records, parsed.times, parsed.codes, parsed.names, parsed.passed_over, fault
            )
        if parsed.fault is None:
            return parsed, len(data)
        return parsed, int(newlines[parsed.fault.row - 1]) + 1 if parsed.fault.row else 0

    def _misfit(self, data: bytes, characters: np.ndarray, edges: Int64s) -> tuple[Int64s, Fault | None]:
        """Return where lines end before the first that has not the fields it should have, and that one."""
        width = len(self._columns)
        newlines = edges[width - 1 :: width]
        lines = data.count(b"\n")
        quoted = data.find(b'"')
        if quoted < 0 and len(edges) == lines * width and bool((characters[newlines] == _NEWLINE).all()):
            return newlines, None
        places = np.flatnonzero(characters[edges] == _NEWLINE)
        fields = np.diff(places, prepend=-1)
        faults = []
        if (fields != width).any():
            row = int((fields != width).argmax())
            faults.append(Fault(row, f"it must have {width} fields, has {int(fields[row])}"))
        if quoted >= 0:
            faults.append(Fault(data.count(b"\n", 0, quoted), "it must have no quotes, has some"))
        fault = min(faults, key=lambda fault: fault.row)
        return edges[places[: fault.row]], fault


def _end(lines: Lines) -> int:
    """Return the offset of the first of the lines; a newline that is not in the file does not count."""
    return lines.end - len(lines.data) + lines.cut
