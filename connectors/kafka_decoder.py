"""Messages of a topic as arrays: runs of DBN records and JSON, told apart by their headers.

They are read by the same functions as files. What cannot be read is handed back with the reason, and never
stops what is around it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from connectors.dbn_records import _BAR_SCHEMAS, _MBO, _SIZES, _TRADE_SCHEMAS, _times, _trades
from connectors.kafka_headers import JSON, Form, Headers, form_of
from connectors.kafka_json import JsonMessages
from connectors.kafka_parts import Dataset, Names, Part, Rejected, joined
from tapewatch.records import OHLCV, OHLCV_WIDTHS, TRADE, Array, Int64s

_MOST_FORMS = 4_096


class Decoder:
    """Reads the messages of one partition.

    Examples
    --------
    >>> decoder = Decoder()
    >>> message = b'{"ts_event": 1700000000000000000, "price": "2.5", "size": 3, "symbol": "SPY"}'
    >>> parts, rejected = decoder.decode([message, b"junk"], decoder.forms([None, None]))
    >>> {dataset.kind: part.records["price"].tolist() for dataset, part in parts.items()}, decoder.names
    ({'trades': [2500000000]}, ('SPY',))
    >>> rejected
    [Rejected(place=1, error="it must be a JSON object, was 'junk'")]
    """

    def __init__(self) -> None:
        self._names = Names()
        self._json = JsonMessages(self._names)
        self._forms: dict[Any, Form] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Symbols met so far; the codes of parts are their places."""
        return self._names.known

    def forms(self, headers: Iterable[Headers]) -> list[Form]:
        """Return what the headers of some messages say; most are those of the message before."""
        found: list[Form] = []
        for each, equal in groupby(headers):
            found += [self._form(each)] * sum(1 for _ in equal)
        return found

    def decode(
        self, values: Sequence[bytes | None], forms: Sequence[Form]
    ) -> tuple[dict[Dataset, Part], list[Rejected]]:
        """Return the records of some messages by dataset, and the messages that cannot be read.

        Parameters
        ----------
        values
            What the messages hold.
        forms
            What their headers say.
        """
        rejected: list[Rejected] = []
        groups: dict[tuple[str, str, str], list[range]] = {}
        begin = 0
        for form, equal in groupby(forms):
            run = range(begin, begin := begin + sum(1 for _ in equal))
            if form.error:
                rejected += [Rejected(place, form.error) for place in run]
            else:
                groups.setdefault(form[:3], []).append(run)
        parts: dict[Dataset, list[Part]] = {}
        for (encoding, schema, dataset), runs in groups.items():
            places = runs[0] if len(runs) == 1 else [place for run in runs for place in run]
            if encoding == "dbn":
                found = self._dbn(schema, dataset, places, values, forms, rejected)
            else:
                found = self._json.read(dataset, _BAR_SCHEMAS.get(schema, 0), places, values, rejected)
            for key, part in found:
                parts.setdefault(key, []).append(part)
        return {key: joined(some) for key, some in parts.items()}, rejected

    def _form(self, headers: Headers) -> Form:
        if not headers:
            return JSON
        key = tuple(headers)
        form = self._forms.get(key)
        if form is None:
            if len(self._forms) >= _MOST_FORMS:
                self._forms.clear()
            form = self._forms[key] = form_of(headers)
        return form

    def _dbn(
        self,
        schema: str,
        dataset: str,
        places: Sequence[int],
        values: Sequence[bytes | None],
        forms: Sequence[Form],
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

    def _codes_by_message(self, ids: Array, at: Int64s, chosen: list[int], forms: Sequence[Form]) -> Array:
        """Return the code of each record's symbol, as the message says that the record is in."""
        expected = np.full(max(chosen) + 1, -1, np.int64)
        codes = np.zeros(max(chosen) + 1, np.intp)
        for place in chosen:
            symbols = forms[place].symbols
            if len(symbols) == 1:
                expected[place], codes[place] = symbols[0][0], self._names.code(symbols[0][1])
        found = codes[at]
        other = expected[at] != ids
        if other.any():
            pairs, places = np.unique(np.stack([at[other], ids[other]]), axis=1, return_inverse=True)
            named = [
                self._names.code(dict(forms[place].symbols).get(number, str(number)))
                for place, number in pairs.T.tolist()
            ]
            found[other] = np.array(named, np.intp)[places]
        return found


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
