"""Settings: where each comes from, what each takes, and the one line for whatever is wrong."""

from __future__ import annotations

import os
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
from tapewatch.errors import UserError
from tapewatch.records import DAY
from tapewatch.settings import Settings, load
from tapewatch.settings_errors import shown

_DOCUMENTATION = Path(__file__).parents[2] / "docs" / "settings.md"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in a folder of its own, without the settings of whoever runs it."""
    for variable in os.environ:
        if variable.upper().startswith("TAPEWATCH_"):
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)
    return tmp_path


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


def message() -> str:
    with pytest.raises(UserError) as caught:
        load()
    line = str(caught.value)
    assert "\n" not in line
    return line


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


_BARS = "`sinks.bars` must be a list of 1s, 10s, 1m, 1h, 1d"
_LATENESS = "`windows.lateness` must be a duration such as 500ms, 5s or 1m, at most 1d"
_BUDGET = "`alerts.per_key_per_day` must be a number above 0 up to 1000000"
_PATHS = '`source.paths` must be a list of texts, in JSON such as ["day.trades.dbn.zst"]'
_URL = "`sinks.elasticsearch.url` must be an address such as https://host:9200, without user or password"
_PREFIX = (
    "`sinks.elasticsearch.index_prefix` must be at most 63 of a-z, 0-9, _ and -, the first a letter or digit"
)
WRONG = {
    ("SOURCE__KIND", "tape"): "`source.kind` must be one of files, kafka, live, was 'tape'",
    ("SOURCE__ON_ERROR", "stop"): "`source.on_error` must be one of fail, skip, was 'stop'",
    ("SOURCE__SPEED", "fast"): "`source.speed` must be 'max' or a number above 0, was 'fast'",
    ("SOURCE__SPEED", "-1"): "`source.speed` must be 'max' or a number above 0, was '-1'",
    ("SOURCE__SPEED", "nan"): "`source.speed` must be 'max' or a number above 0, was 'nan'",
    ("SOURCE__SPEED", "inf"): "`source.speed` must be 'max' or a number above 0, was 'inf'",
    ("SOURCE__NAME", "x" * 201): "`source.name` must be a text of at most 200 characters, was 'xxx",
    ("SOURCE__PATHS", "[a.dbn"): f"{_PATHS}, was '[a.dbn'",
    ("SOURCE__PATHS", "a.dbn"): f"{_PATHS}, was 'a.dbn'",
    ("SOURCE__PATHS", "[1]"): "`source.paths` must be a list of texts, has 1",
    (
        "SOURCE__BATCH_RECORDS",
        "0",
    ): "`source.batch_records` must be a whole number from 1 up to",
    (
        "WINDOWS__LATENESS",
        "soon",
    ): f"{_LATENESS}, was 'soon'",
    ("WINDOWS__LATENESS", "5"): "`windows.lateness` must be a duration",
    ("WINDOWS__LATENESS", "-5s"): "`windows.lateness` must be a duration",
    (
        "WINDOWS__LATENESS",
        "2d",
    ): f"{_LATENESS}, was '2d'",
    ("WINDOWS__LATENESS", "999999999d"): "`windows.lateness` must be a duration",
    (
        "ALERTS__PER_KEY_PER_DAY",
        "0",
    ): f"{_BUDGET}, was '0'",
    (
        "ALERTS__PER_KEY_PER_DAY",
        "nan",
    ): f"{_BUDGET}, was 'nan'",
    ("SINKS", "nonsense"): """`sinks` must be a table, in JSON such as {"bars": ...}, was 'nonsense'""",
    ("SINKS", ""): "`sinks` must be a table",
    ("SINKS__BARS", '["1m", "7q"]'): f"{_BARS}, has '7q'",
    ("SINKS__BARS", "1m"): f"""{_BARS}, in JSON such as ["1m"], was '1m'""",
    ("SINKS__BARS", ""): f"{_BARS}, in JSON",
    (
        "SINKS__KINDS",
        '["paper"]',
    ): "`sinks.kinds` must be a list of sqlite, elasticsearch, stdout, kafka, notify, has 'paper'",
    (
        "SINKS__NOTIFY__URLS",
        "mailto://me:hunter2@host",
    ): '`sinks.notify.urls` must be a list of at most 20 addresses, in JSON such as ["mailto://user:password@'
    'example.com"], was something that is not shown',
    ("SINKS__NOTIFY__MIN_SEVERITY", "101"): "`sinks.notify.min_severity` must be a number from 0 up to 100",
    (
        "SINKS__NOTIFY__EVERY",
        "soon",
    ): "`sinks.notify.every` must be a duration such as 500ms, 5s, 1m, was 'soon'",
    ("SINKS__SCORES", "maybe"): "`sinks.scores` must be true or false, was 'maybe'",
    ("SINKS__SQLITE", "[]"): "`sinks.sqlite` must be a table",
    ("SINKS__SQLITE__PATH", ""): "`sinks.sqlite.path` must be a text of 1 or more characters, was ''",
    ("API__HOST", ""): "`api.host` must be a text of 1 or more characters, was ''",
    ("API__PORT", "65536"): "`api.port` must be a whole number from 0 up to 65535, was '65536'",
    ("API__TOKEN", "two words"): "`api.token` must be visible ASCII characters without spaces, was something",
    ("API__TOKEN", "schlüssel"): "`api.token` must be visible ASCII characters without spaces, was something",
    ("SINKS__ELASTICSEARCH__URL", "localhost:9200"): f"{_URL}, was 'localhost:9200'",
    ("SINKS__ELASTICSEARCH__URL", "ftp://host:9200"): _URL,
    ("SINKS__ELASTICSEARCH__URL", "http://host:port"): _URL,
    ("SINKS__ELASTICSEARCH__URL", "http://host:9200/?a=b"): _URL,
    ("SINKS__ELASTICSEARCH__URL", ""): _URL,
    ("SINKS__ELASTICSEARCH__INDEX_PREFIX", "Tape"): f"{_PREFIX}, was 'Tape'",
    ("SINKS__ELASTICSEARCH__INDEX_PREFIX", "-tape"): _PREFIX,
    ("SINKS__ELASTICSEARCH__INDEX_PREFIX", "tape*"): _PREFIX,
    ("SINKS__ELASTICSEARCH__INDEX_PREFIX", ""): _PREFIX,
    (
        "SINKS__ELASTICSEARCH__RETENTION_DAYS",
        "-1",
    ): "`sinks.elasticsearch.retention_days` must be a whole number",
    ("SHARDS", "0"): "`shards` must be a whole number from 1 up to 4096, was '0'",
    ("SHARDS", "many"): "`shards` must be a whole number from 1 up to 4096, was 'many'",
    ("SHARDS__X", "1"): "unknown key `shards.x`",
    ("DETECTORS", "3"): "`detectors` must be a table",
    ("DETECTORS__HIGH_VOLUME", "off"): "`detectors.high_volume` must be a table, was 'off'",
    ("SORCE__PATHS", "x"): "unknown key `sorce`; there are source, ",
    ("SINKS__SQLITE__PTH", "x"): "unknown key `sinks.sqlite.pth`; `sinks.sqlite` has path",
    ("SINKS__", "x"): "unknown key `sinks.`; `sinks` has bars,",
    ("SINKS", '{"sqlite": {"pth": 1}}'): "unknown key `sinks.sqlite.pth`; `sinks.sqlite` has path",
}


@pytest.mark.parametrize("in_dotenv", [False, True])
@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_a_wrong_variable_is_one_line_that_names_it(
    variable: str, value: str, place: Path, monkeypatch: pytest.MonkeyPatch, *, in_dotenv: bool
) -> None:
    if in_dotenv:
        (place / ".env").write_text(f"TAPEWATCH_{variable}='{value}'\n")
    else:
        monkeypatch.setenv(f"TAPEWATCH_{variable}", value)
    line = message()
    assert line.startswith(WRONG[variable, value])
    assert f"(in TAPEWATCH_{variable}" in line


WRONG_FILES = {
    "shards = 0": "`shards` must be a whole number from 1 up to 4096, was 0 (in tapewatch.toml)",
    "shards = 'x": "tapewatch.toml is no valid TOML: ",
    "shards = 1\nshards = 2": "tapewatch.toml is no valid TOML: ",
    "sinks = 3": "`sinks` must be a table, was 3 (in tapewatch.toml)",
    "[sinks]\nbars = '1m'": f"{_BARS}, was '1m' (in tapewatch.toml)",
    "[sinks]\nbars = ['2m']": f"{_BARS}, has '2m' (in tapewatch.toml)",
    "[sinks.sqlite]\npath = 7": "`sinks.sqlite.path` must be a text of 1 or more characters, was 7",
    "[source]\nspeed = true": "`source.speed` must be 'max' or a number above 0, was True",
    "[source]\npath = 'x'": "unknown key `source.path`; `source` has kind, name, speed, paths,",
    "[windows]\nlateness = 5": "`windows.lateness` must be a duration such as 500ms",
    "[detectors]\nhigh_volume = 3": "`detectors.high_volume` must be a table, was 3",
    "[api]\ntoken = 'x'": "`api.token` is a secret and must not be in tapewatch.toml; set TAPEWATCH_API__TOKEN",
    "api.token = 7": "`api.token` is a secret and must not be in tapewatch.toml",
    "[elastic]\ntopic = 'x'": "unknown key `elastic`; there are source, ",
    "[kafka]\ntopic = 'a b'": "`kafka.topic` must be a topic's name: up to 249 letters,",
    "[kafka.options]\na = [1]": "`kafka.options.a",
    "[kafka.options]\n'sasl.password' = 'hunter2'": "`kafka.options` has sasl.password, a secret, which must not",
    "[kafka.options]\nssl.key.password = 'hunter2'": "`kafka.options` has ssl.key.password, a secret, which must",
}


@pytest.mark.parametrize("toml", WRONG_FILES)
def test_a_wrong_file_is_one_line_that_names_it(toml: str, place: Path) -> None:
    (place / "tapewatch.toml").write_text(toml)
    assert message().startswith(WRONG_FILES[toml])


@pytest.mark.parametrize("name", ["tapewatch.toml", ".env"])
def test_a_file_that_is_no_text_is_one_line_that_names_it(name: str, place: Path) -> None:
    (place / name).write_bytes(b"\xff\xfe\x00")
    assert message().startswith(f"cannot read the settings in {name}: ")


def test_others_may_share_dotenv(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (place / ".env").write_text("# ours and theirs\nSHARDS=9\nAWS_SECRET=x\nexport TAPEWATCH_SHARDS=3\n")
    monkeypatch.setenv("SHARDS", "8")
    assert load().shards == 3


def test_variables_of_the_tests_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEWATCH_TEST_DATA", "/nowhere")
    monkeypatch.setenv("TAPEWATCH_REQUIRE_SERVICES", "0")
    assert load().shards == 4


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("SOURCE__API_KEY", "hunter2"),
        ("SINKS", '{"api_key": "hunter2"'),
        ("SINKS", '{"password": "hunter2"}'),
        ("SINKS__SQLITE", '["token", "hunter2"]'),
        ("DETECTORS__SECRET", "hunter2"),
        ("SINKS__BARS", '["api_key=hunter2"]'),
        ("SOURCE__SPEED", "https://me:hunter2@host"),
        ("API__TOKEN", "hunter2 hunter2"),
        ("API", '{"token": "hunter2\\n"}'),
        ("API", '{"token": ["hunter2"]}'),
        ("SINKS__ELASTICSEARCH__URL", "https://me:hunter2@host:9200"),
        ("SINKS__ELASTICSEARCH__URL", "https://me:x/hunter2@host:9200"),
        ("SINKS__ELASTICSEARCH__URL", "https://me:x@hunter2@host:9200"),
        ("SINKS__ELASTICSEARCH", '{"api_key": ["hunter2"]}'),
        ("SINKS__ELASTICSEARCH", '{"pasword": "hunter2"}'),
    ],
)
def test_secrets_are_never_printed(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"TAPEWATCH_{variable}", value)
    assert "hunter2" not in message()


def test_a_token_comes_from_the_environment_and_stays_hidden(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert load().api.token is None
    (place / ".env").write_text("TAPEWATCH_API__TOKEN=hunter1\n")
    for variable, value, wanted in (
        ("TAPEWATCH_API__PORT", "1", "hunter1"),
        ("TAPEWATCH_API__TOKEN", "hunter2", "hunter2"),
        ("TAPEWATCH_API__TOKEN", "", None),
    ):
        monkeypatch.setenv(variable, value)
        settings = load()
        assert (settings.api.token and settings.api.token.get_secret_value()) == wanted
        assert "hunter" not in repr(settings) + str(settings.model_dump()) + settings.model_dump_json()


def test_a_secret_in_the_file_is_refused_without_telling_it(place: Path) -> None:
    (place / "tapewatch.toml").write_text("[api]\ntoken = 'hunter2'\n")
    assert "hunter2" not in message()


def test_secrets_do_not_show_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPEWATCH_SINKS__ELASTICSEARCH__API_KEY", "hunter2")
    settings = load()
    assert "hunter2" not in repr(settings) + str(settings) + settings.model_dump_json()
    assert settings.sinks.elasticsearch.api_key.get_secret_value() == "hunter2"


@pytest.mark.parametrize(
    "toml", ["[sinks.elasticsearch]\nPASSWORD = 'hunter2'", "[sinks]\nelasticsearch.password = 'hunter2'"]
)
def test_a_secret_in_the_settings_file_is_refused_and_not_shown(toml: str, place: Path) -> None:
    (place / "tapewatch.toml").write_text(toml)
    line = message()
    assert "password" in line.lower()
    assert "hunter2" not in line


@given(st.text() | st.binary() | st.lists(st.text()) | st.dictionaries(st.text(), st.integers()))
def test_what_is_shown_is_short_and_one_line(value: object) -> None:
    text = shown("sinks.bars", value)
    assert len(text) <= 80
    assert "\n" not in text


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
