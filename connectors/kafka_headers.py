"""What the headers of a message say of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import orjson

from connectors.dbn_records import _BAR_SCHEMAS, _TRADE_SCHEMAS, _VERSIONS
from tapewatch.records import LATEST

_MOST_SHOWN = 60
_MOST = 2**31

Headers: TypeAlias = Sequence[tuple[str, bytes | None]] | None


class Form(NamedTuple):
    """What the headers of a message say; ``error`` is what is wrong with them, empty if nothing is.

    ``gaps`` are what is missing before records of the message: the record's place in it, since when (ns), how
    many records, and whether to tell of it.
    """

    encoding: str
    schema: str
    dataset: str
    symbols: tuple[tuple[int, str], ...]
    error: str = ""
    gaps: tuple[tuple[int, int, int, bool], ...] = ()


#: A message without headers.
JSON = Form("json", "trades", "", ())


def form_of(headers: Sequence[tuple[str, bytes | None]]) -> Form:
    """Return what the headers say.

    >>> form_of([("encoding", b"dbn"), ("schema", b"trades"), ("symbols", b'{"7":"SPY"}')]).symbols
    ((7, 'SPY'),)
    """
    said = {name: (value or b"").decode("utf-8", "replace") for name, value in headers}
    encoding = said.get("encoding", "json").lower()
    schema = said.get("schema", "trades" if encoding == "json" else "").lower()
    dataset = said.get("dataset", "")[:_MOST_SHOWN]
    error = ""
    symbols: tuple[tuple[int, str], ...] = ()
    if encoding not in ("json", "dbn"):
        error = f"the header `encoding` must be json or dbn, was {encoding[:_MOST_SHOWN]!r}"
    elif schema not in _TRADE_SCHEMAS and schema not in _BAR_SCHEMAS:
        allowed = ", ".join([*_TRADE_SCHEMAS, *_BAR_SCHEMAS])
        error = f"the header `schema` must be one of {allowed}, was {schema[:_MOST_SHOWN]!r}"
    elif said.get("version", "3") not in map(str, _VERSIONS):
        error = f"the header `version` must be 1, 2 or 3, was {said['version'][:_MOST_SHOWN]!r}"
    elif encoding == "dbn":
        found = _symbols_of(said.get("symbols", "{}"))
        symbols, error = ((), found) if isinstance(found, str) else (found, "")
    if encoding == "json" and schema in _TRADE_SCHEMAS:
        # Their trades are written alike, with more fields beside.
        schema = "trades"
    gaps = _gaps_of(said["gaps"]) if "gaps" in said else ()
    return Form(encoding, schema, dataset, symbols, error, gaps)


def _symbols_of(text: str) -> tuple[tuple[int, str], ...] | str:
    try:
        found = orjson.loads(text)
        named = tuple((int(number), str(symbol)) for number, symbol in found.items() if symbol)
    except (orjson.JSONDecodeError, AttributeError, ValueError):
        return f"the header `symbols` must be a JSON object of ids and symbols, was {text[:_MOST_SHOWN]!r}"
    return named


def _gaps_of(text: str) -> tuple[tuple[int, int, int, bool], ...]:
    """Return what a producer knows to be missing; what cannot be read says nothing."""
    try:
        return tuple(
            (min(int(place), _MOST), min(int(since), LATEST), min(int(lost), _MOST), bool(told))
            for place, since, lost, told in orjson.loads(text)
            if int(place) >= 0 and int(since) >= 0 and int(lost) >= 0
        )
    except (orjson.JSONDecodeError, TypeError, ValueError, OverflowError):
        return ()
