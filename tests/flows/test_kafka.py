"""What a flow on a topic does beside judging: clocks, added partitions, offsets, lag, stops, refusals."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tests.ports import free_port

runs: Any = import_module("tests.flows.kafka_runs")

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]
_NOON = 1_717_416_000_000_000_000
_MINUTE = 60_000_000_000


def trade(symbol: str, minute: float, size: int = 10) -> tuple[bytes, bytes]:
    moment = _NOON + int(minute * _MINUTE)
    value = {
        "ts_recv": moment, "ts_event": moment, "instrument_id": sum(symbol.encode()), "price": "100.5",
        "size": size, "symbol": symbol, "sequence": 1,
    }  # fmt: skip
    return symbol.encode(), orjson.dumps(value)


def on(partition: int, *messages: tuple[bytes, bytes]) -> list[tuple[Any, ...]]:
    return [(*message, None, partition) for message in messages]


def bars(folder: Path) -> list[tuple[str, int, int]]:
    """Return symbol, minute since noon and `final` of the bars in a folder."""
    try:
        connection = sqlite3.connect(f"file:{folder / 'results.db'}?mode=ro", uri=True)
        found = connection.execute("SELECT key, ts_start, final FROM bars ORDER BY 1, 2").fetchall()
    except sqlite3.OperationalError:
        return []
    connection.close()
    return [(key, (start - _NOON) // _MINUTE, final) for key, start, final in found]


@pytest.fixture
def started(start_market: Start, tmp_path: Path) -> Any:
    """Return ``start(*args, **settings)``, whose processes end with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*args: str, **settings: object) -> subprocess.Popen[str]:
        running.append(start_market(tmp_path, [], *args, **settings))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def recovery(folder: Path, seconds: str = "0") -> tuple[str, ...]:
    (folder / "rec").mkdir()
    command = [sys.executable, "-m", "bytewax.recovery", "rec", "2"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return ("-r", "rec", "-s", seconds, "-b", "0")


def test_an_idle_symbol_is_closed_by_its_partition_not_by_others(
    broker: Any, started: Any, tmp_path: Path
) -> None:
    topic = broker.topic(2)
    running = started(**broker.settings(topic))
    # B trades once and is silent; so is the other partition, in which C has traded once.
    broker.produce(topic, *on(0, trade("A", 0), trade("B", 0.5), trade("A", 5)), *on(1, trade("C", 0)))
    runs.until(lambda: len(bars(tmp_path)) == 2, running)
    assert bars(tmp_path) == [("A", 0, 1), ("B", 0, 1)]
    # The silence of one does not hold the other back, nor does its clock move the other's.
    broker.produce(topic, *on(0, trade("A", 9)))
    runs.until(lambda: len(bars(tmp_path)) == 3, running)
    assert bars(tmp_path) == [("A", 0, 1), ("A", 5, 1), ("B", 0, 1)]
    broker.produce(topic, *on(1, trade("C", 3)))
    runs.until(lambda: len(bars(tmp_path)) == 4, running)
    # What has not been closed is shown at a stop.
    runs.stop(running)
    assert bars(tmp_path) == [
        ("A", 0, 1), ("A", 5, 1), ("A", 9, 0), ("B", 0, 1), ("C", 0, 1), ("C", 3, 0),
    ]  # fmt: skip


def test_a_run_of_one_symbol_does_not_close_the_windows_of_another(
    trades: Any, broker: Any, started: Any, tmp_path: Path, tables: Tables
) -> None:
    """Its records are ahead of those of the symbols whose runs follow; once nothing follows they count."""
    from connectors.kafka_messages import Encoder
    from tapewatch.records import TRADE

    records = np.zeros(4, TRADE)
    records["instrument_id"] = [1, 2, 2, 1]
    records["ts_recv"] = records["ts_event"] = _NOON + np.array([0, 1, 2, 7 * 60]) * 1_000_000_000
    records["price"], records["size"], records["action"] = 10**9, 5, b"T"
    ahead, behind = Encoder("dbn", "trades", "", 0, "t").messages(
        records, records["instrument_id"] - 1, ["A", "B"]
    )
    topic = broker.topic(1)
    running = started(**broker.settings(topic))
    broker.produce(topic, ahead[:3])
    runs.until(lambda: bars(tmp_path) == [("A", 0, 1)], running)
    broker.produce(topic, behind[:3])
    # All of B's trades are in the minute that A's run has left behind.
    runs.until(lambda: bars(tmp_path) == [("A", 0, 1), ("B", 0, 1)], running)
    runs.stop(running)
    assert "late_records" not in dict(tables(tmp_path / "results.db")["counters"])
    assert [row[10] for row in tables(tmp_path / "results.db")["bars"]] == [5, 5, 10]


def test_added_partitions_are_read_after_a_restart(
    broker: Any, started: Any, tmp_path: Path, tables: Tables
) -> None:
    topic = broker.topic(1)
    options = recovery(tmp_path)
    given = broker.settings(topic)
    broker.produce(topic, *(trade("A", minute) for minute in range(5)))
    running = started(*options, **given)
    runs.until(lambda: runs.counted(tmp_path) == 5, running)
    assert runs.stop(running) == [""]
    broker.grow(topic, 3)
    broker.produce(topic, *on(2, *(trade("B", minute) for minute in range(4))), *on(0, trade("A", 6)))
    running = started(*options, **given)
    runs.until(lambda: runs.counted(tmp_path) == 10, running)
    (said,) = runs.stop(running)
    assert said.count("\n") == 1
    assert f"{topic} has 3 partitions, 1 when it was last read" in said
    assert [row[1:] for row in bars(tmp_path) if row[0] == "B"] == [(0, 1), (1, 1), (2, 1), (3, 0)]


def saved_offset(folder: Path) -> bool:
    """Say whether the recovery store holds where a partition of the tape is."""
    for path in (folder / "rec").glob("*.sqlite3"):
        with closing(sqlite3.connect(path, timeout=60)) as connection:
            steps = [
                row[0] for row in connection.execute("SELECT step_id FROM snaps WHERE ser_change IS NOT NULL")
            ]
        if any("tape" in step for step in steps):
            return True
    return False


@pytest.mark.parametrize("begin", ["earliest", "latest"])
def test_where_a_run_begins_and_goes_on(
    begin: str, broker: Any, started: Any, tmp_path: Path, tables: Tables
) -> None:
    topic = broker.topic(1)
    options = recovery(tmp_path)
    broker.produce(topic, *(trade("A", minute) for minute in range(5)))
    given = broker.settings(topic, kafka__start=begin)
    running = started(*options, **given)
    if begin == "earliest":
        runs.until(lambda: runs.counted(tmp_path) == 5, running)
    else:
        runs.until(lambda: saved_offset(tmp_path), running)
    runs.stop(running)
    broker.produce(topic, *(trade("A", minute) for minute in range(5, 8)))
    running = started(*options, **given)
    wanted = 8 if begin == "earliest" else 3
    runs.until(lambda: runs.counted(tmp_path) == wanted, running)
    runs.stop(running)
    assert dict(tables(tmp_path / "results.db")["counters"]) == {"records": wanted}


def test_offsets_are_told_to_the_group_and_never_taken_from_it(
    broker: Any, started: Any, tmp_path: Path
) -> None:
    topic = broker.topic(2)
    broker.produce(topic, *on(0, *(trade("A", minute) for minute in range(50))))
    running = started(*recovery(tmp_path), **broker.settings(topic))
    runs.until(lambda: runs.counted(tmp_path) == 50, running)
    runs.until(lambda: broker.committed(topic)[0] == 50, running)
    assert broker.committed(topic)[1] < 0
    runs.stop(running)
    (tmp_path / "results.db").unlink()
    # Without the recovery store everything is read again, whatever the group says.
    running = started(**broker.settings(topic))
    runs.until(lambda: runs.counted(tmp_path) == 50, running)
    runs.stop(running)


def test_lag_and_latency_are_metrics(
    broker: Any, started: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = [free_port(), free_port()]
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_ENABLED", "1")
    monkeypatch.setenv("BYTEWAX_DATAFLOW_API_PORT", str(ports[0]))
    topic = broker.topic(1)
    # The last of them closes the windows of those before; one cannot be read.
    earlier = (time.time_ns() - _NOON) / _MINUTE - 30
    broker.produce(topic, *(trade("A", earlier + minute) for minute in range(30)), (b"A", b"nothing"))
    running = started(**broker.settings(topic, metrics__port=str(ports[1])))

    def metric(port: int, name: str) -> str:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
                text = answer.read().decode()
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if re.match(rf"tapewatch_{name}[{{ ]", line)]
        return lines[0] if lines else ""

    # Bytewax's own server has them too.
    for port in ports:
        runs.until(lambda port=port: metric(port, "kafka_lag_messages").endswith(" 0.0"), running)
        assert f'topic="{topic}"' in metric(port, "kafka_lag_messages")
        runs.until(lambda port=port: metric(port, "records_total").endswith(" 30.0"), running)
        runs.until(lambda port=port: metric(port, "dead_letters_total").endswith(" 1.0"), running)
        assert float(metric(port, "event_to_result_seconds_count").split()[-1]) > 0
        # The latest trade is a minute old, and waits for no window of its own.
        seconds = float(metric(port, "event_to_result_seconds_sum").split()[-1])
        assert seconds > 60
    runs.stop(running)


def test_a_stop_is_heard_wherever_it_comes(
    trades: Any, write: Any, broker: Any, started: Any, tmp_path: Path
) -> None:
    topic = broker.topic(3)
    path = write(tmp_path / "tape.dbn", trades(2, count=40_000))
    broker.produce(topic, *runs.messages_of(path, "json"))
    for wait in (0.0, 0.4):
        running = started("-w", "2", **broker.settings(topic, source__batch_records="200"))
        runs.until(lambda: runs.counted(tmp_path) > 0, running)
        time.sleep(wait)
        assert runs.stop(running) == [""]
        (tmp_path / "results.db").unlink()


def refused(ended: subprocess.CompletedProcess[str] | subprocess.Popen[str], *words: str) -> None:
    said = (
        ended.stderr if isinstance(ended, subprocess.CompletedProcess) else ended.communicate(timeout=280)[1]
    )
    assert isinstance(said, str)
    told = [line for line in said.splitlines() if line.startswith("tapewatch: ")]
    assert ended.returncode == 2, said
    assert len(told) == 1, said
    assert "Traceback" not in said
    for word in words:
        assert word in told[0]


def test_what_is_not_there_is_refused(broker: Any, run_market: Flow, tmp_path: Path) -> None:
    def run(topic: str, **settings: object) -> subprocess.CompletedProcess[str]:
        return run_market(tmp_path, [], **broker.settings(topic, **settings))

    refused(run("nothing-here"), "nothing-here", "`kafka.topic`")
    refused(run("t", kafka__brokers="127.0.0.1:9"), "`kafka.brokers`", "127.0.0.1:9", "refused")
    topic = broker.topic(1)
    refused(run(topic, kafka__options={"linger": "3"}), "`kafka.options`", "linger")
    refused(run(topic, kafka__options={"group.id": "x"}), "`kafka.options`", "group.id", "`kafka.group`")
    assert broker.partitions("nothing-here") == 0


def test_a_topic_that_was_made_anew_is_refused(broker: Any, started: Any, tmp_path: Path) -> None:
    topic = broker.topic(1)
    options = recovery(tmp_path)
    broker.produce(topic, *(trade("A", minute) for minute in range(20)))
    running = started(*options, **broker.settings(topic))
    runs.until(lambda: runs.counted(tmp_path) == 20, running)
    runs.stop(running)
    broker.remove(topic)
    broker.topic(1, name=topic)
    broker.produce(topic, *(trade("A", minute) for minute in range(5)))
    refused(started(*options, **broker.settings(topic)), topic, "offset 20", "recovery store")


def doctor(env: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.argv[1:] = ['doctor']; from tapewatch.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_doctor_looks_at_the_topics(broker: Any, tmp_path: Path) -> None:
    topic = broker.topic(3)
    env = {
        "TAPEWATCH_SOURCE__KIND": "kafka", "TAPEWATCH_KAFKA__BROKERS": broker.address,
        "TAPEWATCH_KAFKA__TOPIC": topic, "TAPEWATCH_SINKS__KINDS": '["kafka"]',
        "TAPEWATCH_SINKS__KAFKA__TOPIC": "found-nowhere",
    }  # fmt: skip
    ended = doctor(env, tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert f"{topic} with 3 partitions, {topic}.dead will be made" in ended.stdout
    assert "found-nowhere will be made" in ended.stdout
    assert broker.partitions("found-nowhere") == 0
    refused(doctor({**env, "TAPEWATCH_KAFKA__TOPIC": "nothing-here"}, tmp_path), "nothing-here")
