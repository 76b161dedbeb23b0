"""`tapewatch replay` against a real broker: what is in the files is in the topic, once, each key in its order."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from connectors.dbn_records import DbnRecords
from connectors.json_records import JsonRecords
from tapewatch.records import TRADE, Array
from tests.flows.gated_replay import gated


def command(*arguments: object) -> list[str]:
    code = "from tapewatch.cli import main; main()"
    return [sys.executable, "-c", code, "replay", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}


def replay(tmp_path: Path, *arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=tmp_path, env={**environment(), **env}, capture_output=True, text=True,
        timeout=280, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def day(trades: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file of trades with some that are fit for nothing, and ids without a symbol."""
    records = trades(5, count=40_000, instruments=12)
    records["price"][::3_000] = 2**63 - 1
    records["size"][9::3_000] = 0
    records["size"][11::3_000] = 2**32 - 1
    records["price"][10::1_000] *= -1
    records["instrument_id"][12::2_500] = 77
    path: Path = write(tmp_path_factory.mktemp("day") / "day.dbn.zst", records)
    return path


def time_of(path: Path, number: int) -> int:
    """Return the time of the record of this number."""
    times = np.concatenate([block.times for block in DbnRecords(path).blocks()])
    return int(times[number])


def of_file(path: Path) -> dict[str, Array]:
    """Return the records of each symbol."""
    reader = DbnRecords(path)
    records = np.concatenate([block.records for block in reader.blocks()])
    numbers = np.unique(records["instrument_id"]).tolist()
    days = (records["ts_recv"] // 86_400_000_000_000).astype(int)
    names = {number: reader.header.symbols.key(number, int(days[0])) for number in numbers}
    return {names[number]: records[records["instrument_id"] == number] for number in numbers}


def of_topic(broker: Any, topic: str, tmp_path: Path) -> dict[str, Array]:
    """Return the records of each key in their order, whatever the messages' encoding."""
    parts: dict[str, list[bytes]] = defaultdict(list)
    encodings = set()
    for message in broker.messages(topic):
        headers = dict(message.headers())
        encodings.add(headers.get("encoding", b"json"))
        key = message.key().decode()
        parts[key].append(message.value())
        if "encoding" in headers:
            assert headers["schema"] == b"trades"
            assert headers["version"] == b"3"
            numbers = np.unique(np.frombuffer(message.value(), TRADE)["instrument_id"]).tolist()
            assert orjson.loads(headers["symbols"]) == {str(number): key for number in numbers}
        else:
            assert orjson.loads(message.value())["symbol"] == key
        assert headers["dataset"] == b"XSIM.TAPE"
    (encoding,) = encodings
    if encoding == b"dbn":
        return {key: np.frombuffer(b"".join(values), TRADE) for key, values in parts.items()}
    found = {}
    for key, values in parts.items():
        path = tmp_path / f"{key}.json"
        path.write_bytes(b"\n".join(values) + b"\n")
        blocks = list(JsonRecords(path).blocks())
        found[key] = np.concatenate([block.records for block in blocks])
        assert {name for block in blocks for name in block.names} == {key}
    return found


def equal(found: dict[str, Array], wanted: dict[str, Array]) -> bool:
    return found.keys() == wanted.keys() and all(
        found[key].tobytes() == np.ascontiguousarray(wanted[key]).tobytes() for key in wanted
    )


def test_a_simulated_market_goes_to_a_topic_as_to_a_file(broker: Any, tmp_path: Path) -> None:
    simulate = [*command()[:-1], "simulate", "market", "--minutes", "2", "--symbols", "3"]
    env = {**environment(), "TMPDIR": str(tmp_path)}
    for where in (("--out", "day.dbn"), ("--topic", "simulated", "--brokers", broker.address)):
        done = subprocess.run(
            [*simulate, *where],
            cwd=tmp_path,
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
    wanted, found = of_file(tmp_path / "day.dbn"), of_topic(broker, "simulated", tmp_path)
    assert equal(found, wanted)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("tapewatch")] == []


@pytest.mark.parametrize("encoding", ["json", "dbn"])
def test_what_is_in_the_file_is_in_the_topic(encoding: str, day: Path, broker: Any, tmp_path: Path) -> None:
    topic = f"whole-{encoding}"
    ended = replay(
        tmp_path,
        day,
        "--topic",
        topic,
        "--brokers",
        broker.address,
        "--partitions",
        3,
        "--encoding",
        encoding,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"{topic}: 40,000 records" in ended.stdout
    assert broker.partitions(topic) == 3
    assert equal(of_topic(broker, topic, tmp_path), of_file(day))
    partitions = defaultdict(set)
    for message in broker.messages(topic):
        partitions[message.key()].add(message.partition())
    assert {len(found) for found in partitions.values()} == {1}
    assert len(set.union(*partitions.values())) == 3
    assert list(tmp_path.glob("state*")) == []
    # All of it is there: nothing is left to be resumed, and without that it is published once more.
    ended = replay(
        tmp_path, day, "--topic", topic, "--brokers", broker.address, "--encoding", encoding, "--resume"
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert equal(of_topic(broker, topic, tmp_path), of_file(day))
    replay(tmp_path, day, "--topic", topic, "--brokers", broker.address, "--encoding", encoding)
    twice = {key: np.concatenate([each, each]) for key, each in of_file(day).items()}
    assert equal(of_topic(broker, topic, tmp_path), twice)


def until_more(broker: Any, topic: str, before: int) -> None:
    end = time.monotonic() + 280
    while broker.count(topic) <= before:
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(("encoding", "seed"), [("json", 1), ("dbn", 2)])
def test_kills_at_random_moments_lose_and_double_nothing(
    encoding: str, seed: int, day: Path, broker: Any, tmp_path: Path
) -> None:
    topic = f"killed-{encoding}"
    rng = random.Random(seed)
    # Two days and some hours of tape in about eight seconds.
    given = [
        day, "--topic", topic, "--brokers", broker.address, "--partitions", 2, "--encoding", encoding,
        "--speed", 25_000,
    ]  # fmt: skip
    for number in range(3):
        before = broker.count(topic)
        running = subprocess.Popen(
            command(*given, *["--resume"] * bool(number)),
            cwd=tmp_path,
            env=environment() | gated(tmp_path, time_of(day, 10_000 * (number + 1))),
        )
        until_more(broker, topic, before)
        time.sleep(rng.uniform(0, 0.7))
        assert running.poll() is None
        running.kill()
        running.wait()
    ended = replay(tmp_path, *given[:-2], "--resume")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert equal(of_topic(broker, topic, tmp_path), of_file(day))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_replay_says_so_and_goes_on(number: int, day: Path, broker: Any, tmp_path: Path) -> None:
    topic = f"stopped-{number}"
    given = [day, "--topic", topic, "--brokers", broker.address, "--speed", 20_000]
    running = subprocess.Popen(
        command(*given),
        cwd=tmp_path,
        env=environment() | gated(tmp_path, time_of(day, 30_000)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until_more(broker, topic, 0)
    running.send_signal(number)
    out, errors = running.communicate(timeout=280)
    assert (running.returncode, errors) == (0, "")
    assert "--resume" in out
    assert 0 < broker.count(topic) < 40_000
    assert replay(tmp_path, day, "--topic", topic, "--brokers", broker.address, "--resume").returncode == 0
    assert equal(of_topic(broker, topic, tmp_path), of_file(day))


def test_it_takes_the_time_the_market_took(trades: Any, write: Any, broker: Any, tmp_path: Path) -> None:
    records = trades(3, count=200, days=1)
    span = (int(records["ts_recv"][-1]) - int(records["ts_recv"][0])) / 1e9
    path = write(tmp_path / "some.dbn", records)
    topic = broker.topic()
    begun = time.time()
    replay(tmp_path, path, "--topic", topic, "--brokers", broker.address, "--speed", span / 4)
    moments = [message.timestamp()[1] / 1e3 for message in broker.messages(topic)]
    due = (records["ts_recv"].astype(np.int64) - int(records["ts_recv"][0])) / 1e9 / (span / 4)
    # Nothing came before its time; what came late is the machine's affair.
    assert (np.array(moments) - begun - due > -0.05).all()


def test_several_datasets_and_bars(data: Path, broker: Any, tmp_path: Path) -> None:
    paths = [data / "dbn" / "es_trades_sample.dbn.zst", data / "dbn" / "nse-1min-2014.ohlcv-1m.dbn.zst"]
    for encoding in ("json", "dbn"):
        topic = broker.topic(2)
        ended = replay(
            tmp_path, *paths, "--topic", topic, "--brokers", broker.address, "--encoding", encoding
        )
        assert (ended.returncode, ended.stderr) == (0, "")
        messages = [(dict(m.headers()), m.value()) for m in broker.messages(topic)]
        counts: dict[bytes, int] = defaultdict(int)
        for headers, value in messages:
            counts[headers["dataset"]] += len(value) // (4 * value[0]) if encoding == "dbn" else 1
        assert sorted(counts.values()) == [3_500, 21_077]
        assert {headers.get("schema", b"trades") for headers, _ in messages} == {b"trades", b"ohlcv-1m"}


def refused(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ended.returncode == 2, ended
    assert ended.stderr.count("\n") == 1
    for word in words:
        assert word in ended.stderr


def test_what_cannot_be_is_refused_in_one_line(day: Path, broker: Any, tmp_path: Path) -> None:
    topic = broker.topic(2)
    where = ["--topic", topic, "--brokers", broker.address]
    refused(replay(tmp_path, tmp_path / "none.dbn", *where), "none.dbn", "does not exist")
    refused(replay(tmp_path, day, *where, "--encoding", "avro"), "--encoding", "json, dbn", "'avro'")
    refused(replay(tmp_path, day, *where, "--speed", "0"), "--speed", "above 0")
    refused(replay(tmp_path, day, *where, "--partitions", "0"), "--partitions", "'0'")
    refused(replay(tmp_path, day, *where, "--partitions", "3"), "--partitions", "2 already")
    refused(replay(tmp_path, day, *where, "--resume"), "--resume", topic)
    refused(replay(tmp_path, day, "--topic", "no such", "--brokers", broker.address), "--topic", "'no such'")
    refused(replay(tmp_path, day, "--topic", topic, "--brokers", "127.0.0.1:9"), "127.0.0.1:9", "refused")
    damaged = tmp_path / "half.dbn.zst"
    damaged.write_bytes(day.read_bytes()[:-2_000])
    refused(replay(tmp_path, damaged, *where), "half.dbn.zst")
    assert 0 < broker.count(topic) < 40_000
    refused(replay(tmp_path, day, *where, "--resume"), "--resume", "half.dbn.zst")
