"""What the tests of flows over Kafka share: tapes on a topic, and runs until all of it is judged."""

from __future__ import annotations

import itertools
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from connectors.dbn_records import DbnRecords
from connectors.kafka_messages import Encoder
from connectors.kafka_missing import GapMarks
from connectors.numbering import Unchecked
from connectors.validity import valid
from tapewatch.records import DAY
from tests.ports import free_port

Start = Callable[..., "subprocess.Popen[str]"]
#: So that there are many anomalies, and every score is compared.
SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "5",
    "sinks__scores": "true",
    "sinks__bars": ["1s", "1m"],
    "source__batch_records": "2000",
    "detectors__high_volume__baseline_windows": "10",
    "detectors__high_volume__width": "10s",
}
#: What tells of the partitions a tape comes in, not of the tape.
PARTITION_COUNTERS = ("dead_letters",)


def messages_of(path: Path, *encodings: Any, piece: int = 5_000) -> Iterator[tuple[Any, ...]]:
    """Yield a file's messages: key, value, headers; with several encodings each has its turn."""
    reader = DbnRecords(path, block_records=piece)
    symbols = reader.header.symbols
    encoders = [Encoder(encoding, "trades", reader.header.dataset, 0, "tests") for encoding in encodings]
    gaps = GapMarks()
    for encoder, block in zip(itertools.cycle(encoders), reader.blocks(), strict=False):
        pairs, codes = np.unique(
            (block.times // np.uint64(DAY) << np.uint64(32)) | block.records["instrument_id"].astype("u8"),
            return_inverse=True,
        )
        names = [symbols.key(pair & 0xFFFFFFFF, pair >> 32) for pair in pairs.tolist()]
        keys = sorted(set(names))
        places = np.array([keys.index(name) for name in names])[codes]
        fit, _ = valid(block.records, block.times)
        batch = Unchecked(block.records, block.times, 0, fit, symbols, places, tuple(keys))
        marks = gaps.marks(batch, places, keys)
        for key, value, headers, _ in encoder.messages(block.records, places, keys, marks):
            yield key, value, headers


def counted(folder: Path, name: str = "records") -> int:
    """Return a counter of the results in a folder, so far."""
    try:
        connection = sqlite3.connect(f"file:{folder / 'results.db'}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return 0
    try:
        found = connection.execute("SELECT sum(value) FROM counters WHERE name = ?", (name,)).fetchone()[0]
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
    return int(found or 0)


def until(condition: Callable[[], object], *running: subprocess.Popen[str], seconds: float = 280) -> None:
    """Wait until something holds, as long as the processes run."""
    end = time.monotonic() + seconds
    while not condition():
        ended = [process.returncode for process in running if process.poll() is not None]
        assert not ended, [process.communicate() for process in running if process.poll() is not None]
        assert time.monotonic() < end
        time.sleep(0.05)


def stop(*running: subprocess.Popen[str]) -> list[str]:
    """Stop processes gracefully; return what each wrote on stderr."""
    for process in running:
        process.send_signal(signal.SIGTERM)
    errors = []
    for process in running:
        out, said = process.communicate(timeout=280)
        # A process of a cluster says so when it waits for the other.
        others = [line for line in out.splitlines() if "connecting to worker" not in line]
        assert (process.returncode, others) == (0, []), said
        errors.append(said)
    return errors


def run_until(
    start: Start, folder: Path, records: int, *args: str, dead: int = 0, **settings: object
) -> list[str]:
    """Run a flow until so many records and dead letters are counted, then stop it gracefully."""
    running = start(folder, [], *args, **settings)
    try:
        until(lambda: counted(folder) >= records and counted(folder, "dead_letters") >= dead, running)
        return stop(running)
    finally:
        running.kill()
        running.communicate()


def without_final(results: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Return results without `final`: a partition knows less of how far time has come than the whole tape."""
    return {**results, "bars": sorted((row[:-1] for row in results["bars"]), key=repr)}


def addresses(count: int) -> str:
    """Return addresses for the processes of a cluster that nobody listens to."""
    return ";".join(f"127.0.0.1:{free_port()}" for _ in range(count))
