"""Trades and bars as Kafka messages, as `tapewatch replay` publishes them: JSON or runs of DBN records.

Every message has the instrument's symbol as its key, so that a topic keeps each instrument's records in their
order, and a header ``replay`` that names the run it comes from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import orjson

from connectors.text_records import BAR_SCHEMAS
from tapewatch.records import OHLCV, OHLCV_WIDTHS, TRADE, UNDEF_PRICE, UNDEF_SIZE, UNDEF_TIME, Array, Kind

Encoding: TypeAlias = Literal["json", "dbn"]
#: Key, value, headers, and how many records the value holds.
Message: TypeAlias = tuple[bytes, bytes, list[tuple[str, bytes]], int]

#: What is missing before a record: since when (ns), how many records, whether to tell of its instrument.
Mark: TypeAlias = tuple[int, int, bool]
Marks: TypeAlias = Mapping[int, Sequence[Mark]]

#: Records of a DBN message, so that it stays well below the megabyte that brokers take by default.
MOST_RECORDS = 8_192
_NO_MARKS: Marks = {}
_DBN_VERSION = b"3"
_RTYPES = {width: rtype for rtype, width in OHLCV_WIDTHS.items()}
_TRADE_LINE = (
    b'{"ts_recv":%b,"ts_event":%b,"rtype":0,"publisher_id":%d,"instrument_id":%d,"action":"T","side":"%b",'
    b'"depth":%d,"price":%b,"size":%b,"flags":%d,"ts_in_delta":%d,"sequence":%d,"symbol":%b}'
)
_BAR_LINE = (
    b'{"ts_event":%b,"rtype":%d,"publisher_id":%d,"instrument_id":%d,"open":%b,"high":%b,"low":%b,"close":%b,'
    b'"volume":%d,"symbol":%b}'
)


class Encoder:
    """Writes the records of one tape as messages.

    Parameters
    ----------
    encoding
        ``"json"``: one message a record, in the order of the tape; ``"dbn"``: for each instrument a run of
        its records.
    kind, dataset, width_ns
        What the tape is.
    replay
        Name of the run.

    Examples
    --------
    >>> trades = np.zeros(1, TRADE)
    >>> trades["ts_recv"] = trades["ts_event"] = 1_381_132_800_464_165_001
    >>> trades["price"], trades["size"] = 168_340_000_000, 100
    >>> encoder = Encoder("json", "trades", "", 0, "r")
    >>> key, value, headers, count = next(encoder.messages(trades, np.array([0]), ["SPY"]))
    >>> key, orjson.loads(value)["price"], headers
    (b'SPY', '168.340000000', [('replay', b'r')])
    """

    def __init__(self, encoding: Encoding, kind: Kind, dataset: str, width_ns: int, replay: str) -> None:
        self._kind, self._encoding = kind, encoding
        self._rtype = _RTYPES[width_ns] if kind == "bars" else 0
        schema = BAR_SCHEMAS[self._rtype] if kind == "bars" else "trades"
        self._headers: list[tuple[str, bytes]] = [("replay", replay.encode())]
        if encoding == "dbn":
            self._headers += [("encoding", b"dbn"), ("schema", schema.encode()), ("version", _DBN_VERSION)]
        elif kind == "bars":
            self._headers.append(("schema", schema.encode()))
        if dataset:
            self._headers.append(("dataset", dataset.encode()))

    def messages(
        self, records: Array, codes: Array, keys: list[str], marks: Marks = _NO_MARKS
    ) -> Iterator[Message]:
        """Yield the messages of some consecutive records of the tape.

        Parameters
        ----------
        records
            ``TRADE`` or ``OHLCV``, shape ``(n,)``.
        codes
            ``keys[codes[i]]`` is the symbol of record ``i``.
        keys
            Symbols.
        marks
            By place of a record: what its instrument is known to miss before it, for the header ``gaps``.
        """
        return (self._lines if self._encoding == "json" else self._runs)(records, codes, keys, marks)

    def _lines(self, records: Array, codes: Array, keys: list[str], marks: Marks) -> Iterator[Message]:
        symbols = [key.encode() for key in keys]
        quoted = [orjson.dumps(key) for key in keys]
        codes_ = codes.tolist()
        names = [quoted[code] for code in codes_]
        columns = _bar_columns(records, self._rtype) if self._kind == "bars" else _trade_columns(records)
        line, headers = _BAR_LINE if self._kind == "bars" else _TRADE_LINE, self._headers
        for row, (code, values) in enumerate(zip(codes_, zip(*columns, names, strict=True), strict=True)):
            told = headers if row not in marks else [*headers, _gaps([(0, mark) for mark in marks[row]])]
            yield symbols[code], line % values, told, 1

    def _runs(self, records: Array, codes: Array, keys: list[str], marks: Marks) -> Iterator[Message]:
        dtype = OHLCV if self._kind == "bars" else TRADE
        order = np.argsort(codes, kind="stable")
        found, starts = np.unique(codes[order], return_index=True)
        ends = np.append(starts[1:], len(codes))
        # An instrument whose first record is earlier comes earlier: what begins a run has all before it sent.
        for at in np.argsort(order[starts]).tolist() if len(found) else ():
            rows = order[starts[at] : ends[at]]
            run = np.ascontiguousarray(records[rows]).astype(dtype)
            run["length"], run["rtype"] = dtype.itemsize // 4, self._rtype
            key = keys[int(found[at])]
            for first in range(0, len(run), MOST_RECORDS):
                part = run[first : first + MOST_RECORDS]
                ids = np.unique(part["instrument_id"]).tolist()
                symbols = orjson.dumps({str(number): key for number in ids})
                headers = [*self._headers, ("symbols", symbols)]
                marked = np.flatnonzero(np.isin(rows[first : first + MOST_RECORDS], list(marks))).tolist()
                if marked:
                    headers.append(_gaps([(i, mark) for i in marked for mark in marks[int(rows[first + i])]]))
                yield key.encode(), part.tobytes(), headers, len(part)


def _gaps(found: list[tuple[int, Mark]]) -> tuple[str, bytes]:
    return "gaps", orjson.dumps([[place, *mark] for place, mark in found])


def _trade_columns(records: Array) -> list[list[bytes] | list[int]]:
    return [
        _whole(records["ts_recv"], UNDEF_TIME),
        _whole(records["ts_event"], UNDEF_TIME),
        records["publisher_id"].tolist(),
        records["instrument_id"].tolist(),
        [side or b"N" for side in records["side"].tolist()],
        records["depth"].tolist(),
        decimals(records["price"]),
        _whole(records["size"], UNDEF_SIZE),
        records["flags"].tolist(),
        records["ts_in_delta"].tolist(),
        records["sequence"].tolist(),
    ]


def _bar_columns(records: Array, rtype: int) -> list[list[bytes] | list[int]]:
    return [
        _whole(records["ts_event"], UNDEF_TIME),
        [rtype] * len(records),
        records["publisher_id"].tolist(),
        records["instrument_id"].tolist(),
        *(decimals(records[name]) for name in ("open", "high", "low", "close")),
        records["volume"].tolist(),
    ]


def _whole(values: Array, undefined: int) -> list[bytes]:
    return [b"null" if value == undefined else b"%d" % value for value in values.tolist()]


def decimals(prices: Array) -> list[bytes]:
    """Return prices in units of 1e-9 (int64) as JSON strings of exact decimals, null where undefined.

    >>> decimals(np.array([-1_500_000_000, UNDEF_PRICE]))
    [b'"-1.500000000"', b'null']
    """
    return [
        b"null"
        if price == UNDEF_PRICE
        else b'"%b%d.%09d"' % (b"-" * (price < 0), *divmod(abs(price), 1_000_000_000))
        for price in prices.tolist()
    ]
