"""DBN of every version and schema against the reference decoder, and damage of every kind against nothing at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.dbn_records import DbnRecords
from connectors.validity import valid
from operators.block_trade import BlockTrade
from operators.high_volume import HighVolume
from operators.judge import JudgeSettings
from tapewatch.errors import DamagedError, UserError
from tapewatch.records import OHLCV, Array, Tape
from tests.examples import tried

WITHOUT_TRADES = ("definition", "imbalance", "statistics", "status", "bbo", "cbbo")


def spec_files() -> Iterator[Path]:
    import os

    folder = os.environ.get("TAPEWATCH_TEST_DATA")
    if folder:
        for part in ("spec", "databento", "nautilus"):
            for path in sorted((Path(folder) / "dbn" / part).rglob("*.dbn*")):
                if ".frag" not in path.name and path.name.endswith((".dbn", ".dbn.zst")):
                    yield path


def everything(path: Path, block_records: int) -> tuple[Array, Array]:
    """Return all records and times of a file."""
    reader = DbnRecords(path, block_records)
    try:
        blocks = list(reader.blocks())
        if not blocks:
            return np.empty(0), np.empty(0)
        return np.concatenate([b.records for b in blocks]), np.concatenate([b.times for b in blocks])
    finally:
        reader.close()


def test_every_file_of_every_schema_is_what_the_reference_decoder_reads(data: Path) -> None:
    databento = pytest.importorskip("databento")
    read = refused = 0
    for path in spec_files():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            wanted = list(databento.DBNStore.from_file(path))
        names = [type(record).__name__ for record in wanted]
        schema = path.name.split(".")[1]
        try:
            records, times = everything(path, 7)
        except DamagedError as error:
            pytest.fail(f"{path.name}: {error}")
        except UserError as error:
            assert any(word in str(error) for word in WITHOUT_TRADES), error
            refused += 1
            continue
        read += 1
        assert everything(path, 131_072)[0].tobytes() == records.tobytes()
        if len(records) and records.dtype == OHLCV:
            for name in ("open", "high", "low", "close", "volume", "ts_event", "instrument_id"):
                assert records[name].tolist() == [getattr(record, name) for record in wanted], path
            continue
        trades = [
            r
            for r, kind in zip(wanted, names, strict=True)
            if getattr(r, "action", "") == "T" and kind != "x"
        ]
        if schema == "live":
            trades = [r for r in wanted if type(r).__name__ == "TradeMsg"]
        assert len(records) == len(trades), path
        if not trades:
            continue
        for name in ("price", "size", "instrument_id", "publisher_id", "ts_event"):
            assert records[name].tolist() == [getattr(record, name) for record in trades], (path, name)
        assert [bytes(side).decode() for side in records["side"]] == [
            str(record.side) for record in trades
        ], path
        assert times.tolist() == [record.ts_recv for record in trades], path
    assert read > 60
    assert refused > 30


@pytest.fixture(scope="module")
def good(trades: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Array]:
    """Return the bytes of a good file and its records."""
    records = trades(5, count=900, days=2)
    return write(tmp_path_factory.mktemp("good") / "day.dbn", records).read_bytes(), records


JUDGING = JudgeSettings(
    (HighVolume(width="10s", baseline_windows=6), BlockTrade()), 5.0, 0, ("1s", "1m"), keep_scores=True, flow="market",
    source="",
)  # fmt: skip


def judged(path: Path, line: Any) -> tuple[Any, int]:
    """Run what is whole of a file through the steps of the flow; return the results and how many records it had."""
    flow = line(JUDGING, 2)
    count = seq = clock = 0
    try:
        reader = DbnRecords(path, 200)
    except UserError:
        return flow.store, 0
    try:
        for block in reader.blocks():
            records, times = block.records, block.times
            count += len(records)
            mask, _ = valid(records, times)
            if mask is not None:
                records, times = records[mask], times[mask]
            clock = max(clock, int(times.max(initial=0)))
            header = reader.header
            assert (header.kind == "bars") == (records.dtype == OHLCV)
            flow.feed(
                Tape("T", seq, header.kind, header.dataset, records, times.astype(np.int64), header.symbols, clock,
                     width_ns=header.width_ns)
            )  # fmt: skip
            seq += 1
    except DamagedError:
        pass
    finally:
        reader.close()
    flow.end()
    return flow.store, count


def of_instrument(store: Any, key: str) -> tuple[Any, ...]:
    return (
        sorted(row for row in store.anomalies.values() if row[8] == key),
        sorted(row for place, row in store.bars.items() if place[0] == key and row[-1]),
        sorted((place, value) for place, value in store.scores.items() if place[1] == key),
    )


changes = st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8)


@settings(max_examples=tried(150), deadline=None)
@given(flips=changes, keep=st.one_of(st.just(1.0), st.floats(0, 1)))
def test_random_damage_raises_nothing_but_what_a_person_can_read(
    good: tuple[bytes, Array], line: Any, tmp_path: Path, flips: list[tuple[float, int]], keep: float
) -> None:
    raw = bytearray(good[0])
    for place, value in flips:
        raw[int(place * len(raw))] = value
    path = tmp_path / "bad.dbn"
    path.write_bytes(raw[: int(keep * len(raw))])
    judged(path, line)


strange = st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1])


@pytest.fixture(scope="module")
def plain(good: tuple[bytes, Array], line: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the results of the good file."""
    path = tmp_path_factory.mktemp("plain") / "good.dbn"
    path.write_bytes(good[0])
    return judged(path, line)[0]


@settings(max_examples=tried(100), deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.integers(0, 899), st.sampled_from(["price", "size", "ts_recv", "ts_event", "side"]), strange),
        min_size=1, max_size=6,
    ),
    victim=st.integers(1, 3),
)  # fmt: skip
def test_strange_values_of_one_instrument_leave_the_others_as_they_are(
    good: tuple[bytes, Array],
    plain: Any,
    line: Any,
    tmp_path: Path,
    edits: list[tuple[int, str, int]],
    victim: int,
) -> None:
    """However absurd a price, size or time is, it changes no result of another instrument."""
    raw, records = good
    changed = records.copy()
    own = np.flatnonzero(records["instrument_id"] == victim)
    for place, name, value in edits:
        kind = changed.dtype[name]
        changed[name][own[place % len(own)]] = (
            b"?"
            if kind.kind == "S"
            else np.array([value % 2**64], "u8").astype(kind if kind.kind == "u" else "i8")[0]
        )
    path = tmp_path / "strange.dbn"
    path.write_bytes(raw[: len(raw) - records.nbytes] + changed.tobytes())
    poisoned, _ = judged(path, line)
    for number in set(records["instrument_id"].tolist()) - {victim}:
        assert of_instrument(plain, f"SYM{number}") != ([], [], [])
        wanted, found = of_instrument(plain, f"SYM{number}"), of_instrument(poisoned, f"SYM{number}")
        assert found[0] == wanted[0]
        assert found[2] == wanted[2]
        # The partition's clock may call a window over earlier; what is in it stays.
        assert {row[:-1] for row in wanted[1]} <= {row[:-1] for row in found[1]}


@settings(max_examples=tried(60), deadline=None)
@given(keep=st.integers(0, 900 * 48), block_records=st.sampled_from([1, 7, 256]))
def test_truncation_keeps_every_whole_record(
    good: tuple[bytes, Array], tmp_path: Path, keep: int, block_records: int
) -> None:
    raw, records = good
    header = len(raw) - records.nbytes
    path = tmp_path / "cut.dbn"
    path.write_bytes(raw[: header + keep])
    reader, found = DbnRecords(path, block_records), []
    try:
        for block in reader.blocks():
            found.append(block.records.tobytes())
        assert keep % 48 == 0
    except DamagedError:
        assert keep % 48
    reader.close()
    assert b"".join(found) == records[: keep // 48].tobytes()


@settings(max_examples=tried(40), deadline=None)
@given(first=st.integers(1, 300), second=st.integers(1, 300), stop=st.integers(0, 20))
def test_reading_goes_on_at_the_end_of_any_block(
    good: tuple[bytes, Array], tmp_path: Path, first: int, second: int, stop: int
) -> None:
    path = tmp_path / "day.dbn"
    path.write_bytes(good[0])
    parts, end = [], 0
    for block in list(DbnRecords(path, first).blocks())[:stop]:
        parts.append(block.records.tobytes())
        end = block.end
    parts += [block.records.tobytes() for block in DbnRecords(path, second).blocks(end)]
    assert b"".join(parts) == good[1].tobytes()
