"""The files source on its own: credit, counters, pace, and positions it can go on from."""

from __future__ import annotations

import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.files import FilesPartition, FilesSource
from tapewatch.credit import acknowledge
from tapewatch.records import Tape
from tapewatch.settings import SourceSettings


def source_of(paths: list[Path], **settings: Any) -> FilesSource:
    return FilesSource(SourceSettings(paths=[str(path) for path in paths], **settings), slots=1)


def opened(source: FilesSource, saved: dict[str, Any] | None = None) -> FilesPartition:
    (name,) = source.list_parts()
    return source.build_part("tape", name, saved)


def drain(partition: FilesPartition, most: int = 10**9) -> list[Tape]:
    """Return what comes until the end, or until so many batches have come; each is acknowledged."""
    tapes: list[Tape] = []
    while len(tapes) < most:
        try:
            batch = partition.next_batch()
        except StopIteration:
            break
        for tape in batch:
            acknowledge(tape.credit, 0, tape.seq)
            tapes.append(tape)
    return tapes


def test_without_acknowledgement_the_source_waits(trades: Any, write: Any, tmp_path: Path) -> None:
    partition = opened(source_of([write(tmp_path / "day.dbn", trades(1))], batch_records=10))
    sent = [partition.next_batch() for _ in range(30)]
    assert 1 <= sum(map(len, sent)) <= 5
    assert sent[-1] == []
    awake = partition.next_awake()
    assert awake is not None
    acknowledge(sent[0][0].credit, 0, 3)
    assert partition.next_batch()
    partition.close()


@pytest.mark.parametrize("stop", [0, 1, 7, 150])
def test_a_partition_goes_on_from_any_snapshot(stop: int, trades: Any, write: Any, tmp_path: Path) -> None:
    first, second = trades(1), trades(2, first_day=1)
    first["size"][::10] = 0
    paths = [write(tmp_path / "b.dbn", first), write(tmp_path / "a.dbn.zst", second)]
    source = source_of(paths, batch_records=17)
    whole = drain(opened(source))
    partition = opened(source)
    tapes = drain(partition, stop)
    saved = pickle.loads(pickle.dumps(partition.snapshot()))
    partition.close()
    tapes += drain(opened(source, saved))
    for name in ("records", "times"):
        parts = [
            np.concatenate([getattr(tape, name) for tape in side if len(tape.times)])
            for side in (tapes, whole)
        ]
        assert parts[0].tobytes() == parts[1].tobytes()
    assert tapes[-1].counters == whole[-1].counters == {"records": 3_000, "zero_size": 150}
    assert tapes[-1].clock == whole[-1].clock == max(int(tape.times.max(initial=0)) for tape in whole)


def test_pace_keeps_records_back_until_their_time(trades: Any, write: Any, tmp_path: Path) -> None:
    records = trades(1, count=100, days=1)
    begin = int(records["ts_recv"][0])
    records["ts_recv"] = records["ts_event"] = begin + np.arange(100) * 10_000_000
    partition = opened(source_of([write(tmp_path / "day.dbn", records)], speed=2.0))
    begun, seen = time.monotonic(), 0
    for tape in iter(lambda: drain(partition, 1), []):
        passed = (time.monotonic() - begun) * 2e9
        assert int(tape[0].times.max(initial=0)) - begin <= passed
        seen += len(tape[0].times)
    assert seen == 100
    assert time.monotonic() - begun > 0.4


def test_what_lies_behind_the_last_trade_is_counted(trades: Any, write: Any, tmp_path: Path) -> None:
    records = trades(1, count=100)
    records["action"][90:] = b"C"
    path = write(tmp_path / "day.dbn", records)
    with path.open("ab") as file:
        file.write(b"\x0c\x00\x01")
    tapes = drain(opened(source_of([path], on_error="skip")))
    assert tapes[-1].counters == {"records": 90, "not_a_trade": 10, "damaged_files": 1}
