"""Lines of JSON as columns of text, without parsing them one by one where they all have one shape.

Databento writes every record of a file with the same keys in the same order. Then what stands between the
values is the same in all lines once spaces are left out, and the values lie between the same commas.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson

from connectors.decimal_text import Bools, Text, decimal, first_bytes, signed
from connectors.text_symbols import Column
from tapewatch.records import Int64s

#: What may stand between two commas: one value, behind the keys and brackets that open before it. Values that
#: are rare (true, 1e5) are left to a parser.
_PIECE = re.compile(
    rb'(?P<before>(?:[{\[]|"[^"]*":)*)(?P<value>"[^"]*"|null|-?[0-9]+(?:\.[0-9]+)?)(?P<after>[}\]]*)'
)
_OPENING = re.compile(rb'[{\[]|"([^"]*)":')
_COMMA, _NEWLINE, _DASH, _ZERO, _NINE, _QUOTE = b',\n-09"'
_NULL = np.uint64(int.from_bytes(b"null", "little"))
_SPACES = _BLANK, _TAB, _RETURN = b" \t\r"
_STRUCTURE = np.isin(np.arange(256), list(b"{}[]:,\n"))


@dataclass(frozen=True, slots=True)
class Shape:
    """What lines of one shape hold.

    Attributes
    ----------
    columns
        Fields by name, those within ``hd`` too.
    quoted
        Names of the fields that are strings.
    nulls
        Of fields that are null in some lines, which those are, bool, shape ``(n,)``; they are empty in
        ``columns``.
    nested
        Whether there is an ``hd``.
    """

    columns: dict[str, Column]
    quoted: frozenset[str]
    nulls: dict[str, Bools]
    nested: bool


@dataclass(frozen=True, slots=True)
class _Piece:
    """What stands between two commas: constant bytes around a value, and the value's name if it has one."""

    before: bytes
    after: bytes
    name: str
    quoted: bool


@dataclass(frozen=True, slots=True)
class _Values:
    """The values of one piece: strings (without quotes) or numbers, and which of them are null."""

    column: Column
    quotes: int
    nulls: Bools | None = None


def without_spaces(data: bytes) -> bytes | None:
    r"""Return lines of JSON without the spaces outside of strings, None if that would change their meaning.

    Strings must be without escapes.

    >>> without_spaces(b'{"a b": [1, 2] , "c":3}\r\n'), without_spaces(b'{"a": 1 2}\n')
    (b'{"a b":[1,2],"c":3}\n', None)
    """
    characters = np.frombuffer(data, np.uint8)
    quotes = np.cumsum(characters == _QUOTE, dtype=np.uint8)
    places = np.flatnonzero((characters == _BLANK) | (characters == _TAB) | (characters == _RETURN))
    within = (quotes[places] & 1).astype(np.bool_)
    drop = places[~within]
    # Spaces may go beside a bracket, comma or colon; between other characters they tell two words apart.
    first = drop[np.flatnonzero(np.diff(drop, prepend=-2) > 1)]
    last = drop[np.flatnonzero(np.diff(drop, append=len(data) + 1) > 1)]
    before, after = characters[np.maximum(first, 1) - 1], characters[np.minimum(last + 1, len(data) - 1)]
    if not ((first == 0) | _STRUCTURE[before] | _STRUCTURE[after]).all():
        return None
    return np.delete(characters, drop).tobytes() if within.any() else data.translate(None, _SPACES)


def uniform(text: Text, count: int, read: frozenset[str] = frozenset()) -> Shape | None:
    r"""Return the fields of ``count`` lines of JSON if all have the shape of the first, else None.

    Parameters
    ----------
    text
        The lines, each with its newline.
    count
        How many.
    read
        Names of fields that the caller reads as decimals or whole numbers himself, unless they are strings:
        that they are numbers is looked at no closer than that takes.

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
    starts = np.concatenate([np.zeros(1, edges.dtype), edges[:-1] + 1])
    shape = Shape({}, frozenset(), {}, any(b'"hd":' in piece.before for piece in pieces))
    quotes, quoted = 0, set()
    for at, piece in enumerate(pieces):
        values = _values(text, piece, starts[at::width], edges[at::width], piece.name in read)
        if values is None:
            return None
        quotes += values.quotes + piece.before.count(b'"') * count
        if not piece.name:
            continue
        shape.columns[piece.name] = values.column
        if values.nulls is not None:
            shape.nulls[piece.name] = values.nulls
        if values.quotes:
            quoted.add(piece.name)
    # With the constant bytes in place, these leave no room for quotes or control characters within values.
    if np.count_nonzero(characters == _QUOTE) != quotes or np.count_nonzero(characters < ord(" ")) != count:
        return None
    return replace(shape, quoted=frozenset(quoted))


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
        pieces.append(_Piece(match["before"], match["after"], name, match["value"].startswith(b'"')))
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


def _values(text: Text, piece: _Piece, start: Int64s, end: Int64s, read: bool) -> _Values | None:
    """Return the values of a piece of all lines, None if not all have its constant bytes and values alike."""
    begin, until = start + len(piece.before), end - len(piece.after)
    if not bool((until > begin).all()):
        return None
    if not (_constant(text, start, piece.before) and _constant(text, until, piece.after)):
        return None
    if piece.quoted and bool((until - begin > 1).all()):
        if _constant(text, begin, b'"') and _constant(text, until - 1, b'"'):
            return _Values((begin + 1, until - 1), 2 * len(begin))
    elif not piece.quoted and (_begin_as_numbers if read else numbers)(text, begin, until).all():
        return _Values((begin, until), 0)
    return _with_nulls(text, begin, until)


def _with_nulls(text: Text, begin: Int64s, until: Int64s) -> _Values | None:
    """Return values of which some are null; the others must be all strings or all numbers."""
    nulls: Bools = (until - begin == 4) & ((text.word(begin) & np.uint64(0xFFFFFFFF)) == _NULL)
    others = np.flatnonzero(~nulls)
    first, last = begin[others], until[others]
    strings = text.bytes[first] == _QUOTE
    quotes = 0
    if strings.any():
        if not (strings & (last - first > 1) & (text.bytes[last - 1] == _QUOTE)).all():
            return None
        quotes = 2 * len(others)
    elif not numbers(text, first, last).all():
        return None
    place = np.where(nulls, begin, begin + (quotes > 0))
    return _Values((place, np.where(nulls, place, until - (quotes > 0))), quotes, nulls)


def _constant(text: Text, place: Int64s, expected: bytes) -> bool:
    for at in range(0, len(expected), 8):
        part = expected[at : at + 8]
        word = first_bytes(text.word(place + at), np.full(len(place), len(part)))
        if not bool((word == int.from_bytes(part, "little")).all()):
            return False
    return True


def numbers(text: Text, start: Int64s, end: Int64s) -> Bools:
    """Return which fields are numbers as JSON has them, without exponent."""
    good = _begin_as_numbers(text, start, end)
    whole = signed(text, start, end)[1]
    good &= whole if whole.all() else whole | decimal(text, start, end)[1]
    return good


def _begin_as_numbers(text: Text, start: Int64s, end: Int64s) -> Bools:
    """Return which fields begin as numbers do in JSON, and are no date."""
    begin = text.bytes[start]
    good: Bools = (begin > _ZERO) & (begin <= _NINE) & (text.bytes[start + 4] != _DASH)
    if good.all():
        return good
    first = start + (begin == _DASH)
    second = text.bytes[first + 1]
    more = (first + 1 < end) & (second >= _ZERO) & (second <= _NINE)
    good = (text.bytes[first] >= _ZERO) & (text.bytes[first] <= _NINE)
    dated = (end - start > 4) & (text.bytes[start + 4] == _DASH)
    padded = (text.bytes[first] == _ZERO) & more
    good &= ~(padded | dated)
    return good
