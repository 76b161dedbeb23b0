"""What is wrong with settings is told in one line that names it, and shows no secret."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapewatch.settings import load
from tapewatch.settings_errors import shown
from tests.tapewatch import made_settings
from tests.tapewatch.made_settings import message

place = made_settings.place

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
