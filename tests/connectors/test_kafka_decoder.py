"""Messages are read to the same arrays however they are cut into batches, and nothing in them stops that."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.kafka_decoder import Decoder
from connectors.kafka_messages import Encoder
from connectors.kafka_parts import Dataset
from tapewatch.records import OHLCV, TRADE, UNDEF_PRICE, Array
from tests.examples import tried

Message = tuple[bytes | None, list[tuple[str, bytes | None]] | None]
_PRICES = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, 1, -1, UNDEF_PRICE, 10**18, -(10**9)])
_TIMES = st.integers(0, 2**64 - 1) | st.integers(10**18, 2 * 10**18)


@st.composite
def trades(draw: st.DrawFn) -> Array:
    """Return some trades, whatever their fields hold."""
    count = draw(st.integers(1, 30))
    records = np.zeros(count, TRADE)
    records["length"], records["action"] = 12, b"T"
    records["instrument_id"] = draw(st.lists(st.integers(1, 4), min_size=count, max_size=count))
    for name, values in (("price", _PRICES), ("ts_recv", _TIMES), ("ts_event", _TIMES)):
        records[name] = np.array(draw(st.lists(values, min_size=count, max_size=count)), records[name].dtype)
    records["size"] = draw(st.lists(st.integers(0, 2**32 - 1), min_size=count, max_size=count))
    records["side"] = draw(st.lists(st.sampled_from([b"A", b"B", b"N"]), min_size=count, max_size=count))
    records["sequence"] = np.arange(count)
    return records


def messages(records: Array, encoding: Any, dataset: str = "XSIM") -> list[Message]:
    ids, codes = np.unique(records["instrument_id"], return_inverse=True)
    encoder = Encoder(encoding, "trades", dataset, 0, "r")
    keys = [f"SYM{number}" for number in ids.tolist()]
    return [(value, list(headers)) for _, value, headers, _ in encoder.messages(records, codes, keys)]


def decoded(batches: Sequence[Sequence[Message]]) -> tuple[dict[Dataset, list[tuple[Any, ...]]], int]:
    """Return each dataset's records with their symbols, and how many messages cannot be read."""
    decoder, refused = Decoder(), 0
    found: dict[Dataset, list[tuple[Any, ...]]] = {}
    for batch in batches:
        parts, rejected = decoder.decode(
            [value for value, _ in batch], decoder.forms(headers for _, headers in batch)
        )
        refused += len(rejected)
        assert len({each.place for each in rejected}) == len(rejected)
        for dataset, part in parts.items():
            assert (np.diff(part.places) >= 0).all()
            assert not {each.place for each in rejected} & set(part.places.tolist())
            names = [decoder.names[code] for code in part.codes.tolist()]
            rows = found.setdefault(dataset, [])
            rows += zip(part.records.tolist(), part.times.tolist(), names, strict=True)
    return found, refused


def cut(items: list[Message], places: list[int]) -> list[list[Message]]:
    edges = [0, *sorted(min(place, len(items)) for place in places), len(items)]
    return [items[a:b] for a, b in itertools.pairwise(edges) if a < b]


@settings(deadline=None, max_examples=tried(60))
@given(trades(), st.sampled_from(["json", "dbn"]))
def test_what_is_encoded_is_read_as_it_was(records: Array, encoding: str) -> None:
    found, refused = decoded([messages(records, encoding)])
    assert refused == 0
    (rows,) = found.values()
    if encoding == "dbn":
        # One instrument after the other.
        first = {number: at for at, number in reversed(list(enumerate(records["instrument_id"].tolist())))}
        records = records[
            np.argsort([first[number] for number in records["instrument_id"].tolist()], kind="stable")
        ]
    assert [row[0] for row in rows] == records.tolist()
    assert [row[2] for row in rows] == [f"SYM{number}" for number in records["instrument_id"].tolist()]


_JUNK: st.SearchStrategy[Message] = st.one_of(
    st.tuples(st.none() | st.binary(max_size=60), st.none()),
    st.tuples(
        st.binary(max_size=100),
        st.lists(
            st.tuples(
                st.sampled_from(["encoding", "schema", "version", "symbols", "dataset", "other"]),
                st.none() | st.sampled_from([b"dbn", b"json", b"trades", b"ohlcv-1m", b"mbo", b"3", b"{}", b"[]", b"\xff"]),
            ),
            max_size=5,
        ),
    ),
    st.dictionaries(
        st.sampled_from(["price", "size", "ts_event", "ts_recv", "symbol", "instrument_id", "hd", "raw", "rtype", "open"]),
        st.none() | st.booleans() | st.integers(-5, 2**63) | st.floats() | st.text(max_size=5) | st.lists(st.integers(0, 9)),
    ).map(lambda record: (orjson.dumps(record), None)),
)  # fmt: skip


@settings(deadline=None, max_examples=tried(150))
@given(trades(), st.lists(_JUNK, max_size=12), st.lists(st.integers(0, 60), max_size=4), st.randoms())
def test_cuts_change_nothing_and_junk_stops_nothing(
    records: Array, junk: list[Message], places: list[int], random: Any
) -> None:
    half = len(records) // 2
    good = messages(records[:half], "json") + messages(records[half:], "dbn")
    mixed = [(message, True) for message in good]
    for message in junk:
        mixed.insert(random.randrange(len(mixed) + 1), (message, False))
    together = [message for message, _ in mixed]
    whole, refused = decoded([together])
    assert decoded(cut(together, places)) == (whole, refused)
    # What is good is read as if there were nothing else.
    alone, _ = decoded([good])
    for dataset, rows in alone.items():
        assert whole[dataset] == rows


@settings(deadline=None, max_examples=tried(100))
@given(trades(), st.lists(st.tuples(st.integers(0), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_are_refused_or_read(records: Array, changes: list[tuple[int, int]]) -> None:
    damaged = []
    for value, headers in messages(records, "dbn"):
        data = bytearray(value or b"")
        for place, byte in changes:
            data[place % len(data)] = byte
        damaged.append((bytes(data), headers))
    found, refused = decoded([damaged])
    assert sum(map(len, found.values())) <= len(records)
    assert refused <= len(damaged)


def test_symbols_are_those_of_each_message() -> None:
    """One id has two symbols in messages of one batch, and one message may hold several ids."""
    run = np.zeros(3, TRADE)
    run["length"], run["action"], run["instrument_id"] = 12, b"T", [7, 8, 9]
    run["ts_recv"] = run["ts_event"] = 10**18
    head = [("encoding", b"dbn"), ("schema", b"trades")]
    decoder = Decoder()
    parts, rejected = decoder.decode(
        [run.tobytes(), run[:1].tobytes(), run[1:].tobytes()],
        decoder.forms(
            [[*head, ("symbols", b'{"7":"A","8":"B"}')], [*head, ("symbols", b'{"7":"C"}')], [*head]]
        ),
    )
    assert rejected == []
    (part,) = parts.values()
    assert [decoder.names[code] for code in part.codes.tolist()] == ["A", "B", "9", "C", "8", "9"]


@pytest.mark.parametrize("schema", ["tbbo", "mbp-1", "mbp-10", "mbo", "cmbp-1", "tcbbo"])
def test_other_schemas_give_their_trades(schema: str) -> None:
    import databento_dbn as dbn

    from connectors.dbn_records import _SIZES, _TRADE_SCHEMAS

    size, rtype = _SIZES[_TRADE_SCHEMAS[schema]], _TRADE_SCHEMAS[schema]
    records = np.zeros((4, size), np.uint8)
    records[:, 0], records[:, 1] = size // 4, rtype
    for row, action in enumerate(b"TATF"):
        view = np.frombuffer(records[row].tobytes(), np.uint8).copy()
        offset = 38 if schema == "mbo" else 28
        view[offset] = action
        view[4] = 1 + row
        records[row] = view
    headers = [("encoding", b"dbn"), ("schema", schema.encode()), ("symbols", b'{"1":"A","3":"C"}')]
    decoder = Decoder()
    parts, rejected = decoder.decode([records.tobytes()], decoder.forms([headers]))
    assert rejected == []
    ((dataset, part),) = parts.items()
    assert dataset == Dataset("", "trades", 0)
    assert part.records["instrument_id"].tolist() == [1, 3]
    assert [decoder.names[code] for code in part.codes.tolist()] == ["A", "C"]
    assert part.passed_over == {"not_a_trade": 2}
    assert dbn.Schema.from_str(schema) is not None


@pytest.mark.parametrize("encoding", ["json", "dbn"])
def test_bars_are_read_with_their_width(encoding: Any) -> None:
    bars = np.zeros(2, OHLCV)
    bars["instrument_id"], bars["ts_event"], bars["volume"] = [1, 2], 10**18, 7
    for name in ("open", "high", "low", "close"):
        bars[name] = 10**9
    encoder = Encoder(encoding, "bars", "X", 60 * 10**9, "r")
    found: list[Message] = [
        (v, list(h)) for _, v, h, _ in encoder.messages(bars, np.array([0, 1]), ["A", "B"])
    ]
    rows, refused = decoded([found])
    assert refused == 0
    assert list(rows) == [Dataset("X", "bars", 60 * 10**9)]
    assert [row[2] for row in rows[Dataset("X", "bars", 60 * 10**9)]] == ["A", "B"]
    # Without headers bars are known by their fields, also among trades.
    trade = (b'{"ts_event":1000000000000000000,"price":"1.5","size":3,"symbol":"C"}', None)
    plain = [(v, None) for v, _ in found] if encoding == "json" else []
    rows, refused = decoded([[trade, *plain]])
    assert refused == 0
    assert {dataset.kind for dataset in rows} == ({"trades", "bars"} if plain else {"trades"})
