"""Messages of JSON as records: one each, read many at a time, what cannot be read put aside."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from connectors.json_lines import JsonLines, loaded
from connectors.kafka_parts import Dataset, Names, Part, Rejected
from connectors.text_records import Parsed, header_of, kind_of
from tapewatch.records import OHLCV_WIDTHS, Int64s

#: Lines read at once, and after one that cannot be read.
_LINES, _FEWER_LINES = 8_192, 64


class JsonMessages:
    """Reads messages of JSON.

    Parameters
    ----------
    names
        Takes the symbols that are met.
    """

    def __init__(self, names: Names) -> None:
        self._names = names

    def read(
        self,
        dataset: str,
        rtype: int,
        places: Sequence[int],
        values: Sequence[bytes | None],
        rejected: list[Rejected],
    ) -> Iterator[tuple[Dataset, Part]]:
        """Yield the records of the messages at some places among others, in one part or more.

        Parameters
        ----------
        dataset
            What the headers say.
        rtype
            That of the bars that the headers speak of; 0 for trades, among which bars are found too.
        places
            Which of the messages to read.
        values
            All messages.
        rejected
            Takes those that cannot be read.
        """
        if rtype:
            yield from self._lines(dataset, rtype, places, values, rejected)
            return
        bars: dict[int, list[int]] = {}
        yield from self._lines(dataset, 0, places, values, rejected, bars)
        for width, others in bars.items():
            yield from self._lines(dataset, width, others, values, rejected)

    def _lines(
        self,
        dataset: str,
        rtype: int,
        todo: Sequence[int],
        values: Sequence[bytes | None],
        rejected: list[Rejected],
        bars: dict[int, list[int]] | None = None,
    ) -> Iterator[tuple[Dataset, Part]]:
        """Read lines as trades, or as bars (``rtype``); ``bars`` takes those found among trades."""
        header = header_of("bars" if rtype else "trades", rtype)
        reader = JsonLines(header)
        key = Dataset(dataset, header.kind, header.width_ns)
        at, step, looked = 0, _LINES, False
        while at < len(todo):
            chunk = todo[at : at + step]
            parsed = reader.parse(_text(chunk, values))
            good = len(chunk) if parsed.fault is None else parsed.fault.row
            if good:
                yield key, self._part(parsed, _array(chunk[:good]), values, rejected)
            at += good
            step = min(2 * step, _LINES)
            if parsed.fault is None:
                continue
            if not looked:
                # Where one is bad others are: sort out at once all that can be without reading numbers.
                looked = True
                todo, at = _sound(todo[at:], values, rejected, rtype, bars), 0
                continue
            rejected.append(Rejected(chunk[good], parsed.fault.found))
            at += 1
            step = _FEWER_LINES

    def _part(
        self, parsed: Parsed, chunk: Int64s, values: Sequence[bytes | None], rejected: list[Rejected]
    ) -> Part:
        places = chunk if parsed.rows is None else chunk[parsed.rows]
        records, times = parsed.records, parsed.times
        if parsed.codes is None:
            codes = self._names.codes_of_ids(records["instrument_id"])
        else:
            named = np.array([self._names.code(name) for name in parsed.names], np.intp)
            codes = named[parsed.codes] if len(named) else np.zeros(0, np.intp)
        nobody = codes == self._names.find("0")
        if nobody.any():
            # Neither a symbol nor an id, unless it says that its id is 0.
            for row in np.flatnonzero(nobody).tolist():
                record = loaded(_one_line(values[int(places[row])]))
                nobody[row] = isinstance(record, dict) and not record.keys() & {"instrument_id", "symbol"}
            rejected += [
                Rejected(place, "it has neither `symbol` nor `instrument_id`")
                for place in places[nobody].tolist()
            ]
            kept = ~nobody
            records, times, codes, places = records[kept], times[kept], codes[kept], places[kept]
        return Part(records, times, codes, places, parsed.passed_over)


def _text(places: Sequence[int], values: Sequence[Any]) -> bytes:
    """Return messages as lines, each with its newline."""
    if isinstance(places, range):
        chosen = values[places.start : places.stop]
    else:
        chosen = [values[place] for place in places]
    try:
        data = b"\n".join([*chosen, b""])
    except TypeError:  # One has no value.
        data = b""
    if data.count(b"\n") == len(places):
        return data
    return b"\n".join([*map(_one_line, chosen), b""])


def _array(places: Sequence[int]) -> Int64s:
    if isinstance(places, range):
        return np.arange(places.start, places.stop)
    return np.array(places, np.int64)


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
    places: Sequence[int],
    values: Sequence[bytes | None],
    rejected: list[Rejected],
    rtype: int,
    bars: dict[int, list[int]] | None,
) -> list[int]:
    """Return the messages that are JSON objects with a record's fields, bars among trades put aside."""
    sound = []
    for place in places:
        record = loaded(_one_line(values[place]))
        if isinstance(record, str):
            rejected.append(Rejected(place, record))
            continue
        # A missing size is an undefined one, as in files.
        kind = kind_of(set(record) | ({"size"} if "price" in record else set()))
        width = record.get("rtype")
        if kind == "bars" and bars is not None and isinstance(width, int) and width in OHLCV_WIDTHS:
            bars.setdefault(width, []).append(place)
        elif kind == ("bars" if rtype else "trades"):
            sound.append(place)
        else:
            rejected.append(
                Rejected(place, f"it {kind}" if kind not in ("trades", "bars") else "it is no bar")
            )
    return sound
