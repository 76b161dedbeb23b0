"""A cluster of three brokers of which one is killed: nothing is lost or doubled on the way in, through or out."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.flows.gated_replay import gated, let

runs: Any = import_module("tests.flows.kafka_runs")
kafka: Any = import_module("tests.connectors.kafka_broker")

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]
_RECORDS = 20_000
#: How long the replay takes; it is let go on after the kill, which so comes in its midst.
_SECONDS = 10
SETTINGS = {**runs.SETTINGS, "source__batch_records": "400"}


@pytest.fixture(scope="module")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    yield from kafka.running(tmp_path_factory.mktemp("kafka"), nodes=3)


@pytest.mark.parametrize("encoding", ["json", "dbn"])
def test_a_node_killed_while_replaying_and_consuming_changes_nothing(
    encoding: str, brokers: Any, trades: Any, write: Any, run_market: Flow, start_market: Start, tables: Tables,
    tmp_path: Path,
) -> None:  # fmt: skip
    records = trades(8, count=_RECORDS, instruments=12)
    tape = write(tmp_path / "tape.dbn", records)
    (tmp_path / "file").mkdir()
    assert run_market(tmp_path / "file", [tape], **SETTINGS).returncode == 0
    wanted = tables(tmp_path / "file" / "results.db")

    topic, found = f"nodes-{encoding}", brokers.topic(2, **{"min.insync.replicas": "2"})
    code = "from tapewatch.cli import main; main()"
    speed = float(np.ptp(records["ts_recv"].astype(np.int64))) / 1e9 / _SECONDS
    options = ("--brokers", brokers.address, "--encoding", encoding, "--speed", f"{speed:.3f}")
    # The replay makes the topic, with a replica on every node.
    replay = subprocess.Popen(
        [sys.executable, "-c", code, "replay", str(tape), "--topic", topic, "--partitions", "4", *options],
        cwd=tmp_path, env={**os.environ, **gated(tmp_path, int(records["ts_recv"][_RECORDS // 2]))}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    flow = None
    try:
        runs.until(lambda: brokers.partitions(topic) == 4, replay)
        given = brokers.settings(
            topic, **SETTINGS, sinks__kinds=["sqlite", "kafka"], sinks__kafka__topic=found
        )
        flow = start_market(tmp_path, [], **given)
        runs.until(lambda: runs.counted(tmp_path) > 1_000, flow)
        leaders = brokers.leaders(topic)
        assert {replicas for _, replicas in leaders.values()} == {3}
        assert 2 in {leader for leader, _ in leaders.values()}
        assert replay.poll() is None
        assert runs.counted(tmp_path) < _RECORDS
        let(tmp_path, 1 << 62)
        brokers.stop("2", "-9")
        out, said = replay.communicate(timeout=280)
        assert (replay.returncode, said) == (0, "")
        assert f"{_RECORDS:,} records" in out
        runs.until(lambda: runs.counted(tmp_path) >= _RECORDS, flow)
        assert 2 not in {leader for leader, _ in brokers.leaders(topic).values()}
        (said,) = runs.stop(flow)
        assert "Traceback" not in said
    finally:
        for process in (replay, flow):
            if process is not None:
                process.kill()
                process.communicate()
        brokers.start("node", "2")

    # As many records as the file has are in the topic; the counters say that each was judged once.
    messages = brokers.messages(topic)
    sizes = [len(message.value()) // 48 if encoding == "dbn" else 1 for message in messages]
    assert sum(sizes) == _RECORDS
    results = tables(tmp_path / "results.db")
    for name, rows in runs.without_final(wanted).items():
        assert runs.without_final(results)[name] == rows, name
    assert len(wanted["anomalies"]) > 30
    kept = kafka.latest(brokers.messages(found)).values()
    told = sorted((a["id"], a["incident"], a["revision"], a["severity"], a["reason"]) for a in kept)
    assert told == sorted((row[0], row[1], row[2], row[13], row[18]) for row in results["anomalies"])
