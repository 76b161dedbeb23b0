"""Lines of JSON as columns of text, without parsing them one by one where they all have one shape.

Databento writes every record of a file with the same keys in the same order and no spaces. Then what stands
between the values is the same in all lines, and the values lie between the same commas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from connectors.decimal_text import Bools, Text, decimal, first_bytes, signed
from connectors.text_symbols import Column
from tapewatch.records import Int64s

#: What may stand between two commas: one value, behind the keys and brackets that open before it. Values that
#: not every line is likely to have (null, true, 1e5) are left to a parser.
_PIECE = re.compile(
    rb'(?P<before>(?:[{\[]|"[^"]*":)*)(?P<value>"[^"]*"|-?[0-9]+(?:\.[0-9]+)?)(?P<after>[}\]]*)'
)
_OPENING = re.compile(rb'[{\[]|"([^"]*)":')
_COMMA, _NEWLINE, _DASH, _ZERO, _NINE, _QUOTE = b',\n-09"'


@dataclass(frozen=True, slots=True)
class Shape:
    """What lines of one shape hold.

    Attributes
    ----------
    columns
        Fields by name, those within ``hd`` too.
    quoted
        Names of the fields that are strings.
    nested
        Whether there is an ``hd``.
    """

    columns: dict[str, Column]
    quoted: frozenset[str]
    nested: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    """What stands between two commas: constant bytes around a value, and the value's name if it has one."""

    before: bytes
    after: bytes
    name: str
    quoted: bool


def uniform(text: Text, count: int) -> Shape | None:
    r"""Return the fields of ``count`` lines of JSON if all have the shape of the first, else None.

    >>> text = Text(b'{"hd":{"ts_event":"7"},"size":2}\n{"hd":{"ts_event":"8"},"size":13}\n')
    >>> shape = uniform(text, 2)
    >>> [text.data[a:b] for a, b in zip(*shape.columns["size"])]
    [b'2', b'13']
    """
    data = text.data
    if not data.isascii() or b"\\" in data:
        return None
    pieces = _pieces(data[: data.index(b"\n")])
    if pieces is None:
        return None
    characters = text.bytes[: len(data)]
    edges = np.flatnonzero((characters == _COMMA) | (characters == _NEWLINE))
    width = len(pieces)
    if len(edges) != count * width or not bool((characters[edges[width - 1 :: width]] == _NEWLINE).all()):
        return None
    # With the constant bytes in place, these leave no room for quotes or control characters within values.
    quotes = sum(piece.before.count(b'"') + piece.after.count(b'"') for piece in pieces)
    if (
        np.count_nonzero(characters == _QUOTE) != quotes * count
        or np.count_nonzero(characters < ord(" ")) != count
    ):
        return None
    starts = np.concatenate([np.zeros(1, edges.dtype), edges[:-1] + 1])
    columns: dict[str, Column] = {}
    for at, piece in enumerate(pieces):
        start, end = starts[at::width], edges[at::width]
        column = start + len(piece.before), end - len(piece.after)
        if not _fits(text, piece, start, column):
            return None
        if piece.name:
            columns[piece.name] = column
    quoted = frozenset(piece.name for piece in pieces if piece.quoted)
    return Shape(columns, quoted, any(b'"hd":' in piece.before for piece in pieces))


def _pieces(line: bytes) -> list[_Piece] | None:
    """Take a line apart, or return None if it has values that `_PIECE` has not."""
    try:
        record = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(record, dict) or not isinstance(record.get("hd", {}), dict):
        return None
    pieces: list[_Piece] = []
    # Keys of the objects and lists that are open.
    within: list[bytes] = []
    quotes = best_quotes(record)
    for part in line.split(b","):
        match = _PIECE.fullmatch(part)
        if match is None:
            return None
        key = b""
        for opening in _OPENING.finditer(match["before"]):
            if opening[1] is None:
                within.append(key)
                key = b""
            else:
                key = opening[1]
        name = key.decode() if within in ([b""], [b"", b"hd"]) else ""
        if within == [b"", b"levels", b""]:
            name = f"{key.decode()}_00" if f"{key.decode()}_00" in quotes else ""
            # Only those of the first level are the best.
            quotes = {quote: value for quote, value in quotes.items() if quote != name}
        quote = b'"' * match["value"].startswith(b'"')
        pieces.append(_Piece(match["before"] + quote, quote + match["after"], name, bool(quote)))
        del within[len(within) - len(match["after"]) :]
    head = record.pop("hd", {})
    names = [name for name, value in record.items() if not isinstance(value, dict | list)]
    names += best_quotes(record)
    # A key that comes twice is left to a parser too.
    same = sorted([*names, *head]) == sorted(piece.name for piece in pieces if piece.name)
    return pieces if same and "" not in record and "" not in head else None


def best_quotes(record: dict[str, Any]) -> dict[str, Any]:
    """Return the best bid and ask of a record with ``levels``, by the names that they have in CSV.

    >>> best_quotes({"levels": [{"bid_px": "5", "ask_px": "6"}, {"bid_px": "4", "ask_px": "7"}]})
    {'bid_px_00': '5', 'ask_px_00': '6'}
    """
    levels = record.get("levels")
    first = levels[0] if isinstance(levels, list) and levels else None
    if not isinstance(first, dict):
        return {}
    return {f"{name}_00": first[name] for name in ("bid_px", "ask_px") if name in first}


def _fits(text: Text, piece: _Piece, start: Int64s, column: Column) -> bool:
    """Return whether a piece of all lines has the constant bytes, and between them a value of its kind."""
    begin, end = column
    if not bool((end - begin >= (0 if piece.quoted else 1)).all()):
        return False
    if not (_constant(text, start, piece.before) and _constant(text, end, piece.after)):
        return False
    return piece.quoted or bool(_numbers(text, begin, end).all())


def _constant(text: Text, place: Int64s, expected: bytes) -> bool:
    for at in range(0, len(expected), 8):
        part = expected[at : at + 8]
        word = first_bytes(text.word(place + at), np.full(len(place), len(part)))
        if not bool((word == int.from_bytes(part, "little")).all()):
            return False
    return True


def _numbers(text: Text, start: Int64s, end: Int64s) -> Bools:
    """Return which fields are numbers as JSON has them, without exponent."""
    good = signed(text, start, end)[1]
    if not good.all():
        good |= decimal(text, start, end)[1]
    first = start + (text.bytes[start] == _DASH)
    second = text.bytes[first + 1]
    more = (first + 1 < end) & (second >= _ZERO) & (second <= _NINE)
    padded: Bools = (text.bytes[first] == _ZERO) & more
    return good & ~padded
