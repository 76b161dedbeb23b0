"""SASL and TLS against the broker's real listeners: what is right works, what is wrong is told in a line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

runs: Any = import_module("tests.flows.kafka_runs")

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
_SECRET = "hub-secret"  # noqa: S105 - that of a broker for tests
_LISTENERS = {"SASL_PLAINTEXT": 1, "SASL_SSL": 2, "SSL": 3}


def options(broker: Any, protocol: str, mechanism: str = "", password: str = _SECRET) -> dict[str, str]:
    found = {"security.protocol": protocol}
    if protocol.endswith("SSL"):
        found["ssl.ca.location"] = str(broker.authority)
    if mechanism:
        found |= {"sasl.mechanism": mechanism, "sasl.username": "hub", "sasl.password": password}
    return found


RIGHT = [
    ("SASL_PLAINTEXT", "PLAIN"), ("SASL_PLAINTEXT", "SCRAM-SHA-256"), ("SASL_SSL", "PLAIN"),
    ("SASL_SSL", "SCRAM-SHA-512"), ("SSL", ""),
]  # fmt: skip


def settings(broker: Any, topic: str, protocol: str, given: dict[str, str]) -> dict[str, object]:
    address = f"127.0.0.1:{broker.port + _LISTENERS[protocol]}"
    return broker.settings(topic, kafka__brokers=address, kafka__options=given)  # type: ignore[no-any-return]


def tapewatch(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    code = "from tapewatch.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=env,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@pytest.mark.parametrize(("protocol", "mechanism"), RIGHT)
def test_each_listener_lets_in_who_may_come(
    protocol: str, mechanism: str, trades: Any, write: Any, broker: Any, start_market: Start, tmp_path: Path
) -> None:
    """A tape is read, its results are written back, and what cannot be read is sent off."""
    path = write(tmp_path / "tape.dbn", trades(1, count=4_000))
    topic, found = broker.topic(1), broker.topic(1)
    broker.produce(topic, *runs.messages_of(path, "dbn"), (b"x", b"junk"))
    given = {
        **settings(broker, topic, protocol, options(broker, protocol, mechanism)), "sinks__kafka__topic": found,
        "sinks__kinds": ["sqlite", "kafka"], "alerts__per_key_per_day": 50,
    }  # fmt: skip
    assert runs.run_until(start_market, tmp_path, 4_000, dead=1, **given) == [""]
    assert broker.count(f"{topic}.dead") == 1
    assert broker.count(found) > 0


@pytest.mark.parametrize(
    ("protocol", "changes", "words"),
    [
        ("SASL_PLAINTEXT", {"sasl.mechanism": "PLAIN", "sasl.password": "hunter2"}, ("sasl.password",)),
        ("SASL_SSL", {"sasl.mechanism": "SCRAM-SHA-256", "sasl.password": "hunter2"}, ("sasl.password",)),
        ("SASL_SSL", {"sasl.mechanism": "PLAIN", "ssl.ca.location": "other"}, ("certificate", "ssl.ca.location")),
        ("SSL", {"ssl.ca.location": "other"}, ("certificate", "ssl.ca.location")),
        ("SSL", {"ssl.ca.location": "missing.pem"}, ("ssl.ca.location",)),
        ("SSL", {"security.protocol": "PLAINTEXT"}, ("security.protocol",)),
        ("SASL_SSL", {"sasl.mechanism": "HUNTER"}, ("HUNTER",)),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_in_one_line_without_secrets(
    protocol: str,
    changes: dict[str, str],
    words: tuple[str, ...],
    broker: Any,
    run_market: Flow,
    tmp_path: Path,
) -> None:
    given = options(broker, protocol, "PLAIN" if protocol.startswith("SASL") else "") | changes
    if given.get("ssl.ca.location") == "other":
        command = "req -x509 -newkey rsa:2048 -nodes -subj /CN=other -keyout key.pem -out other.pem"
        subprocess.run(["openssl", *command.split()], cwd=tmp_path, check=True, capture_output=True)
        given["ssl.ca.location"] = str(tmp_path / "other.pem")
    asked = settings(broker, broker.topic(1), protocol, given)
    ended = run_market(tmp_path, [], **asked)
    env = {
        f"TAPEWATCH_{name.upper()}": value if isinstance(value, str) else orjson.dumps(value).decode()
        for name, value in asked.items()
        if name.startswith("kafka")
    }
    session = tapewatch("simulate", "market", "--out", str(tmp_path / "a.dbn"), "--minutes", "5", env={})
    assert session.returncode == 0
    replayed = tapewatch("replay", str(tmp_path / "a.dbn"), "--topic", "any", env=env)
    for said in (ended, replayed):
        assert said.returncode == 2, said.stderr
        assert said.stderr.count("\n") == 1
        assert said.stderr.startswith("tapewatch: `kafka.")
        for word in words:
            assert word in said.stderr
        assert "hunter2" not in said.stderr
        assert _SECRET not in said.stderr
