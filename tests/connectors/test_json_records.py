"""JSON against what Databento's own reader finds in the DBN it was written from."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.json_records import JsonRecords
from tapewatch.errors import DamagedError, UserError
from tapewatch.records import MINUTE, UNDEF_PRICE, UNDEF_SIZE, UNDEF_TIME
from tests.examples import tried

NS = 1381132800464165000
ISO = "2013-10-07T08:00:00.464165000Z"
FLAT = {"ts_recv": NS, "ts_event": NS, "symbol": "SPY", "price": 167.41, "size": 100, "sequence": 1}
databento: Any = import_module("tests.connectors.databento_encodings")

_SLOW = settings(max_examples=tried(60), deadline=None)


def _file(folder: Path, *lines: object, name: str = "a.jsonl") -> Path:
    path = folder / name
    written = [line if isinstance(line, bytes) else orjson.dumps(line) for line in lines]
    data = b"\n".join(written) + b"\n" * bool(written)
    path.write_bytes(zstandard.compress(data) if name.endswith(".zst") else data)
    return path


def _raw(folder: Path, data: bytes, name: str = "a.json") -> Path:
    (folder / name).write_bytes(data)
    return folder / name


def test_a_real_sample_is_the_same_as_dbn(data: Path) -> None:
    reader = JsonRecords(data / "csv" / "es-trades-sample.trades.pretty.json.zst")
    assert (reader.header.kind, reader.header.schema, reader.header.dataset) == ("trades", "trades", "")
    found = databento.read_all(reader)
    records = databento.expected_of(data / "dbn" / "es_trades_sample.dbn.zst")
    np.testing.assert_array_equal(found.records, records)
    np.testing.assert_array_equal(found.times, records["ts_recv"])
    assert set(found.names) == {"ESM4"}
    assert (found.damage, reader.consumed) == (None, reader.size)


def test_every_way_databento_writes_it(data: Path, tmp_path: Path) -> None:
    for path in databento.small_files(data):
        records = databento.expected_of(path)
        for out, with_symbols in databento.every_encoding(path, tmp_path, "json"):
            found = databento.read_all(JsonRecords(out))
            np.testing.assert_array_equal(found.records, records, err_msg=out.name)
            assert found.damage is None
            rows = [orjson.loads(line) for line in out.read_bytes().splitlines()]
            kept = [row for row in rows if row.get("action", "T") == "T"]
            assert found.passed_over == len(rows) - len(kept)
            names = (
                [row["symbol"] or str(row["hd"]["instrument_id"]) for row in kept] if with_symbols else None
            )
            assert found.names == (names or None)


@_SLOW
@given(
    seed=st.integers(0, 2**32),
    schema=st.sampled_from(["trades", "ohlcv-1m"]),
    px=st.booleans(),
    ts=st.booleans(),
    block=st.sampled_from([1, 300, 1 << 20]),
    with_symbols=st.booleans(),
)
def test_extreme_and_undefined_values(
    tmp_path: Path,
    seed: int,
    schema: str,
    px: bool,
    ts: bool,
    block: int,
    with_symbols: bool,
) -> None:
    records = databento.any_records(np.random.default_rng(seed), 40, schema)
    symbols = {int(i): f"S{i % 7}" for i in records["instrument_id"]} if with_symbols else None
    text = databento.encode_dbn(
        databento.pack_dbn(records, schema), "json", pretty_px=px, pretty_ts=ts, symbols=symbols
    )
    found = databento.read_all(JsonRecords(_raw(tmp_path, text), block))
    if schema == "trades":
        records = records[records["action"] == b"T"].copy()
        records["side"][records["side"] == b""] = b"N"
    np.testing.assert_array_equal(found.records, records)
    assert found.damage is None


@pytest.mark.parametrize(
    ("change", "price"),
    [
        ({"price": 167.41}, 167_410_000_000),
        ({"price": "167.41"}, 167_410_000_000),
        ({"price": "-0.000000001"}, -1),
        ({"price": 167}, 167_000_000_000),
        ({"price": "167"}, 167_000_000_000),
        ({"price": 12345678.35}, 12_345_678_350_000_000),
        ({"price": 1e-9}, 1),
        ({"price": 0.1 + 0.2}, 300_000_000),
        ({"price": None}, UNDEF_PRICE),
        ({"price": 167_410_000_000, "raw": True}, 167_410_000_000),
        ({"price": "167410000000", "raw": True}, 167_410_000_000),
        ({"price": "167", "raw": False, "ts_event": str(NS)}, 167_000_000_000),
        ({"price": "167410000000", "ts_event": str(NS)}, 167_410_000_000),
        ({"price": 167_410_000_000, "ts_event": str(NS)}, 167_410_000_000),
        ({"price": "167.41", "ts_event": str(NS)}, 167_410_000_000),
        ({"price": "167", "ts_event": ISO}, 167_000_000_000),
        ({"price": "167410000000", "hd": {"ts_event": ISO}}, 167_410_000_000),
        ({"price": "167410000000", "hd": {"ts_event": NS}}, 167_410_000_000),
        ({"price": 167_410_000_000, "hd": {"ts_event": NS}}, 167_410_000_000),
        ({"price": 167, "hd": {"ts_event": ISO}}, 167_000_000_000),
        ({"price": 167.5, "hd": {"ts_event": NS}}, 167_500_000_000),
    ],
)
def test_what_a_price_means(tmp_path: Path, change: dict[str, Any], price: int) -> None:
    record = {**FLAT, **change}
    if "hd" in change:
        del record["ts_event"]
    spaced = orjson.dumps(record).replace(b":", b": ", 1)
    for lines in ([record] * 3, [spaced] * 3):
        found = databento.read_all(JsonRecords(_file(tmp_path, *lines)))
        assert found.damage is None
        assert found.records["price"].tolist() == [price] * 3
        assert found.times.tolist() == [NS] * 3


def test_what_is_missing(tmp_path: Path) -> None:
    lines = [
        {"ts_event": ISO, "price": "1.5", "size": 3},
        {"ts_event": NS, "price": None, "size": None, "symbol": None, "instrument_id": 9},
        {"ts_recv": str(NS + 1), "price": 2.0, "symbol": "A\u00c4", "side": "B", "action": "T"},
        {"ts_recv": None, "ts_event": NS, "price": 2.0, "size": 1, "action": None, "symbol": 3},
        {"ts_recv": None, "ts_event": NS, "price": 2.0, "size": 1, "side": None},
    ]
    found = databento.read_all(JsonRecords(_file(tmp_path, *lines)))
    assert found.damage is None
    assert found.records["size"].tolist() == [3, UNDEF_SIZE, UNDEF_SIZE, 1]
    assert found.records["side"].tolist() == [b"N", b"N", b"B", b"N"]
    assert found.records["ts_event"].tolist() == [NS, NS, NS + 1, NS]
    assert found.records["ts_recv"].tolist() == [0, 0, NS + 1, UNDEF_TIME]
    assert found.times.tolist() == [NS, NS, NS + 1, NS]
    assert found.names == ["0", "9", "A\u00c4", "0"]
    assert found.passed_over == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"price": True}, "`price`"),
        ({"price": "1e5"}, "`price`"),
        ({"price": ""}, "`price`"),
        ({"price": 1e300}, "`price`"),
        ({"price": [1]}, "`price`"),
        ({"price": 9_300_000_000}, "`price`"),
        ({"price": 1.5, "raw": True}, "`price`"),
        ({"price": 1, "raw": 1}, "`raw` must be true or false"),
        ({"size": -1}, "`size` must be a whole number up to 4294967295, was '-1'"),
        ({"size": 1.0}, "`size`"),
        ({"size": True}, "`size`"),
        ({"size": "1_0"}, "`size`"),
        ({"size": "\u0661"}, "`size`"),
        ({"size": 2**32}, "`size`"),
        ({"sequence": 2**64 - 1}, "`sequence`"),
        ({"ts_recv": 1.5e18}, "`ts_recv`"),
        ({"ts_recv": -1}, "`ts_recv`"),
        ({"ts_recv": "2013-10-07"}, "`ts_recv`"),
        ({"ts_recv": {}}, "`ts_recv`"),
        ({"symbol": 7}, "`symbol`"),
        ({"symbol": "a\nb"}, "`symbol`"),
        ({"side": 7}, "`side`"),
        ({"side": "\u00c4"}, "`side`"),
        ({"action": 7}, "`action`"),
        ({"action": "TT"}, "`action`"),
        ({"hd": 3}, "`hd` must be a JSON object"),
    ],
)
def test_damage_is_named_with_its_line(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = _file(tmp_path, FLAT, FLAT, {**FLAT, **change}, FLAT)
    for block in (1, 1 << 22):
        found = databento.read_all(JsonRecords(path, block))
        assert len(found.records) == 2
        assert "a.jsonl, line 3: " in found.damage
        assert said in found.damage
        again = databento.read_all(JsonRecords(path, block), found.ends[-1])
        assert (again.damage, len(again.records)) == (found.damage, 0)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"[]",
        b"7",
        b"null",
        b"{",
        b'{"a":NaN}',
        b"\xff",
        b"{}{}",
        b"{},{}",
        b"[" * 5000,
        b" " * (1 << 21),
    ],
)
def test_lines_that_are_no_objects(tmp_path: Path, line: bytes) -> None:
    found = databento.read_all(JsonRecords(_file(tmp_path, FLAT, line, FLAT)))
    assert len(found.records) == 1
    assert "line 2: " in found.damage
    assert len(found.damage) < 400


def test_missing_fields_are_named(tmp_path: Path) -> None:
    for name in ("price", "ts_event"):
        line = {key: value for key, value in FLAT.items() if key not in (name, "ts_recv")}
        found = databento.read_all(JsonRecords(_file(tmp_path, FLAT, line)))
        assert f"line 2: `{name}` must be" in found.damage


def test_it_resumes_at_every_block(data: Path, tmp_path: Path) -> None:
    path = data / "csv" / "es-trades-sample.trades.pretty.json.zst"
    whole = databento.read_all(JsonRecords(path, 50_000))
    assert len(whole.ends) > 10
    plain = _raw(tmp_path, zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read())
    for file in (path, plain):
        done = 0
        for block in JsonRecords(file, 50_000).blocks():
            done += len(block.records)
            rest = databento.read_all(JsonRecords(file, 80_000), block.end)
            np.testing.assert_array_equal(rest.records, whole.records[done:])
    assert whole.ends[-1] == plain.stat().st_size


def test_a_truncated_file_keeps_its_whole_records(data: Path, tmp_path: Path) -> None:
    path = data / "csv" / "es-trades-sample.trades.pretty.json.zst"
    whole = databento.read_all(JsonRecords(path))
    packed = path.read_bytes()
    text = zstandard.ZstdDecompressor().stream_reader(packed).read()
    begin = text.index(b"\n") + 1
    for cut in [*range(begin, begin + 600, 7), *range(begin + 1000, len(text), 39973)]:
        found = databento.read_all(JsonRecords(_raw(tmp_path, text[:cut])))
        count = text.count(b"\n", 0, cut) + (text[cut : cut + 1] == b"\n")
        np.testing.assert_array_equal(found.records, whole.records[:count])
        assert (found.damage is None) == (b"\n" in text[cut - 1 : cut + 1])
    for cut in range(len(packed) - 1, 60, -701):
        try:
            found = databento.read_all(JsonRecords(_raw(tmp_path, packed[:cut], "b.json.zst")))
        except DamagedError:
            assert cut < 20_000
            continue
        np.testing.assert_array_equal(found.records, whole.records[: len(found.records)])
        assert "zst" in found.damage


def test_bars(tmp_path: Path) -> None:
    head = {"ts_event": "60000000000", "rtype": 33, "publisher_id": 1, "instrument_id": 7}
    bar = {"hd": head, "open": "1", "high": "2", "low": "1", "close": "2", "volume": "18446744073709551615"}
    reader = JsonRecords(_file(tmp_path, bar))
    assert (reader.header.kind, reader.header.schema, reader.header.width_ns) == ("bars", "ohlcv-1m", MINUTE)
    found = databento.read_all(reader)
    assert found.records.tolist() == [(14, 33, 1, 7, 60 * 10**9, 1, 2, 1, 2, 2**64 - 1)]
    hourly = {**bar, "hd": {**head, "rtype": 34}}
    mixed = databento.read_all(JsonRecords(_file(tmp_path, bar, hourly)))
    assert "line 2: `rtype` must be that of `ohlcv-1m` throughout the file" in mixed.damage
    assert len(mixed.records) == 1
    with pytest.raises(UserError, match="must be 32, 33, 34 or 35"):
        JsonRecords(_file(tmp_path, {**bar, "hd": {**head, "rtype": 36}}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "is empty"),
        (b'{"ts_event":1,"stat_type":2,"price":3,"quantity":4}\n', "`statistics`"),
        (b'{"ts_event":1,"price":"3","size":4,"levels":[]}\n', "`bbo`"),
        (b'{"transaction_id":"a","amount":3}\n', "`transactions`"),
        (b'{"price":"3","size":4}\n', "`ts_recv` or `ts_event`"),
        (b"{}\n", "holds no trades or bars"),
        (b"ts_event,price,size\n", "must be a JSON object"),
        (b'{"price":"3","si', "must be a JSON object"),
        (b"\x00" * 3_000_000, "1,048,576 bytes"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, text: bytes, said: str) -> None:
    for name in ("a.json", "a.json.zst"):
        packed = zstandard.compress(text) if name.endswith(".zst") else text
        with pytest.raises(UserError, match=said) as caught:
            JsonRecords(_raw(tmp_path, packed, name))
        assert len(str(caught.value)) < 400
