"""What is between the topic and the results stays bounded, however fast the topic is and slow the results are."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

runs: Any = import_module("tests.flows.kafka_runs")

Start = Callable[..., "subprocess.Popen[str]"]
_BATCH, _PARTITIONS = 200, 2
#: Each partition may have four batches under way, one more is on its way out and one is being counted.
_MOST = 6 * _BATCH * _PARTITIONS
_RECORDS = 20_000
#: Every process tells how far it has read, and its results are slow.
_PATCH = """
import pathlib, time
from connectors.kafka import TapePartition
from connectors.sqlite_sink import SqlitePartition
read, write = TapePartition._tapes, SqlitePartition.write_batch

def _tapes(self, received):
    tapes = read(self, received)
    pathlib.Path(f"read-{self._number}").write_text(f"{self._state.offset:08d}")
    return tapes

def write_batch(self, values):
    time.sleep(0.01 * len(values))
    write(self, values)

TapePartition._tapes, SqlitePartition.write_batch = _tapes, write_batch
"""


@pytest.mark.parametrize("mode", ["one worker", "two workers", "two processes"])
def test_what_is_under_way_is_bounded(
    mode: str, trades: Any, write: Any, broker: Any, start_market: Start, tmp_path: Path
) -> None:
    topic = broker.topic(_PARTITIONS)
    tape = write(tmp_path / "tape.dbn", trades(8, count=_RECORDS, instruments=12))
    broker.produce(topic, *runs.messages_of(tape, "json"))
    given = broker.settings(topic, source__batch_records=str(_BATCH))
    cluster = runs.addresses(2)
    extra: dict[str, list[tuple[str, ...]]] = {
        "one worker": [()], "two workers": [("-w", "2")],
        "two processes": [("-i", str(number), "-a", cluster) for number in (0, 1)],
    }  # fmt: skip
    running = [start_market(tmp_path, [], *options, patch=_PATCH, **given) for options in extra[mode]]
    seen: list[int] = []

    def far_enough() -> bool:
        read = sum(int(path.read_text() or "0") for path in tmp_path.glob("read-*"))
        stored: int = runs.counted(tmp_path)
        seen.append(read - stored)
        return stored > 5_000 and max(seen) >= 2 * _BATCH and max(seen[len(seen) // 2 :]) >= _BATCH

    try:
        runs.until(far_enough, *running)
        # It was the results that held the topic up, not the other way round.
        assert max(seen) <= _MOST
        runs.stop(*running)
    finally:
        for process in running:
            process.kill()
            process.communicate()
