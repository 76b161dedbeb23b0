"""The stream of a session, in any pieces, is what a file of the same records holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import databento_dbn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.byte_stream import ByteStream
from connectors.dbn_records import DbnRecords
from connectors.live_decoder import DecodedItem, LiveDecoder, Mapping, Notice, Run
from tapewatch.records import Array
from tapewatch.settings import LiveSchema
from tests.connectors.live_gateway import Gateway
from tests.examples import tried


def decoded(
    schema: LiveSchema, data: bytes, cuts: Sequence[int], *, decoder: LiveDecoder | None = None
) -> list[DecodedItem]:
    decoder = decoder or LiveDecoder(schema)
    places = sorted({min(cut, len(data)) for cut in cuts})
    pieces = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    return [item for piece in pieces for item in decoder.feed(piece)]


def joined(items: Sequence[DecodedItem]) -> tuple[Array, Array, int]:
    """Return all records, their times, and how many were neither trades nor bars."""
    parts = [item.records() for item in items if isinstance(item, Run)]
    return (
        np.concatenate([records for records, _, _ in parts]),
        np.concatenate([times for _, times, _ in parts]),
        sum(others for _, _, others in parts),
    )


def bytes_of(path: Path) -> bytes:
    with ByteStream(path) as stream:
        data = b""
        while more := stream.read(1 << 20):
            data += more
        return data


def spec_files(data: Path) -> list[tuple[Path, LiveSchema]]:
    found = []
    for part in ("spec", "databento", "nautilus"):
        for path in sorted((data / "dbn" / part).rglob("*.dbn*")):
            for schema in get_args(LiveSchema):
                named = path.name.split(".")
                if ".frag" not in path.name and schema in (*named, *(n.split("_")[-1] for n in named)):
                    found.append((path, schema))
    return found


def test_every_schema_and_version_is_what_a_file_gives(data: Path) -> None:
    schemas = set()
    versions = set()
    for path, schema in spec_files(data):
        reader = DbnRecords(path, 1 << 20)
        blocks = list(reader.blocks())
        reader.close()
        if not blocks or reader.header.schema != schema:
            continue
        content = bytes_of(path)
        records, times, others = joined(decoded(schema, content, [3, 9, 200, 777, 2_000]))
        assert np.array_equal(records, np.concatenate([block.records for block in blocks])), path
        assert np.array_equal(times, np.concatenate([block.times for block in blocks])), path
        assert others == sum(block.passed_over.get("not_a_trade", 0) for block in blocks), path
        schemas.add(schema)
        versions.add(content[3])
    assert schemas >= {
        "trades",
        "tbbo",
        "mbp-1",
        "mbp-10",
        "mbo",
        "ohlcv-1s",
        "ohlcv-1m",
        "ohlcv-1h",
        "ohlcv-1d",
    }
    assert versions == {1, 2, 3}


def stream(trades: Any, version: int) -> tuple[bytes, Array]:
    """Return a session as the local gateway would send it, and its records."""
    records = trades(5, count=40, instruments=3)
    gateway = Gateway(records, {}, version=version)
    parts = [gateway.metadata(0), gateway.mapping(1, "SYM1"), gateway.mapping(2, "ÄÖ 1")]
    for first in range(0, 40, 7):
        parts += [records[first : first + 7].tobytes(), gateway.text("Heartbeat", 0)]
    parts += [
        gateway.text("too slow", 2),
        gateway.text("skipped", 7, error=True),
        gateway.mapping(3, "SYM3"),
    ]
    return b"".join(parts), records


@settings(max_examples=tried(60), deadline=None)
@given(cuts=st.lists(st.integers(0, 4_000), max_size=12), version=st.sampled_from([1, 3]))
def test_no_cut_of_the_stream_changes_it(cuts: list[int], version: int, trades: Any) -> None:
    content, records = stream(trades, version)
    items = decoded("trades", content, cuts)
    found, times, _ = joined(items)
    assert np.array_equal(found, records)
    assert np.array_equal(times, records["ts_recv"])
    mappings = [(item.instrument_id, item.symbol) for item in items if isinstance(item, Mapping)]
    assert mappings == [(1, "SYM1"), (2, "ÄÖ 1"), (3, "SYM3")]
    none = 255
    codes = (2, 7) if version == 3 else (none, none)
    notices = [item for item in items if isinstance(item, Notice)]
    assert notices == [Notice("too slow", codes[0], error=False), Notice("skipped", codes[1], error=True)]


def test_mappings_are_what_the_reference_says() -> None:
    for version in (1, 3):
        gateway = Gateway(np.zeros(0, "V48"), {}, version=version)
        gateway.records = np.zeros(1, [("ts_event", "<u8")])
        raw = gateway.metadata(0) + gateway.mapping(77, "ESM4 C5000")
        reference = databento_dbn.DBNDecoder()
        reference.write(raw)
        (record,) = [r for r in reference.decode() if isinstance(r, databento_dbn.SymbolMappingMsg)]
        (found,) = decoded("trades", raw, [])
        assert found == Mapping(record.instrument_id, record.stype_out_symbol, 0)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"GIF89a..", "no DBN"),
        (b"DBN\x09....", "no DBN"),
        (b"DBN\x03\xff\xff\xff\xff", "metadata"),
        (b"DBN\x03" + (100).to_bytes(4, "little") + b"\xff" * 100, "metadata"),
    ],
)
def test_what_is_no_dbn_is_refused(content: bytes, words: str) -> None:
    decoder = LiveDecoder("trades")
    assert decoded("trades", content, [1, 2, 3], decoder=decoder) == []
    assert words in str(decoder.damage)


@pytest.mark.parametrize("junk", [b"\0" * 16, b"\x03\x00" + b"\0" * 40, b"\x0d\x00" + b"\0" * 60])
@pytest.mark.parametrize("cut", [100, 10**6])
def test_what_comes_before_a_record_that_cannot_be_is_read(junk: bytes, cut: int, trades: Any) -> None:
    content, records = stream(trades, 3)
    decoder = LiveDecoder("trades")
    items = decoded("trades", content + junk + content, [cut], decoder=decoder)
    assert np.array_equal(joined(items)[0], records)
    assert "record" in str(decoder.damage)


@settings(max_examples=tried(200), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_damage_of_any_kind_is_an_error_or_other_records(seed: int, trades: Any) -> None:
    content, _ = stream(trades, 3)
    rng = np.random.default_rng(seed)
    broken = bytearray(content)
    for at in rng.integers(0, len(content), 3).tolist():
        broken[at] = int(rng.integers(0, 256))
    for item in decoded("trades", bytes(broken), rng.integers(0, len(content), 3).tolist()):
        if isinstance(item, Run):
            item.records()


def test_other_schemas_of_the_session_are_passed_over(trades: Any) -> None:
    content, _ = stream(trades, 3)
    assert not [item for item in decoded("mbo", content, []) if isinstance(item, Run)]
