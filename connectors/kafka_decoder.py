"""Messages of a topic as arrays: runs of DBN records and JSON, told apart by their headers.

They are read by the same functions as files. What cannot be read is handed back with the reason, and never
stops what is around it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson

from connectors.dbn_records import (
    _BAR_SCHEMAS,
    _MBO,
    _SIZES,
    _TRADE_SCHEMAS,
    _VERSIONS,
    _times,
    _trades,
)
from connectors.json_lines import JsonLines, loaded
from connectors.text_records import Parsed, header_of, kind_of
from tapewatch.records import OHLCV, OHLCV_WIDTHS, TRADE, Array, Int64s, Kind

#: Lines of JSON read at once, and after one that cannot be read.
_LINES, _FEWER_LINES = 16_384, 64
_MOST_FORMS = 4_096
_MOST_SHOWN = 60

Headers = Sequence[tuple[str, bytes | None]] | None


class Dataset(NamedTuple):
    """What tells the tapes of one partition apart; ``width_ns`` is 0 for trades."""

    name: str
    kind: Kind
    width_ns: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that cannot be read, by its place among those given."""

    place: int
    error: str


@dataclass(slots=True)
class Part:
    """Records of one dataset in the order of their messages, not yet validated.

    Attributes
    ----------
    records, times, codes
        As `Block` has them; the codes are those of `Decoder.names`.
    places
        Place of each record's message among those given, int64, shape ``(n,)``.
    passed_over
        Records read and not delivered, counted by reason.
    """

    records: Array
    times: Array
    codes: Array
    places: Int64s
    passed_over: dict[str, int] = field(default_factory=dict)


class _Form(NamedTuple):
    """What the headers of a message say."""

    encoding: str
    schema: str
    dataset: str
    symbols: tuple[tuple[int, str], ...]
    error: str = ""


class Decoder:
    """Reads the messages of one partition.

    Attributes
    ----------
    names
        Symbols met so far.

    Examples
    --------
    >>> decoder = Decoder()
    >>> message = b'{"ts_event": 1700000000000000000, "price": "2.5", "size": 3, "symbol": "SPY"}'
    >>> parts, rejected = decoder.decode([message, b"junk"], [None, None])
    >>> {dataset.kind: part.records["price"].tolist() for dataset, part in parts.items()}, decoder.names
    ({'trades': [2500000000]}, ('SPY',))
    >>> rejected
    [Rejected(place=1, error="it must be a JSON object, was 'junk'")]
    """

    def __init__(self) -> None:
        self.names: tuple[str, ...] = ()
        self._codes: dict[str, int] = {}
        self._forms: dict[Any, _Form] = {}

    def decode(
        self, values: Sequence[bytes | None], headers: Sequence[Headers]
    ) -> tuple[dict[Dataset, Part], list[Rejected]]:
        """Return the records of some messages by dataset, and the messages that cannot be read."""
        rejected: list[Rejected] = []
        groups: dict[tuple[str, str, str], list[int]] = {}
        forms = [self._form(each) for each in headers]
        for place, form in enumerate(forms):
            if form.error:
                rejected.append(Rejected(place, form.error))
            else:
                groups.setdefault(form[:3], []).append(place)
        parts: dict[Dataset, list[Part]] = {}
        for (encoding, schema, dataset), places in groups.items():
            if encoding == "dbn":
                found = self._dbn(schema, dataset, places, values, forms, rejected)
            else:
                found = self._json(schema, dataset, places, values, rejected)
            for key, part in found:
                parts.setdefault(key, []).append(part)
        self.names = self.names if len(self.names) == len(self._codes) else tuple(self._codes)
        return {key: _joined(some) for key, some in parts.items()}, rejected

    def _form(self, headers: Headers) -> _Form:
        if not headers:
            return _JSON
        key = tuple(headers)
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            form = self._forms[key] = _form_of(headers)
        return form

    def _code(self, name: str) -> int:
        return self._codes.setdefault(name, len(self._codes))

    def _codes_of_ids(self, ids: Array) -> Array:
        found, places = np.unique(ids, return_inverse=True)
        return np.array([self._code(str(number)) for number in found.tolist()], np.intp)[places]

    # DBN

    def _dbn(
        self,
        schema: str,
        dataset: str,
        places: list[int],
        values: Sequence[bytes | None],
        forms: list[_Form],
        rejected: list[Rejected],
    ) -> Iterator[tuple[Dataset, Part]]:
        rtype = (_TRADE_SCHEMAS | _BAR_SCHEMAS)[schema]
        bars = schema in _BAR_SCHEMAS
        by_stride: dict[int, list[int]] = {}
        for place in places:
            value = values[place] or b""
            stride = 4 * value[0] if value else 0
            if (error := _misfit(value, stride, _SIZES[rtype], schema)) is not None:
                rejected.append(Rejected(place, error))
            else:
                by_stride.setdefault(stride, []).append(place)
        for stride, fitting in by_stride.items():
            chosen, data, counts = fitting, *_bytes_of(fitting, values, stride)
            heads = np.ndarray((len(data) // stride,), "<u2", data, 0, (stride,))
            wrong = heads != stride // 4 | rtype << 8
            if wrong.any():
                odd = set(np.repeat(chosen, counts)[wrong].tolist())
                rejected += [Rejected(p, f"it has records that are none of `{schema}`") for p in sorted(odd)]
                chosen = [place for place in chosen if place not in odd]
                data, counts = _bytes_of(chosen, values, stride)
            total = int(counts.sum())
            if not total:
                continue
            at = np.repeat(np.array(chosen, np.int64), counts)
            passed: dict[str, int] = {}
            if bars:
                records = np.ndarray((total,), OHLCV, data, 0, (stride,))
            else:
                records, others = _trades(data, 0, stride, total, rtype)
                if others:
                    dtype = _MBO if schema == "mbo" else TRADE
                    at = at[np.ndarray((total,), dtype, data, 0, (stride,))["action"] == b"T"]
                    passed["not_a_trade"] = others
            codes = self._codes_by_message(records["instrument_id"], at, chosen, forms)
            width = OHLCV_WIDTHS[rtype] if bars else 0
            yield (
                Dataset(dataset, "bars" if bars else "trades", width),
                Part(records, _times(records), codes, at, passed),
            )

    def _codes_by_message(self, ids: Array, at: Int64s, chosen: list[int], forms: list[_Form]) -> Array:
        """Return the code of each record's symbol, as the message says that the record is in."""
        expected = np.full(max(chosen) + 1, -1, np.int64)
        codes = np.zeros(max(chosen) + 1, np.intp)
        for place in chosen:
            symbols = forms[place].symbols
            if len(symbols) == 1:
                expected[place], codes[place] = symbols[0][0], self._code(symbols[0][1])
        found = codes[at]
        other = expected[at] != ids
        if other.any():
            pairs, places = np.unique(np.stack([at[other], ids[other]]), axis=1, return_inverse=True)
            named = [
                self._code(dict(forms[place].symbols).get(number, str(number)))
                for place, number in pairs.T.tolist()
            ]
            found[other] = np.array(named, np.intp)[places]
        return found

    # JSON

    def _json(
        self,
        schema: str,
        dataset: str,
        places: list[int],
        values: Sequence[bytes | None],
        rejected: list[Rejected],
    ) -> Iterator[tuple[Dataset, Part]]:
        lines = {place: _one_line(values[place]) for place in places}
        if schema in _BAR_SCHEMAS:
            yield from self._lines(dataset, _BAR_SCHEMAS[schema], lines, rejected)
            return
        bars: dict[int, dict[int, bytes]] = {}
        yield from self._lines(dataset, 0, lines, rejected, bars)
        for rtype, others in bars.items():
            yield from self._lines(dataset, rtype, others, rejected)

    def _lines(
        self,
        dataset: str,
        rtype: int,
        lines: dict[int, bytes],
        rejected: list[Rejected],
        bars: dict[int, dict[int, bytes]] | None = None,
    ) -> Iterator[tuple[Dataset, Part]]:
        """Read lines as trades, or as bars (``rtype``); ``bars`` takes those found among trades."""
        header = header_of("bars" if rtype else "trades", rtype)
        reader = JsonLines(header)
        key = Dataset(dataset, header.kind, header.width_ns)
        todo, at, step = list(lines), 0, _LINES
        looked = False
        while at < len(todo):
            chunk = todo[at : at + step]
            parsed = reader.parse(b"\n".join([lines[place] for place in chunk]) + b"\n")
            good = len(chunk) if parsed.fault is None else parsed.fault.row
            if good:
                yield key, self._part(parsed, np.array(chunk[:good], np.int64), lines, rejected)
            at += good
            step = min(2 * step, _LINES)
            if parsed.fault is None:
                continue
            if not looked:
                # Where one is bad others are: sort out at once all that can be without reading numbers.
                looked = True
                todo, at = _sound(todo[at:], lines, rejected, rtype, bars), 0
                continue
            rejected.append(Rejected(chunk[good], parsed.fault.found))
            at += 1
            step = _FEWER_LINES

    def _part(self, parsed: Parsed, chunk: Int64s, lines: dict[int, bytes], rejected: list[Rejected]) -> Part:
        places = chunk if parsed.rows is None else chunk[parsed.rows]
        records, times = parsed.records, parsed.times
        if parsed.codes is None:
            codes = self._codes_of_ids(records["instrument_id"])
        else:
            named = np.array([self._code(name) for name in parsed.names], np.intp)
            codes = named[parsed.codes] if len(named) else np.zeros(0, np.intp)
        nobody = codes == self._codes.get("0", -1)
        if nobody.any():
            # Neither a symbol nor an id, unless it says that its id is 0.
            for row in np.flatnonzero(nobody).tolist():
                record = loaded(lines[int(places[row])])
                nobody[row] = isinstance(record, dict) and not record.keys() & {"instrument_id", "symbol"}
            rejected += [
                Rejected(place, "it has neither `symbol` nor `instrument_id`")
                for place in places[nobody].tolist()
            ]
            kept = ~nobody
            records, times, codes, places = records[kept], times[kept], codes[kept], places[kept]
        return Part(records, times, codes, places, parsed.passed_over)


_JSON = _Form("json", "trades", "", ())


def _form_of(headers: Sequence[tuple[str, bytes | None]]) -> _Form:
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
    return _Form(encoding, schema, dataset, symbols, error)


def _symbols_of(text: str) -> tuple[tuple[int, str], ...] | str:
    try:
        found = orjson.loads(text)
        named = tuple((int(number), str(symbol)) for number, symbol in found.items() if symbol)
    except (orjson.JSONDecodeError, AttributeError, ValueError):
        return f"the header `symbols` must be a JSON object of ids and symbols, was {text[:_MOST_SHOWN]!r}"
    return named


def _misfit(value: bytes, stride: int, size: int, schema: str) -> str | None:
    """Return what is wrong with the length of a run of records."""
    if not value:
        return "it is empty"
    if stride not in (size, size + 8):
        return f"its first record has {stride} bytes, one of `{schema}` has {size}"
    if len(value) % stride:
        return f"it ends in the middle of a record ({len(value) % stride} of {stride} bytes)"
    return None


def _bytes_of(places: list[int], values: Sequence[bytes | None], stride: int) -> tuple[bytes, Int64s]:
    chosen = [values[place] or b"" for place in places]
    data = chosen[0] if len(chosen) == 1 else b"".join(chosen)
    return data, np.array([len(value) // stride for value in chosen], np.int64)


def _one_line(value: bytes | None) -> bytes:
    """Return a message's JSON without newlines; between its words they mean nothing."""
    if value is None:
        return b""
    if b"\n" not in value:
        return value
    try:
        return orjson.dumps(orjson.loads(value))
    except orjson.JSONDecodeError:
        # No JSON; it stays none.
        return value.replace(b"\n", b"\\n")


def _sound(
    places: list[int],
    lines: dict[int, bytes],
    rejected: list[Rejected],
    rtype: int,
    bars: dict[int, dict[int, bytes]] | None,
) -> list[int]:
    """Return the messages that are JSON objects with a record's fields, bars among trades put aside."""
    sound = []
    for place in places:
        record = loaded(lines[place])
        if isinstance(record, str):
            rejected.append(Rejected(place, record))
            continue
        # A missing size is an undefined one, as in files.
        kind = kind_of(set(record) | ({"size"} if "price" in record else set()))
        width = record.get("rtype")
        if kind == "bars" and bars is not None and isinstance(width, int) and width in OHLCV_WIDTHS:
            bars.setdefault(width, {})[place] = lines[place]
        elif kind == ("bars" if rtype else "trades"):
            sound.append(place)
        else:
            rejected.append(
                Rejected(place, f"it {kind}" if kind not in ("trades", "bars") else "it is no bar")
            )
    return sound


def _joined(parts: list[Part]) -> Part:
    """Return the records of several parts in the order of their messages."""
    if len(parts) == 1:
        return parts[0]
    places = np.concatenate([part.places for part in parts])
    order = np.argsort(places, kind="stable")
    passed: dict[str, int] = {}
    for part in parts:
        for name, number in part.passed_over.items():
            passed[name] = passed.get(name, 0) + number
    records, times, codes = (
        np.concatenate([getattr(part, name) for part in parts])[order]
        for name in ("records", "times", "codes")
    )
    return Part(records, times, codes, places[order], passed)
