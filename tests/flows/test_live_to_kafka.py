"""A live session in a topic: every record once and each instrument's in order, whoever breaks off."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tapewatch.records import TRADE, Array
from tests.connectors.live_gateway import DATASET, KEY, Gateway, Script
from tests.made_trades import SYMBOLS

pytest.importorskip("databento")


@pytest.fixture(scope="module")
def tape(trades: Any) -> Array:
    """Return trades of which many are identical, and some unfit: the flow that reads them judges that."""
    records: Array = trades(21, count=12_000, instruments=6)
    records = np.repeat(records, np.random.default_rng(2).integers(1, 4, len(records)))
    records["price"][::1_000] = 2**63 - 1
    return records


def start(broker: Any, topic: str, gateway: Gateway, folder: Path, **changes: str) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
    settings = {
        "LIVE__DATASET": DATASET, "LIVE__SYMBOLS": '["ALL_SYMBOLS"]', "LIVE__GATEWAY": "127.0.0.1",
        "LIVE__PORT": str(gateway.port), "KAFKA__BROKERS": broker.address, "KAFKA__TOPIC": topic,
    }  # fmt: skip
    ours = {f"TAPEWATCH_{name}": value for name, value in {**settings, **changes}.items()}
    return subprocess.Popen(
        [sys.executable, "-m", "flows.live_to_kafka"],
        cwd=folder, env={**kept, "DATABENTO_API_KEY": KEY, **ours}, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def of_topic(broker: Any, topic: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for message in broker.messages(topic):
        headers = dict(message.headers())
        key = message.key().decode()
        assert (headers["encoding"], headers["schema"], headers["version"]) == (b"dbn", b"trades", b"3")
        assert headers["dataset"] == DATASET.encode()
        assert set(orjson.loads(headers["symbols"]).values()) == {key}
        found[key] = found.get(key, b"") + message.value()
    return found


def by_symbol(tape: Array) -> dict[str, bytes]:
    numbers = np.unique(tape["instrument_id"]).tolist()
    return {SYMBOLS[number]: tape[tape["instrument_id"] == number].tobytes() for number in numbers}


def until(broker: Any, topic: str, running: subprocess.Popen[str], count: int, seconds: float = 280) -> None:
    """Wait until a topic holds so many records."""
    end = time.monotonic() + seconds
    while True:
        found = sum(len(value) for value in of_topic(broker, topic).values()) // TRADE.itemsize
        if found >= count:
            return
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < end, f"{found} of {count}"
        time.sleep(0.2)


def stopped(running: subprocess.Popen[str]) -> str:
    running.terminate()
    _, err = running.communicate(timeout=280)
    assert running.returncode == 0, err
    assert KEY not in err
    assert "Traceback" not in err
    return err


def test_disconnections_lose_and_double_nothing(broker: Any, tape: Array, tmp_path: Path) -> None:
    topic = broker.topic(partitions=3)
    scripts = [Script(until=5_000, cut=7), Script(until=5_001, reset=True), Script(until=17_000)]
    with Gateway(tape, SYMBOLS, scripts=scripts) as gateway:
        running = start(broker, topic, gateway, tmp_path)
        until(broker, topic, running, len(tape))
        assert "comes in again" in stopped(running)
    assert of_topic(broker, topic) == by_symbol(tape)


def test_kills_and_restarts_lose_and_double_nothing(broker: Any, tape: Array, tmp_path: Path) -> None:
    topic = broker.topic(partitions=3)
    rng = np.random.default_rng(1)
    with Gateway(tape, SYMBOLS) as gateway:
        for number in range(3):
            # More than there was, and never all.
            gateway.until = (number + 1) * len(tape) // 4
            running = start(broker, topic, gateway, tmp_path)
            before = sum(len(value) for value in of_topic(broker, topic).values()) // TRADE.itemsize
            until(broker, topic, running, min(before + 1, len(tape)))
            # The first one has noted where it began, and may die like the others.
            time.sleep(float(rng.uniform(0, 1)))
            running.send_signal(signal.SIGKILL if number != 1 else signal.SIGTERM)
            running.communicate()
        gateway.until = None
        running = start(broker, topic, gateway, tmp_path)
        until(broker, topic, running, len(tape))
        stopped(running)
        assert sum("start" in asked[1] for asked in gateway.asked) >= 2
    assert of_topic(broker, topic) == by_symbol(tape)


def test_what_the_gateway_does_not_replay_any_more_is_marked(
    broker: Any, tape: Array, tmp_path: Path
) -> None:
    """Each instrument's first record behind the gap says so."""
    topic = broker.topic(partitions=3)
    first, behind = 12_000, 14_000
    with Gateway(tape, SYMBOLS, scripts=[Script(), Script(until=first), Script(aged=behind)]) as gateway:
        running = start(broker, topic, gateway, tmp_path)
        until(broker, topic, running, len(tape) - behind + first)
        assert "records are missing" in stopped(running)
    assert of_topic(broker, topic) == by_symbol(np.concatenate([tape[:first], tape[behind:]]))
    since = int(tape["ts_recv"][:first].max())
    marked: dict[str, list[Any]] = {}
    for message in broker.messages(topic):
        headers = dict(message.headers())
        for place, *mark in orjson.loads(headers.get("gaps", b"[]")):
            record = np.frombuffer(message.value(), TRADE)[place]
            marked.setdefault(message.key().decode(), []).append([int(record["sequence"]), *mark])
    later = tape[behind:]
    later = later[later["price"] < 2**62]
    assert len(marked) > 3
    for key, marks in marked.items():
        (number,) = (number for number, name in SYMBOLS.items() if name == key)
        own = int(later[later["instrument_id"] == number]["sequence"][0])
        told = number == int(later["instrument_id"][0])
        assert marks == [[own, since, 0, told]]


@pytest.mark.parametrize(
    ("script", "changes", "words"),
    [
        (Script(refuse="No such user"), {}, ("refuses the key", "No such user")),
        (Script(error=(5, "Unknown schema")), {}, ("refuses the subscription", "Unknown schema")),
        (Script(), {"LIVE__SYMBOLS": "[]"}, ("live.symbols",)),
        (Script(), {"KAFKA__BROKERS": "127.0.0.1:1"}, ("kafka.brokers", "127.0.0.1:1")),
    ],
)
def test_what_is_wrong_is_one_line(
    script: Script, changes: dict[str, str], words: tuple[str, ...], broker: Any, tape: Array, tmp_path: Path
) -> None:
    with Gateway(tape[:10], SYMBOLS, scripts=[script] * 4) as gateway:
        running = start(broker, broker.topic(), gateway, tmp_path, **changes)
        _, err = running.communicate(timeout=280)
    assert running.returncode == 2, err
    (line,) = [line for line in err.splitlines() if not line[:1].isdigit()]
    assert [word for word in words if word not in line] == []
    assert KEY not in err


@pytest.mark.parametrize("seconds", [1.0, 2.0, 3.0])
def test_a_stop_at_any_moment_of_the_start_is_heard(
    seconds: float, broker: Any, tape: Array, tmp_path: Path
) -> None:
    with Gateway(tape[:10], SYMBOLS) as gateway:
        running = start(broker, "early", gateway, tmp_path)
        time.sleep(seconds)
        running.terminate()
        _, err = running.communicate(timeout=280)
    # Before Python has read the first module of ours a signal ends the process where it stands.
    assert running.returncode in (0, -signal.SIGTERM), err
