"""Simulated payments to a topic and from there through the flow: the same as from a file, bad ones put aside."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import confluent_kafka as ck

_SIMULATE = ("simulate", "transactions", "--users", "40", "--minutes", "20160", "--seed", "4")


def environment(**settings: str) -> dict[str, str]:
    env = {key: value for key, value in os.environ.items() if not key.startswith("TAPEWATCH_")}
    return env | {f"TAPEWATCH_{key}": value for key, value in settings.items()}


def tapewatch(*arguments: str) -> None:
    code = "from tapewatch.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def flow(path: Path, **settings: str) -> subprocess.Popen[str]:
    env = environment(SINKS__SQLITE__PATH=str(path), **settings)
    command = [sys.executable, "-m", "bytewax.run", "flows.transactions:flow"]
    return subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True)


def counters(path: Path) -> dict[str, int]:
    try:
        with sqlite3.connect(path) as connection:
            return dict(connection.execute("SELECT name, value FROM counters").fetchall())
    except sqlite3.Error:
        return {}


def anomalies(path: Path) -> list[Any]:
    query = "SELECT id, detector, severity, reason, contributions FROM anomalies ORDER BY id"
    with sqlite3.connect(path) as connection:
        return connection.execute(query).fetchall()


def test_a_topic_gives_what_a_file_gives(broker: Any, tmp_path: Path) -> None:
    tapewatch(*_SIMULATE, "--out", str(tmp_path / "p.jsonl"))
    # Of one partition: each is judged for itself.
    tapewatch(*_SIMULATE, "--topic", "payments-test", "--brokers", broker.address, "--partitions", "1")
    producer = ck.Producer({"bootstrap.servers": broker.address})
    producer.produce("payments-test", b'{"transaction_id": "x", "amount": -1}', b"u")
    producer.flush(200)
    hidden = {
        "TRANSACTIONS__PSEUDONYMISE": "true",
        "TRANSACTIONS__PSEUDONYM_KEY": "sixteen-or-more-characters",
    }
    file = flow(tmp_path / "file.db", TRANSACTIONS__SOURCE__PATHS=f'["{tmp_path / "p.jsonl"}"]', **hidden)
    assert file.communicate(timeout=280)[1] == ""
    topic = flow(
        tmp_path / "topic.db",
        TRANSACTIONS__SOURCE__KIND="kafka",
        TRANSACTIONS__KAFKA__TOPIC="payments-test",
        TRANSACTIONS__KAFKA__BROKERS=broker.address,
        **hidden,
    )
    wanted = counters(tmp_path / "file.db")["records"]
    deadline = time.monotonic() + 280
    found: dict[str, int] = {}
    while time.monotonic() < deadline and (found.get("records"), found.get("dead_letters")) != (wanted, 1):
        time.sleep(0.2)
        found = counters(tmp_path / "topic.db")
    topic.send_signal(signal.SIGTERM)
    assert topic.communicate(timeout=280)[1] == ""
    assert topic.returncode == 0
    assert counters(tmp_path / "topic.db") == {"records": wanted, "dead_letters": 1}
    assert anomalies(tmp_path / "topic.db") == anomalies(tmp_path / "file.db") != []
    # Where it was is told; what it holds, the id of a user among it, stays in the topic it came from.
    (letter,) = broker.messages("payments-test.dead")
    headers = dict(letter.headers())
    assert (letter.key(), letter.value(), headers["source_topic"]) == (None, None, b"payments-test")
    assert int(headers["source_offset"]) == wanted
    assert b"cannot be read" in headers["error"]
