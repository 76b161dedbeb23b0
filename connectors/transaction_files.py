"""Files of transactions, block by block: ``.csv``, ``.jsonl`` (plain or ``.zst``) and ``.parquet``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from connectors.byte_stream import ByteStream
from connectors.text_lines import Lines, whole_lines
from connectors.transaction_columns import Parsed, layout, parse
from tapewatch.errors import DamagedError, UserError
from tapewatch.transactions import NUMBERS, REQUIRED, WORDS

EXTENSIONS = (
    ".csv", ".csv.zst", ".json", ".json.zst", ".jsonl", ".jsonl.zst", ".parquet", ".parquet.zst",
)  # fmt: skip
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Block:
    """Some rows of a file, and where it goes on: a byte of the text, or a row of a table."""

    parsed: Parsed
    first_line: int
    end: int


def blocks(path: Path, start: int, rows: int, given: Mapping[str, str]) -> Iterator[Block]:
    """Yield a file's transactions from ``start`` on (0, or a block's ``end``).

    Parameters
    ----------
    path
        A file with one of `EXTENSIONS`.
    rows
        Rows of a block, about, where the format lets us choose.
    given
        ``transactions.columns``.

    Raises
    ------
    UserError
        If the file, or its header, cannot be read; `DamagedError` behind the last whole row before damage.
    """
    name = path.name.removesuffix(".zst")
    if name.endswith(".parquet"):
        yield from _parquet(path, start, rows, given)
        return
    with ByteStream(path) as stream:
        if stream.size == 0:
            raise DamagedError(f"{path} is empty")
        yield from (_csv if name.endswith(".csv") else _jsonl)(stream, start, given)


def check(path: Path, given: Mapping[str, str]) -> None:
    """Look whether a file's first rows can be read; `UserError` if not even its header can."""
    next(blocks(path, 0, 1, given), None)


def _csv(stream: ByteStream, start: int, given: Mapping[str, str]) -> Iterator[Block]:
    names: list[str] = []
    at = 0
    # The header is read again wherever the file is gone on with.
    with ByteStream(stream.path) as again:
        for head in whole_lines(again, 0, 1):
            line = head.data.split(b"\n", 1)[0]
            at = len(line) + 1
            names = next(csv.reader([_text(line, stream.path, 1).removeprefix("\ufeff")]), [])
            break
    try:
        columns = layout(names, given)
    except UserError as error:
        raise UserError(f"{stream.path}: {error}") from None
    places = {name: names.index(column) for name, column in columns.items()}
    for lines in whole_lines(stream, max(start, at), _BLOCK_BYTES):
        rows = list(csv.reader(io.StringIO(_text(lines.data, stream.path, lines.first), newline="")))
        short = [number for number, row in enumerate(rows) if len(row) != len(names)]
        for number in short:
            rows[number] = [""] * len(names)
        turned: Sequence[Sequence[str]] = list(zip(*rows, strict=True)) if rows else [[] for _ in names]
        found = parse({name: turned[place] for name, place in places.items()}, len(rows))
        yield Block(found, lines.first, lines.end)


def _text(data: bytes, path: Path, line: int) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        line += data.count(b"\n", 0, error.start)
        raise DamagedError(f"{path}, line {line}: it is no UTF-8") from None


def _jsonl(stream: ByteStream, start: int, given: Mapping[str, str]) -> Iterator[Block]:
    for lines in whole_lines(stream, start, _BLOCK_BYTES):
        yield Block(parse_messages(_split(lines), given), lines.first, lines.end)


def _split(lines: Lines) -> list[bytes]:
    return lines.data.split(b"\n")[:-1]


def parse_messages(values: Sequence[bytes | None], given: Mapping[str, str]) -> Parsed:
    """Return the transactions of JSON objects; those that are none are among the faults.

    An empty line of a file is no message, and no fault.
    """
    objects: list[dict[str, Any]] = []
    faults: list[tuple[int, str]] = []
    places: list[int] = []
    for place, value in enumerate(values):
        if value is not None and not value.strip():
            continue
        try:
            found = orjson.loads(value or b"")
        except orjson.JSONDecodeError:
            faults.append((place, "it is no JSON"))
            continue
        if not isinstance(found, dict):
            faults.append((place, "it is no JSON object"))
            continue
        objects.append(found)
        places.append(place)
    keys = {name: given.get(name, name) for name in (*REQUIRED, *WORDS, *NUMBERS)}
    columns = {
        name: [found.get(key) for found in objects]
        for name, key in keys.items()
        if name in REQUIRED or any(key in found for found in objects)
    }
    parsed = parse(columns, len(objects))
    faults += [(places[row], reason) for row, reason in parsed.faults]
    kept = parsed.places
    for index, place in enumerate(kept.tolist()):
        kept[index] = places[place]
    return Parsed(
        parsed.ids, parsed.users, parsed.times, parsed.amounts, parsed.words, parsed.numbers, kept,
        sorted(faults),
    )  # fmt: skip


def _parquet(path: Path, start: int, rows: int, given: Mapping[str, str]) -> Iterator[Block]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError(f'{path}: Parquet needs pyarrow: pip install "tapewatch[transactions]"') from None
    source: Any = str(path)
    if path.name.endswith(".zst"):
        with ByteStream(path) as stream:
            source = pa.BufferReader(stream.read(1 << 40))
            stream.raise_damage()
    try:
        table = pq.ParquetFile(source)
        columns = layout(table.schema_arrow.names, given)
        at = 0
        for batch in table.iter_batches(batch_size=rows, columns=sorted(set(columns.values()))):
            at += len(batch)
            if at <= start:
                continue
            taken = {name: batch.column(batch.schema.get_field_index(c)) for name, c in columns.items()}
            values = {name: _values(column, name) for name, column in taken.items()}
            yield Block(parse(values, len(batch)), at - len(batch) + 1, at)
    except (pa.ArrowException, OSError) as error:
        raise DamagedError(
            f"{path} is no Parquet file that can be read: {str(error).splitlines()[0]}"
        ) from None


def _values(column: Any, name: str) -> Any:  # noqa: ANN401 - pyarrow has no types
    import pyarrow as pa

    if name == "timestamp" and pa.types.is_timestamp(column.type) and not column.null_count:
        return column.to_numpy(zero_copy_only=False)
    if pa.types.is_floating(column.type) and name not in ("user_id", "transaction_id"):
        return column.to_numpy(zero_copy_only=False).tolist()
    return column.to_pylist()
