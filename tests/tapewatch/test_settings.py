"""Settings: where each comes from, what each takes, and the one line for whatever is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from operators import transaction_detectors
from operators.detectors import KNOWN
from tapewatch.durations import duration_ns
from tapewatch.records import DAY
from tapewatch.settings import Settings, load
from tests.tapewatch import made_settings
from tests.tapewatch.made_settings import message

place = made_settings.place

_DOCUMENTATION = Path(__file__).parents[2] / "docs" / "settings.md"


def keys(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Return each key of the settings with its default."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found |= keys(field.annotation, f"{prefix}{name}.")
        elif name != "detectors":
            default = field.get_default(call_default_factory=True)
            found[prefix + name] = default.get_secret_value() if isinstance(default, SecretStr) else default
    return found


def value_of(settings: Settings, key: str) -> Any:
    value: Any = settings
    for name in key.split("."):
        value = getattr(value, name)
    return value.get_secret_value() if isinstance(value, SecretStr) else value


#: For each key something other than its default, as a person writes it in TOML.
OTHERS: dict[str, Any] = {
    "source.kind": "dbn",
    "source.name": "paper",
    "source.speed": 2.5,
    "source.paths": ["a.dbn", "b*.dbn.zst"],
    "source.on_error": "skip",
    "source.batch_records": 1000,
    "windows.lateness": "500ms",
    "alerts.per_key_per_day": 2.5,
    "sinks.bars": ["10s", "1h"],
    "sinks.kinds": ["stdout"],
    "sinks.scores": True,
    "sinks.sqlite.path": "other.db",
    "sinks.kafka.topic": "found",
    "sinks.kafka.profiles_topic": "people",
    "sinks.notify.min_severity": 90.5,
    "sinks.notify.every": "1h",
    "kafka.brokers": "kafka:9092",
    "kafka.topic": "tape",
    "kafka.dead_letter_topic": "unread",
    "kafka.start": "latest",
    "kafka.group": "mine",
    "live.dataset": "GLBX.MDP3",
    "live.schema": "mbp-1",
    "live.symbols": ["ES.FUT"],
    "live.stype_in": "parent",
    "live.gateway": "127.0.0.1",
    "live.port": 9001,
    "api.host": "127.0.0.2",
    "api.port": 9000,
    "api.jwt.algorithm": "HS512",
    "api.jwt.audience": "tapewatch",
    "api.jwt.issuer": "https://login.example",
    "api.requests_per_second": 12.5,
    "api.burst": 50,
    "api.cors_origins": ["https://desk.example"],
    "metrics.host": "127.0.0.2",
    "metrics.port": 9464,
    "sinks.elasticsearch.url": "https://search.example:9201",
    "sinks.elasticsearch.username": "writer",
    "sinks.elasticsearch.ca_certs": "ca.pem",
    "sinks.elasticsearch.index_prefix": "paper",
    "sinks.elasticsearch.retention_days": 30,
    "sinks.elasticsearch.kibana_url": "http://kibana.example:5601",
    "dashboard.control": True,
    "dashboard.evaluations": ["mine.json"],
    "shards": 7,
    "transactions.mode": "standard",
    "transactions.alerts_per_day": 12.5,
    "transactions.pseudonymise": True,
    "transactions.source.kind": "kafka",
    "transactions.source.name": "cards",
    "transactions.source.paths": ["p*.csv"],
    "transactions.source.on_error": "skip",
    "transactions.source.batch_records": 500,
    "transactions.source.sort": True,
    "transactions.kafka.brokers": "kafka:9093",
    "transactions.kafka.topic": "payments",
    "transactions.kafka.dead_letter_topic": "unpaid",
    "transactions.kafka.start": "latest",
    "transactions.kafka.group": "payers",
    "transactions.profiles.idle_days": 30,
    "transactions.feedback.reviews": "reviews.csv",
    "transactions.feedback.store": True,
    "transactions.feedback.topic": "said",
    "transactions.feedback.poll_seconds": 0.5,
    "transactions.feedback.remember": 5000,
    "transactions.feedback.assume_legitimate_days": 3.5,
    "transactions.feedback.step_seconds": 3600,
}
#: Keys that only the environment may hold.
SECRETS = (
    "api.token", "api.jwt.key", "dashboard.token", "metrics.token", "sinks.elasticsearch.api_key", "sinks.elasticsearch.password",
    "sinks.notify.urls", "transactions.pseudonym_key",
)  # fmt: skip


def test_without_anything_all_is_default() -> None:
    settings = load()
    assert {key: value_of(settings, key) for key in keys(Settings)} == keys(Settings)
    assert settings.detectors == {}


def test_every_key_is_tried_here() -> None:
    tables = {"kafka.options", "transactions.kafka.options", "transactions.columns", "api.tokens"}
    assert OTHERS.keys() | set(SECRETS) | tables == keys(Settings).keys()


@pytest.mark.parametrize("key", OTHERS)
def test_environment_over_dotenv_over_file_over_default(
    key: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {"source.kind": "files"}.get(key, OTHERS[key])
    default = keys(Settings)[key]
    variable = "TAPEWATCH_" + key.upper().replace(".", "__")

    def as_variable(value: Any) -> str:
        return value if isinstance(value, str) else orjson.dumps(value).decode()

    table, _, name = key.rpartition(".")
    toml = (f"[{table}]\n" if table else "") + f"{name} = {as_variable(OTHERS[key])}"
    toml = toml if not isinstance(OTHERS[key], str) else toml.replace(OTHERS[key], f'"{OTHERS[key]}"')
    (place / "tapewatch.toml").write_text(toml)
    assert value_of(load(), key) == wanted

    (place / ".env").write_text(f"{variable}='{as_variable(default)}'\n")
    assert value_of(load(), key) == default

    monkeypatch.setenv(variable, as_variable(OTHERS[key]))
    assert value_of(load(), key) == wanted


def test_sources_are_merged_key_by_key(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "tapewatch.toml").write_text('[sinks]\nscores = true\nbars = ["1h"]\n[source]\nname = "file"\n')
    (place / ".env").write_text('TAPEWATCH_SINKS={"bars": ["1s"], "sqlite": {"path": "dot.db"}}\n')
    monkeypatch.setenv("TAPEWATCH_SINKS__SQLITE__PATH", "env.db")
    settings = load()
    assert (settings.sinks.scores, settings.sinks.bars) == (True, ["1s"])
    assert (settings.sinks.sqlite.path, settings.source.name) == ("env.db", "file")


@pytest.mark.parametrize("name", ["'security.protocol'", "security.protocol"])
def test_options_of_kafka_are_merged_name_by_name(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "tapewatch.toml").write_text(f"[kafka.options]\n{name} = 'SSL'\nclient.id = 'file'\n")
    (place / ".env").write_text('TAPEWATCH_KAFKA__OPTIONS={"linger.ms": 7, "client.id": "dot"}\n')
    monkeypatch.setenv("TAPEWATCH_KAFKA__OPTIONS", '{"sasl.password": "hunter2", "enable.x": true}')
    wanted = {"security.protocol": "SSL", "sasl.password": "hunter2", "enable.x": True}
    assert load().kafka.options == {**wanted, "linger.ms": 7, "client.id": "dot"}


def test_a_value_said_twice_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEWATCH_SINKS__BARS", '["1m", "1s", "1m"]')
    assert load().sinks.bars == ["1m", "1s"]


def test_detectors_keep_what_only_they_know(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "tapewatch.toml").write_text("[detectors.high_volume.limits]\nSPY = 20000\n")
    monkeypatch.setenv("TAPEWATCH_DETECTORS__HIGH_VOLUME__WIDTH", "10s")
    monkeypatch.setenv("TAPEWATCH_DETECTORS__BLOCK_TRADE", '{"enabled": false}')
    assert load().detectors == {
        "high_volume": {"limits": {"SPY": 20000}, "width": "10s"},
        "block_trade": {"enabled": False},
    }


@pytest.mark.parametrize("in_dotenv", [False, True])
def test_the_file_may_be_another(place: Path, monkeypatch: pytest.MonkeyPatch, *, in_dotenv: bool) -> None:
    (place / "tapewatch.toml").write_text("shards = 2")
    (place / "mine.toml").write_text("shards = 3")
    if in_dotenv:
        (place / ".env").write_text("TAPEWATCH_CONFIG=mine.toml")
    else:
        monkeypatch.setenv("TAPEWATCH_CONFIG", "mine.toml")
    assert load().shards == 3
    (place / "mine.toml").unlink()
    assert message() == "TAPEWATCH_CONFIG names mine.toml, which is no file"


def test_an_empty_config_is_none(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / "tapewatch.toml").write_text("shards = 2")
    monkeypatch.setenv("TAPEWATCH_CONFIG", "")
    assert load().shards == 2


def test_others_may_share_dotenv(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / ".env").write_text("# ours and theirs\nSHARDS=9\nAWS_SECRET=x\nexport TAPEWATCH_SHARDS=3\n")
    monkeypatch.setenv("SHARDS", "8")
    assert load().shards == 3


def test_variables_of_the_tests_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEWATCH_TEST_DATA", "/nowhere")
    monkeypatch.setenv("TAPEWATCH_REQUIRE_SERVICES", "0")
    assert load().shards == 4


@given(st.integers(0, DAY // 1_000_000))
def test_durations_are_exact(milliseconds: int) -> None:
    assert duration_ns(f"{milliseconds}ms") == milliseconds * 1_000_000
    whole, part = divmod(milliseconds, 1000)
    assert duration_ns(f"{whole}.{part:03d}s") == milliseconds * 1_000_000


def test_the_documentation_lists_every_key_with_its_default() -> None:
    rows = {
        cells[1].strip("` "): cells[2].strip()
        for cells in (line.split("|") for line in _DOCUMENTATION.read_text().splitlines())
        if len(cells) >= 5 and cells[1].strip().startswith("`")
    }
    wanted = keys(Settings)
    for detector in KNOWN:
        wanted |= keys(detector, f"detectors.{detector.name}.")
    for payments in transaction_detectors.KNOWN:
        wanted |= keys(payments, f"transactions.detectors.{payments.name}.")
    assert sorted(rows) == sorted(wanted)
    for key, default in wanted.items():
        text = default if isinstance(default, str) else orjson.dumps(default).decode().removesuffix(".0")
        wanted_text = "none" if default is None else f"`{text}`" if text else "empty"
        assert rows[key] == wanted_text, key


def test_settings_need_nothing_of_what_runs_a_flow() -> None:
    code = "import sys, tapewatch.settings; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert {"bytewax", "databento_dbn", "rich", "typer", "sqlite3"} & set(modules.split()) == set()
