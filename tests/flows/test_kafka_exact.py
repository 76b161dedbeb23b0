"""A tape on a topic gives the results of its file: in any encoding, partitions, batches, workers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.dbn_records import DbnRecords
from connectors.dbn_writer import write_dbn
from connectors.kafka_messages import Encoder
from connectors.market_simulator import MarketSimulation, simulate

runs: Any = import_module("tests.flows.kafka_runs")

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of two simulated days."""
    path = tmp_path_factory.mktemp("day") / "day.dbn"
    session = simulate(MarketSimulation(symbols=9, minutes=2 * 390, seed=4, trades_per_minute=8))
    write_dbn(path, session.records, session.symbols)
    return path


@pytest.fixture(scope="module")
def wanted(
    day: Path, run_market: Flow, tables: Tables, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    """Return the results of the file."""
    folder = tmp_path_factory.mktemp("file")
    assert run_market(folder, [day], **runs.SETTINGS).returncode == 0
    results = tables(folder / "results.db")
    assert {row[4] for row in results["anomalies"]} >= {"high_volume", "block_trade"}
    assert len(results["anomalies"]) > 20
    return results


def records(results: dict[str, list[Any]]) -> int:
    return int(dict(results["counters"])["records"])


@pytest.mark.parametrize("encoding", ["json", "dbn"])
@pytest.mark.parametrize(
    ("args", "settings"), [((), {}), (("-w", "2"), {"source__batch_records": "777"})], ids=["-w 1", "-w 2"]
)
def test_one_partition_gives_the_results_of_the_file(
    encoding: str, args: tuple[str, ...], settings: dict[str, str], day: Path, wanted: dict[str, list[Any]],
    broker: Any, start_market: Start, tables: Tables, tmp_path: Path,
) -> None:  # fmt: skip
    topic = broker.topic(1)
    broker.produce(topic, *runs.messages_of(day, encoding))
    given = broker.settings(topic, **{**runs.SETTINGS, **settings})
    assert runs.run_until(start_market, tmp_path, records(wanted), *args, **given) == [""]
    found = tables(tmp_path / "results.db")
    # The other topic is there, and empty.
    assert broker.count(f"{topic}.dead") == 0
    assert broker.partitions(f"{topic}.dead")
    assert found == wanted


@pytest.mark.parametrize("encoding", ["json", "dbn"])
def test_four_partitions_give_the_results_of_the_file(
    encoding: str, day: Path, wanted: dict[str, list[Any]], broker: Any, start_market: Start, tables: Tables,
    tmp_path: Path,
) -> None:  # fmt: skip
    topic = broker.topic(4)
    broker.produce(topic, *runs.messages_of(day, encoding))
    given = broker.settings(topic, **runs.SETTINGS)
    runs.run_until(start_market, tmp_path, records(wanted), "-w", "2", **given)
    assert runs.without_final(tables(tmp_path / "results.db")) == runs.without_final(wanted)


def test_encodings_may_change_within_a_topic(
    day: Path, wanted: dict[str, list[Any]], broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    """A thousand records as JSON, the next as runs of DBN, all while the flow runs."""
    topic = broker.topic(2)
    running = start_market(tmp_path, [], **broker.settings(topic, **runs.SETTINGS))
    messages = list(runs.messages_of(day, "json", "dbn", piece=1_000))
    for first in range(0, len(messages), 1_500):
        broker.produce(topic, *messages[first : first + 1_500])
    runs.until(lambda: runs.counted(tmp_path) >= records(wanted), running)
    runs.stop(running)
    assert runs.without_final(tables(tmp_path / "results.db")) == runs.without_final(wanted)


def test_two_processes_share_four_partitions(
    day: Path, wanted: dict[str, list[Any]], broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    topic = broker.topic(4)
    broker.produce(topic, *runs.messages_of(day, "dbn"))
    cluster = runs.addresses(2)
    given = broker.settings(topic, **runs.SETTINGS)
    running = [start_market(tmp_path, [], "-i", str(i), "-a", cluster, **given) for i in (0, 1)]
    runs.until(lambda: runs.counted(tmp_path) >= records(wanted), *running)
    runs.stop(*running)
    assert runs.without_final(tables(tmp_path / "results.db")) == runs.without_final(wanted)


def test_two_datasets_on_one_topic_are_what_each_is_alone(
    trades: Any,
    write: Any,
    broker: Any,
    run_market: Flow,
    start_market: Start,
    tables: Tables,
    tmp_path: Path,
) -> None:
    """Both have the same symbols."""
    paths = [
        write(tmp_path / f"{name}.dbn", trades(seed, count=8_000), dataset=name)
        for seed, name in enumerate(("EQUS.MINI", "XNAS.ITCH"))
    ]
    topic = broker.topic(1)
    pair = [list(runs.messages_of(path, "json")) for path in paths]
    broker.produce(topic, *(message for both in zip(*pair, strict=True) for message in both))
    given = broker.settings(topic, **runs.SETTINGS)
    runs.run_until(start_market, tmp_path, 16_000, **given)
    found = tables(tmp_path / "results.db")
    (tmp_path / "files").mkdir()
    assert run_market(tmp_path / "files", paths, **runs.SETTINGS).returncode == 0
    assert found == tables(tmp_path / "files" / "results.db")


def test_bars_on_a_topic(
    data: Path, broker: Any, run_market: Flow, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    path = data / "dbn" / "nse-1min-2014.ohlcv-1m.dbn.zst"
    settings = {**runs.SETTINGS, "sinks__bars": ["1m", "1h"], "detectors__high_volume__width": "1m"}
    (tmp_path / "file").mkdir()
    assert run_market(tmp_path / "file", [path], **settings).returncode == 0
    wanted = tables(tmp_path / "file" / "results.db")
    for encoding in ("json", "dbn"):
        reader = DbnRecords(path)
        encoder = Encoder(encoding, "bars", reader.header.dataset, reader.header.width_ns, "tests")
        topic = broker.topic(1)
        for block in reader.blocks():
            ids, codes = np.unique(block.records["instrument_id"], return_inverse=True)
            day = int(block.times[0]) // 86_400_000_000_000
            keys = [reader.header.symbols.key(number, day) for number in ids.tolist()]
            broker.produce(topic, *(m[:3] for m in encoder.messages(block.records, codes, keys)))
        (tmp_path / encoding).mkdir()
        given = broker.settings(topic, **settings)
        runs.run_until(start_market, tmp_path / encoding, records(wanted), **given)
        assert tables(tmp_path / encoding / "results.db") == wanted


@pytest.mark.parametrize("encoding", ["json", "dbn"])
def test_a_real_day(
    encoding: str,
    data: Path,
    broker: Any,
    run_market: Flow,
    start_market: Start,
    tables: Tables,
    tmp_path: Path,
) -> None:
    path = data / "dbn" / "equs-mini-20131007.trades.dbn.zst"
    settings = {**runs.SETTINGS, "source__batch_records": "65536", "sinks__bars": ["1m"]}
    (tmp_path / "file").mkdir()
    assert run_market(tmp_path / "file", [path], **settings).returncode == 0
    wanted = tables(tmp_path / "file" / "results.db")
    topic = broker.topic(2)
    broker.produce(topic, *runs.messages_of(path, encoding, piece=65_536))
    given = broker.settings(topic, **settings)
    runs.run_until(start_market, tmp_path, records(wanted), **given)
    assert runs.without_final(tables(tmp_path / "results.db")) == runs.without_final(wanted)
