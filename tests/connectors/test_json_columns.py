"""Lines of one shape are read at once: they must give what a parser gives, whatever is in them."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.json_lines import JsonLines
from connectors.json_records import JsonRecords
from connectors.text_records import header_of
from tapewatch.errors import UserError
from tapewatch.records import UNDEF_SIZE
from tests.examples import tried

NS = 1381132800464165000
ISO = "2013-10-07T08:00:00.464165000Z"
FLAT = {"ts_recv": NS, "ts_event": NS, "symbol": "SPY", "price": 167.41, "size": 100, "sequence": 1}
databento: Any = import_module("tests.connectors.databento_encodings")

_SLOW = settings(max_examples=tried(60), deadline=None)


def _written(folder: Path, data: bytes) -> Path:
    (folder / "a.json").write_bytes(data)
    return folder / "a.json"


def _file(folder: Path, *lines: bytes) -> Path:
    return _written(folder, b"".join(line + b"\n" for line in lines))


_LINE = (
    b'{"ts_recv":"%b","hd":{"ts_event":"1381132800464000000","rtype":0,"publisher_id":95,"instrument_id":7},'
    b'"action":"T","side":"A","price":"167410000000","size":100,"levels":[{"bid_px":"5","n":1}],"symbol":"SPY"}'
)


@_SLOW
@given(
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=3),
    block=st.sampled_from([100, 1 << 20]),
)
def test_edited_bytes_raise_nothing_else(tmp_path: Path, edits: list[tuple[float, int]], block: int) -> None:
    text = b"".join(_LINE % time + b"\n" for time in (b"1381132800464165000", ISO.encode()) for _ in range(4))
    whole = databento.read_all(JsonRecords(_file(tmp_path, *text.splitlines())))
    assert len(whole.records) == 8
    edited = bytearray(text)
    for place, byte in edits:
        edited[int(place * len(edited))] = byte
    before = text.count(b"\n", 0, min(int(place * len(text)) for place, _ in edits))
    try:
        found = databento.read_all(JsonRecords(_written(tmp_path, bytes(edited)), block))
    except UserError:
        assert before == 0
        return
    np.testing.assert_array_equal(found.records[:before], whole.records[:before])
    # Lines of one shape are read at once; what they give is what a parser would give.
    alone = []
    for number, line in enumerate(bytes(edited).split(b"\n")[: len(found.records)]):
        record = orjson.loads(line)
        record = {**record, **record["hd"]} if "hd" in record else record
        if record.get("action", "T") == "T" and number < len(found.records):
            alone.append(record)
    if found.passed_over == 0:
        assert [int(record.get("size") or 0) for record in alone] == [
            size if size != UNDEF_SIZE else 0 for size in found.records["size"].tolist()
        ]


@_SLOW
@given(
    st.lists(
        st.sampled_from(["flat", "nested", "null", "spaced", "levels", "other"]), min_size=1, max_size=12
    )
)
def test_shapes_may_change_from_line_to_line(tmp_path: Path, shapes: list[str]) -> None:
    nested = {
        "hd": {"ts_event": str(NS), "instrument_id": 7},
        "price": "1000000000",
        "size": 5,
        "action": "T",
    }
    written: dict[str, bytes] = {
        "flat": orjson.dumps({**FLAT, "price": 1.0, "size": 5}),
        "nested": orjson.dumps(nested),
        "null": orjson.dumps({**nested, "side": None}),
        "spaced": orjson.dumps({**nested, "price": "1.0"}).replace(b",", b" , "),
        "levels": orjson.dumps({**nested, "levels": [{"price": 7, "size": 8}, {"price": 9, "size": 1}]}),
        "other": orjson.dumps({**nested, "action": "A"}),
    }
    found = databento.read_all(JsonRecords(_file(tmp_path, *[written[shape] for shape in shapes])))
    count = len(shapes) - shapes.count("other")
    assert found.damage is None
    assert found.records["price"].tolist() == [10**9] * count
    assert found.records["size"].tolist() == [5] * count
    assert found.passed_over == shapes.count("other")


@pytest.mark.parametrize(
    "line",
    [
        b'{"price":1.5,"size":1,"size":2,"ts_event":7}',
        b'{"size":1,"price":1.5,"ts_event":7,"hd":{"size":2}}',
        b'{"hd":{"ts_event":6,"size":3},"price":1.5,"hd":{"ts_event":7,"size":2}}',
        b'{"levels":[{"price":9,"size":9}],"action":"T","price":1.5,"size":2,"ts_event":7}',
        b'{"a":{"hd":{"size":9}},"price":1.5,"size":2,"ts_event":7}',
        b'{"a":[1,2,[3,{"size":4}]],"price":1.5,"size":2,"ts_event":7}',
        b'{"p\\u0072ice":1.5,"size":2,"ts_event":7}',
    ],
)
def test_keys_are_where_a_parser_finds_them(tmp_path: Path, line: bytes) -> None:
    for name in (b"", b'"":1,'):
        found = databento.read_all(JsonRecords(_file(tmp_path, *[line[:1] + name + line[1:]] * 2)))
        assert found.damage is None
        assert found.records["size"].tolist() == [2, 2]
        assert found.records["price"].tolist() == [1_500_000_000] * 2
        assert found.times.tolist() == [7, 7]


#: Values that a column may have, by name; a column's values are of one of these kinds, or null.
_VALUES: dict[str, list[list[Any]]] = {
    "ts_recv": [[NS, NS + 1, 0], [str(NS), str(NS + 7)], [ISO, ISO.replace("465", "466")], [ISO, str(NS)]],
    "ts_event": [[NS, NS + 1], [str(NS)], [ISO], [ISO, str(NS)]],
    "price": [[1.5, 167, 2.25, -3], ["1.5", "167"], [167_000_000_000, 5], ["167410000000", "-1"]],
    "size": [[1, 100, 2**32 - 1], ["1", "7"]],
    "sequence": [[0, 1, 2**32 - 1]],
    "ts_in_delta": [[0, -5, 7]],
    "publisher_id": [[1, 95]],
    "instrument_id": [[7, 8]],
    "action": [["T"], ["T", "A"]],
    "side": [["A", "B", "N", ""]],
    "symbol": [["SPY", "ES  240621C", ": ,", "A, B", "{}"]],
    "note": [[1, 2.5], ["x", " y: "]],
}


@st.composite
def columns(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Draw records with the same fields, some of them null in some records."""
    count = draw(st.integers(1, 12))
    names = [*draw(st.lists(st.sampled_from(sorted(_VALUES)), unique=True)), "price", "size", "ts_event"]
    table: dict[str, list[Any]] = {}
    for name in dict.fromkeys(names):
        kind = draw(st.sampled_from(_VALUES[name]))
        nulls = draw(st.sampled_from([0, 0, 1, 5, 10]))
        drawn = draw(
            st.lists(st.tuples(st.integers(0, 9), st.sampled_from(kind)), min_size=count, max_size=count)
        )
        table[name] = [None if chance < nulls else value for chance, value in drawn]
    records = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    if draw(st.booleans()):
        head = [name for name in table if name in ("ts_event", "publisher_id", "instrument_id")]
        records = [
            {"hd": {name: record.pop(name) for name in head}, **record} if head else record
            for record in records
        ]
    return records


_SPACED: list[Any] = [
    lambda text: text,
    lambda text: text.replace(b",", b", ").replace(b":", b": "),
    lambda text: text.replace(b'":', b'"  :\t').replace(b"}", b" } "),
    lambda text: text + b"\r",
]


@settings(max_examples=tried(150), deadline=None)
@given(records=columns(), spaced=st.sampled_from(_SPACED))
def test_nulls_and_spaces_mean_what_a_parser_finds(records: list[dict[str, Any]], spaced: Any) -> None:
    """Line by line and at once, also where spaces got into strings or are no JSON."""
    lines = JsonLines(header_of("trades", 0))
    written = b"".join(spaced(orjson.dumps(record)) + b"\n" for record in records)
    found, wanted = lines.parse(written), lines._one_by_one(written)
    assert (found.fault, found.passed_over) == (wanted.fault, wanted.passed_over)
    np.testing.assert_array_equal(found.records, wanted.records)
    np.testing.assert_array_equal(found.times, wanted.times)
    named = [
        None if parsed.codes is None else [parsed.names[code] for code in parsed.codes]
        for parsed in (found, wanted)
    ]
    assert named[0] == named[1]


@pytest.mark.parametrize("spaced", _SPACED)
@pytest.mark.parametrize("column", ["price", "sequence", "side", "ts_recv"])
def test_nulls_and_spaces_are_read_by_columns(
    column: str, spaced: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [
        {**FLAT, "side": "B", "symbol": "ES  C", **({column: None} if number % 3 == 1 else {})}
        for number in range(9)
    ]
    lines = JsonLines(header_of("trades", 0))
    data = b"".join(spaced(orjson.dumps(record)) + b"\n" for record in records)
    wanted = lines._one_by_one(data)
    monkeypatch.setattr(JsonLines, "_one_by_one", None)
    np.testing.assert_array_equal(lines.parse(data).records, wanted.records)


@pytest.mark.parametrize(
    "line",
    [
        b'{"price":1.5,"size":1 2,"ts_event":7}',
        b'{"price":1 .5,"size":12,"ts_event":7}',
        b'{"price":- 1,"size":12,"ts_event":7}',
        b'{"price":1.5,"size":12,"ts_event":n ull}',
        b'{"price":1.5,"size":12,"ts_event" "x":7}',
        b'{"price":1.5,"size":12,"ts_event":7} x',
        b'{"price":1.5,"size":12,"ts_ev\tent":7}',
        b'{"price":1.5,"size":12,"ts_event":nul}',
        b'{"price":1.5,"size":12,"ts_event":nullx}',
    ],
)
def test_spaces_within_words_are_damage(line: bytes) -> None:
    lines = JsonLines(header_of("trades", 0))
    assert lines.parse((line + b"\n") * 3).fault == lines._one_by_one((line + b"\n") * 3).fault is not None


_UNLAWFUL = [
    b"01", b"-", b"--1", b"+1", b"1.", b".5", b"-.5", b"-05", b"1 2", b"1-2", b"0x1", b"1}", b"nul", b"tru",
    b"2013-10-07T08:00:00Z", b"NaN", b"Infinity", b"1e", b"", b"00", b"-00.5",
]  # fmt: skip
_LAWFUL = [
    b"[1]", b"{}", b"0", b"-0", b"7", b"-7", b"0.5", b"-0.25", b"1e3", b"null", b"true", b"4294967296", b'"5"',
    b"9" * 21,
]  # fmt: skip


@pytest.mark.parametrize("action", [b"T", b"A"])
@pytest.mark.parametrize(
    "name", ["ts_recv", "ts_event", "price", "size", "flags", "sequence", "ts_in_delta", "other"]
)
def test_what_is_no_number_is_found_in_every_field(name: str, action: bytes) -> None:
    """Also in lines that are passed over, which are no trades."""
    usual = {
        "ts_recv": b"%d" % NS, "ts_event": b"%d" % NS, "price": b"167.5", "size": b"100", "flags": b"8",
        "sequence": b"10", "ts_in_delta": b"-12", "other": b"3",
    }  # fmt: skip

    def line(action: bytes, fields: dict[str, bytes]) -> bytes:
        return b'{%b,"action":"%b"}\n' % (
            b",".join(b'"%b":%b' % (key.encode(), value) for key, value in fields.items()), action,
        )  # fmt: skip

    reader = JsonLines(header_of("trades", 0))
    for value in _UNLAWFUL + _LAWFUL:
        data = line(b"T", usual) * 3 + line(action, {**usual, name: value}) + line(b"T", usual)
        found, wanted = reader.parse(data), reader._one_by_one(data)
        assert found.fault == wanted.fault, value
        np.testing.assert_array_equal(found.records, wanted.records)
        if value in _UNLAWFUL:
            assert found.fault is not None, value
            assert found.fault.row == 3
