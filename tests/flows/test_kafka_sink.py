"""A reader of the topic of anomalies ends with what the store holds, whatever happened on the way."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from connectors.dbn_writer import metadata
from tapewatch.documents import ANOMALY_FIELDS, anomaly_row, to_json
from tests.flows.test_market_crash import recovery

kafka: Any = import_module("tests.connectors.kafka_broker")
killed: Any = import_module("tests.flows.test_market_killed_at_the_end")

Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]
KILLED = (
    killed.FICKLE
    + """
import os, signal
import connectors.kafka_sink as s
def snapshot(self):
    self._sender.flush()
    os.kill(os.getpid(), signal.SIGKILL)
s.KafkaSinkPartition.snapshot = snapshot
"""
)


def documents(results: dict[str, list[Any]]) -> dict[str, dict[str, Any]]:
    """Return the anomalies of a store as they are on a topic, but for when they were detected."""
    fields = tuple(name for name in ANOMALY_FIELDS if name != "detected_at")
    found = [to_json(fields, row) for row in results["anomalies"]]
    return {document["id"]: orjson.loads(orjson.dumps(document)) for document in found}


def read(broker: Any, topic: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = kafka.latest(broker.messages(topic))
    for document in found.values():
        assert document.pop("detected_at") > "2020"
    return found


@pytest.mark.parametrize("recovered", [True, False])
def test_nothing_stays_of_what_a_killed_run_told_early(
    recovered: bool, trades: Any, broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    """Killed when all was told and nothing saved; what grows is told to be less, or nothing, than before."""
    topic = broker.topic(2)

    def run(folder: Path, *options: str, patch: str = killed.FICKLE, kinds: str = "kafka") -> int:
        # One part of the sink, so that all has been told when it is asked for what to save.
        settings = {
            **killed.SETTINGS, "kafka__brokers": broker.address, "sinks__kafka__topic": topic, "shards": "1"
        }  # fmt: skip
        running = start_market(folder, [path], *options, patch=patch, sinks__kinds=[kinds], **settings)
        _, errors = running.communicate(timeout=280)
        assert errors == ""
        return running.returncode

    records = trades(24, count=6_000, instruments=12, days=1)
    symbols = {int(i): f"SYM{i}" for i in np.unique(records["instrument_id"])}
    pieces = np.split(records, [2_500, 5_291])
    path = tmp_path / "day.dbn"
    path.write_bytes(metadata(records, symbols).encode() + pieces[0].tobytes())
    options = ["-r", recovery(tmp_path), "-s", "30", "-b", "0"]
    if recovered:
        assert run(tmp_path, *options) == 0
    with path.open("ab") as file:
        file.write(pieces[1].tobytes())
    assert run(tmp_path, *options, patch=KILLED) == -signal.SIGKILL
    told = read(broker, topic)
    with path.open("ab") as file:
        file.write(pieces[2].tobytes())
    assert run(tmp_path, *options) == 0
    whole = tmp_path / "whole"
    whole.mkdir()
    assert run(whole, kinds="sqlite") == 0
    wanted = documents(tables(whole / "results.db"))
    assert set(told) - set(wanted), "the test shows nothing"
    assert any(each["revision"] > wanted[name]["revision"] for name, each in told.items() if name in wanted)
    assert read(broker, topic) == wanted


def test_a_run_told_twice_is_told_once(
    trades: Any, write: Any, broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    topic = broker.topic(2)
    path = write(tmp_path / "day.dbn", trades(3, count=8_000, instruments=8))
    settings = {
        **killed.SETTINGS, "kafka__brokers": broker.address, "sinks__kafka__topic": topic,
        "sinks__kinds": ["sqlite", "kafka"],
    }  # fmt: skip
    for _ in range(2):
        running = start_market(tmp_path, [path], "-w", "2", **settings)
        assert running.communicate(timeout=280) == ("", "")
        wanted = documents(tables(tmp_path / "results.db"))
        assert read(broker, topic) == wanted
    assert len(wanted) > 20
    for message in broker.messages(topic):
        headers = dict(message.headers())
        assert headers.keys() <= {"id", "early"}


def test_others_messages_on_the_topic_are_left_alone(
    trades: Any, write: Any, broker: Any, start_market: Start, tmp_path: Path
) -> None:
    topic = broker.topic(1)
    strange = [
        (b"x", b"junk", [("id", b"\xff"), ("early", b"{}")]), (b"y", None, None), (None, b"", [("early", None)]),
        (b"z", b"{}", [("id", b"1"), ("early", b"[1]")]),
    ]  # fmt: skip
    broker.produce(topic, *strange)
    path = write(tmp_path / "day.dbn", trades(3, count=3_000, instruments=8))
    settings = {
        **killed.SETTINGS, "kafka__brokers": broker.address, "sinks__kafka__topic": topic, "sinks__kinds": ["kafka"],
    }  # fmt: skip
    running = start_market(tmp_path, [path], **settings)
    assert running.communicate(timeout=280) == ("", "")
    assert running.returncode == 0
    found = broker.messages(topic)
    assert [(m.key(), m.value()) for m in found[:4]] == [(key, value) for key, value, _ in strange]
    assert len(found) > 4


def test_which_fields_a_message_has() -> None:
    from tapewatch.documents import Anomaly

    names = dict.fromkeys(ANOMALY_FIELDS, 1)
    row = anomaly_row(Anomaly(**{**names, "contributions": {"a": 1.0}}))  # type: ignore[arg-type]
    assert to_json(ANOMALY_FIELDS, row).keys() == {*ANOMALY_FIELDS, "@timestamp"}
