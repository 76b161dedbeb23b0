"""CSV against what Databento's own reader finds in the DBN it was written from."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.csv_records import CsvRecords
from tapewatch.errors import DamagedError, UserError
from tapewatch.records import MINUTE, UNDEF_PRICE, UNDEF_TIME, Array
from tests.examples import tried

HEADER = (
    "ts_recv,ts_event,rtype,publisher_id,instrument_id,action,side,"
    "depth,price,size,flags,ts_in_delta,sequence"
)
LINE = "1381132800464165000,1381132800464000000,0,95,15144,T,N,0,167410000000,100,128,165000,1"
PRETTY = "2013-10-07T08:00:00.464165000Z,2013-10-07T08:00:00.464Z,0,95,15144,T,N,0,167.41,100,128,165000,1"
databento: Any = import_module("tests.connectors.databento_encodings")

_SLOW = settings(max_examples=tried(60), deadline=None)


def _file(folder: Path, text: str | bytes, name: str = "a.csv") -> Path:
    path = folder / name
    data = text.encode() if isinstance(text, str) else text
    path.write_bytes(zstandard.compress(data) if name.endswith(".zst") else data)
    return path


@pytest.mark.parametrize("encoding", ["raw", "pretty"])
def test_a_real_day_is_the_same_as_dbn(data: Path, encoding: str) -> None:
    reader = CsvRecords(data / "csv" / f"equs-mini-20131007.trades.{encoding}.csv.zst")
    assert (reader.header.kind, reader.header.schema, reader.header.dataset) == ("trades", "trades", "")
    assert reader.header.symbols.empty
    found = databento.read_all(reader)
    records = databento.expected_of(data / "dbn" / "equs-mini-20131007.trades.dbn.zst")
    np.testing.assert_array_equal(found.records, records)
    np.testing.assert_array_equal(found.times, records["ts_recv"])
    symbols = dict(zip(records["instrument_id"].tolist(), found.names, strict=True))
    assert set(symbols.values()) == {"SPY", "AIG", "BAC", "IBM"}
    assert found.names == [symbols[i] for i in records["instrument_id"].tolist()]
    assert reader.consumed == reader.size
    assert found.damage is None


def test_every_way_databento_writes_it(data: Path, tmp_path: Path) -> None:
    for path in databento.small_files(data):
        records = databento.expected_of(path)
        for out, with_symbols in databento.every_encoding(path, tmp_path, "csv"):
            found = databento.read_all(CsvRecords(out))
            np.testing.assert_array_equal(found.records, records, err_msg=out.name)
            assert found.damage is None
            lines = [line.split(",") for line in out.read_text().splitlines()]
            rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
            kept = [row for row in rows if row.get("action", "T") == "T"]
            assert found.passed_over == len(rows) - len(kept)
            names = [row["symbol"] or row["instrument_id"] for row in kept] if with_symbols else None
            assert found.names == (names or None)


@_SLOW
@given(
    seed=st.integers(0, 2**32),
    schema=st.sampled_from(["trades", "ohlcv-1m"]),
    px=st.booleans(),
    ts=st.booleans(),
    block=st.sampled_from([1, 150, 1 << 20]),
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
    symbols = (
        {int(i): f"S{i % 7} LONG{'X' * (i % 20)}" for i in records["instrument_id"]} if with_symbols else None
    )
    text = databento.encode_dbn(
        databento.pack_dbn(records, schema), "csv", pretty_px=px, pretty_ts=ts, symbols=symbols
    )
    found = databento.read_all(CsvRecords(_file(tmp_path, text), block))
    wanted = _wanted(records)
    np.testing.assert_array_equal(found.records, wanted)
    assert found.damage is None
    for record, name in zip(wanted, found.names or (), strict=with_symbols):
        number = int(record["instrument_id"])
        assert name in (str(number), (symbols or {})[number])


def _wanted(records: Array) -> Array:
    if "action" not in (records.dtype.names or ()):
        return records
    kept: Array = records[records["action"] == b"T"].copy()
    kept["side"][kept["side"] == b""] = b"N"
    return kept


def test_it_resumes_at_every_block(data: Path, tmp_path: Path) -> None:
    path = data / "csv" / "es-trades-sample.trades.pretty.csv.zst"
    whole = databento.read_all(CsvRecords(path, 20_000))
    assert len(whole.ends) > 10
    plain = _file(tmp_path, zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read())
    for file in (path, plain):
        done = 0
        for block in CsvRecords(file, 20_000).blocks():
            done += len(block.records)
            rest = databento.read_all(CsvRecords(file, 30_000), block.end)
            np.testing.assert_array_equal(rest.records, whole.records[done:])
            assert rest.names == (whole.names[done:] or None)
    assert whole.ends[-1] == plain.stat().st_size


def test_a_truncated_file_keeps_its_whole_records(data: Path, tmp_path: Path) -> None:
    path = data / "csv" / "es-trades-sample.trades.pretty.csv.zst"
    whole = databento.read_all(CsvRecords(path))
    packed = path.read_bytes()
    text = zstandard.ZstdDecompressor().stream_reader(packed).read()
    begin = text.index(b"\n") + 1
    for cut in [*range(begin, begin + 400), *range(begin + 1000, len(text), 9973)]:
        found = databento.read_all(CsvRecords(_file(tmp_path, text[:cut])))
        count = text.count(b"\n", begin, cut)
        np.testing.assert_array_equal(found.records[:count], whole.records[:count])
        # Cut within its last field, a line without its newline cannot be told from a whole one.
        fields = text[text.rfind(b"\n", 0, cut) + 1 : cut].split(b",")
        assert len(found.records) == count + (len(fields) == 14)
        assert (found.damage is None) == (text[cut - 1 : cut] == b"\n" or len(fields) == 14)
    for cut in range(len(packed) - 1, 60, -701):
        try:
            found = databento.read_all(
                CsvRecords(_file(tmp_path, packed[:cut]).rename(tmp_path / "b.csv.zst"))
            )
        except DamagedError:
            assert cut < 20_000
            continue
        np.testing.assert_array_equal(found.records, whole.records[: len(found.records)])
        assert "zst" in found.damage


@_SLOW
@given(
    edits=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=3),
    raw=st.booleans(),
    block=st.sampled_from([100, 1 << 20]),
)
def test_edited_bytes_raise_nothing_else(
    tmp_path: Path, edits: list[tuple[float, int]], raw: bool, block: int
) -> None:
    line = LINE if raw else PRETTY
    lines = [f"{HEADER},symbol", *(f"{line},{name}" for name in ["SPY", "QQQ", "", "A LONG SYMBOL"] * 4)]
    text = ("\n".join(lines) + "\n").encode()
    whole = databento.read_all(CsvRecords(_file(tmp_path, text)))
    assert len(whole.records) == 16
    edited = bytearray(text)
    for place, byte in edits:
        edited[int(place * len(edited))] = byte
    first = min(int(place * len(text)) for place, _ in edits)
    before = max(text.count(b"\n", 0, first) - 1, 0)
    try:
        found = databento.read_all(CsvRecords(_file(tmp_path, bytes(edited)), block))
    except UserError:
        assert before == 0
        return
    np.testing.assert_array_equal(found.records[:before], whole.records[:before])
    assert (found.names or [])[:before] == whole.names[:before]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("price", "167.4.1", "`price` must be a number"),
        ("price", "99999999999", "`price` must be a number"),
        ("size", "-1", "`size` must be a whole number up to 4294967295, was '-1'"),
        ("size", "", "`size`"),
        ("size", "4294967296", "`size`"),
        ("publisher_id", "65536", "`publisher_id`"),
        ("ts_recv", "2013-10-07", "`ts_recv` must be nanoseconds or a UTC time"),
        ("side", "AB", "`side` must be one letter"),
        ("action", "TT", "`action` must be one letter"),
        ("sequence", "1,2", "it must have 14 fields, has 15"),
        ("sequence", "1\n", "it must have 14 fields, has 13"),
        ("symbol", "\x01", "`symbol` must be printable"),
        ("symbol", '"SPY"', "it must have no quotes"),
        ("symbol", "X" * 256, "`symbol`"),
        ("symbol", "X" * (1 << 20), "1,048,576 bytes"),
    ],
)
def test_damage_is_named_with_its_line(tmp_path: Path, field: str, value: str, said: str) -> None:
    names = [*HEADER.split(","), "symbol"]
    values = [*PRETTY.split(","), "SPY"]
    values[names.index(field)] = value
    lines = [",".join(names), *[f"{PRETTY},SPY"] * 3, ",".join(values), f"{PRETTY},SPY"]
    for block in (1, 1 << 22):
        found = databento.read_all(CsvRecords(_file(tmp_path, "\n".join(lines)), block))
        assert len(found.records) == 3
        assert "a.csv, line 5: " in found.damage
        assert said in found.damage
        assert "\n" not in found.damage
        again = databento.read_all(CsvRecords(tmp_path / "a.csv"), found.ends[-1])
        assert again.damage == found.damage
        assert not len(again.records)


def test_columns_in_any_order_and_missing(tmp_path: Path) -> None:
    found = databento.read_all(
        CsvRecords(_file(tmp_path, "size,price,ts_event\r\n5,1.5,1381132800464000000\r\n6,,7"))
    )
    record = found.records[0]
    assert record["price"] == 1_500_000_000
    assert (record["action"], record["side"], record["length"]) == (b"T", b"N", 12)
    assert (record["ts_recv"], record["instrument_id"]) == (0, 0)
    assert found.times.tolist() == [1381132800464000000, 7]
    assert found.records["price"][1] == UNDEF_PRICE
    found = databento.read_all(
        CsvRecords(_file(tmp_path, "size,price,ts_recv\n5,2,1381132800464000000\n5,3,\n"))
    )
    assert found.records["ts_event"].tolist() == [1381132800464000000, UNDEF_TIME]
    assert found.records["price"].tolist() == [2, 3]


def test_a_symbol_that_is_empty_is_its_id(tmp_path: Path) -> None:
    lines = [f"{LINE},", f"{LINE},B", f"{LINE},15144", f"{LINE},A", f"{LINE},B"]
    block = next(CsvRecords(_file(tmp_path, "\n".join([f"{HEADER},symbol", *lines, ""]))).blocks())
    assert block.names == ("15144", "B", "A")
    assert block.codes is not None
    assert block.codes.tolist() == [0, 1, 0, 2, 1]


def test_bars(tmp_path: Path) -> None:
    columns = "ts_event,rtype,publisher_id,instrument_id,open,high,low,close,volume\n"
    line = "60000000000,33,1,7,1.0,2.5,0.5,,18446744073709551615\n"
    reader = CsvRecords(_file(tmp_path, columns + line))
    assert (reader.header.kind, reader.header.schema, reader.header.width_ns) == ("bars", "ohlcv-1m", MINUTE)
    bar = databento.read_all(reader).records[0]
    assert (bar["open"], bar["close"], bar["volume"]) == (10**9, UNDEF_PRICE, 2**64 - 1)
    mixed = databento.read_all(CsvRecords(_file(tmp_path, columns + line + line.replace("33", "34"))))
    assert "line 3: `rtype` must be that of `ohlcv-1m` throughout the file, was '34'" in mixed.damage
    assert len(mixed.records) == 1
    assert CsvRecords(_file(tmp_path, columns)).header.width_ns == 0
    for wrong in (line.replace("33", "17"), line.replace("33", "x")):
        with pytest.raises(UserError, match="it must be 32, 33, 34 or 35"):
            CsvRecords(_file(tmp_path, columns + wrong))
    with pytest.raises(UserError, match="no column `rtype`"):
        CsvRecords(_file(tmp_path, columns.replace("rtype", "width") + line))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("ts_event,stat_type,price,quantity\n", "`statistics` and holds no trades or bars"),
        ("ts_event,raw_symbol,price,size\n", "`definition`"),
        ("ts_recv,ts_event,price,size,bid_px_00,ask_px_00\n", "`bbo`"),
        ("a,b\n1,2\n", "holds no trades or bars"),
        ("price,size\n1,2\n", "`ts_recv` or `ts_event`"),
        ("ts_event,price,size,price\n", "two columns"),
        ("\x00\xff" * 20, "holds no trades or bars"),
        ("x" * (1 << 21), "holds no trades or bars"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, text: str, said: str) -> None:
    for name in ("a.csv", "a.csv.zst"):
        with pytest.raises(UserError, match=said) as caught:
            CsvRecords(_file(tmp_path, text, name))
        assert len(str(caught.value)) < 400


def test_a_header_alone_is_no_records(tmp_path: Path) -> None:
    for text in (HEADER, HEADER + "\n", HEADER + "\r\n"):
        found = databento.read_all(CsvRecords(_file(tmp_path, text)))
        assert (len(found.records), found.damage, found.ends) == (0, None, [])


def test_a_file_may_grow_between_two_runs(tmp_path: Path) -> None:
    text = f"{HEADER}\n{LINE}\n{LINE}"
    first = databento.read_all(CsvRecords(_file(tmp_path, text)))
    assert len(first.records) == 2
    for more, count in (("", 0), ("\n", 0), (f"\n{LINE}\n", 1), (f"\r\n{LINE}", 1)):
        again = databento.read_all(CsvRecords(_file(tmp_path, text + more)), first.ends[-1])
        assert (len(again.records), again.damage) == (count, None)
    assert (
        "grown in the middle"
        in databento.read_all(CsvRecords(_file(tmp_path, text + "7\n")), first.ends[-1]).damage
    )
    assert "fewer than" in databento.read_all(CsvRecords(_file(tmp_path, text[:-5])), first.ends[-1]).damage
