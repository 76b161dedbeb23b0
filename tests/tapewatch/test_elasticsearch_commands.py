"""The commands with Elasticsearch: right and wrong servers, authorities and users, told in one line."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import connect
from connectors.elasticsearch_schema import create
from tapewatch.records import DAY
from tests.forked_python import run_python, tapewatch

make: Any = import_module("tests.connectors.made_results")
server: Any = import_module("tests.elasticsearch_server")

PREFIX = "TAPEWATCH_SINKS__ELASTICSEARCH__"


def environment(place: Any, **changes: str) -> dict[str, str]:
    """Return an environment in which Elasticsearch is the store."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
    named = {
        "URL": place.url, "INDEX_PREFIX": place.index_prefix, "USERNAME": place.username,
        "PASSWORD": place.password.get_secret_value(), "CA_CERTS": place.ca_certs, **changes,
    }  # fmt: skip
    return {
        **kept,
        "TAPEWATCH_SINKS__KINDS": '["elasticsearch"]',
        **{PREFIX + n: v for n, v in named.items()},
    }


def run(
    folder: Path, place: Any, *arguments: str, code: str = "", **changes: str
) -> subprocess.CompletedProcess[str]:
    code = f"{code}\nfrom tapewatch.cli import main; main()"
    return run_python(code, *arguments, cwd=folder, env=environment(place, **changes), timeout=280)


def done(folder: Path, place: Any, *arguments: str, **changes: str) -> str:
    ended = run(folder, place, *arguments, **changes)
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout


def refused(folder: Path, place: Any, *arguments: str, **changes: str) -> str:
    ended = run(folder, place, *arguments, **changes)
    assert ended.returncode == 2, ended
    (line,) = ended.stderr.splitlines()
    assert line.startswith("tapewatch: ")
    assert "hub-secret" not in ended.stdout + ended.stderr
    return line


def fill(place: Any, *results: Any) -> None:
    client = connect(place)
    create(client, place)
    writer = BulkWriter(client, place)
    writer.write(results)
    writer.refresh()
    client.close()


def some() -> Any:
    return make.results(
        anomalies=[make.anomaly(1), make.anomaly(2, detector="block_trade", severity=float("nan"))],
        bars=[make.bars(1, 2, 3)],
        scores=[make.scores(1.0)],
        late=make.late(1, 2),
        counters={"records": 1500, "late_records": 2},
    )


def test_init_is_safe_to_repeat(elasticsearch_settings: Any, tmp_path: Path) -> None:
    place = elasticsearch_settings
    assert f"{place.index_prefix}-* made; results are kept" in done(tmp_path, place, "init", "elasticsearch")
    fill(place, some())
    assert "were there already" in done(tmp_path, place, "init", "elasticsearch")
    assert len(server.documents(place, "anomalies")) == 2
    text = done(tmp_path, place, "init", "elasticsearch", RETENTION_DAYS="7")
    assert "this server has no ILM: run `tapewatch prune --days 7` once a day" in text


def test_stats(elasticsearch_settings: Any, tmp_path: Path) -> None:
    place = elasticsearch_settings
    assert "0 anomalies" in done(tmp_path, place, "stats")
    fill(place, some())
    text = done(tmp_path, place, "stats")
    assert "2 anomalies, 3 bars, 1 scores" in text
    assert "1,500 records" in text
    assert "block_trade: 1 anomalies, worst severity 0" in text
    found = orjson.loads(done(tmp_path, place, "stats", "--json"))
    assert found["counters"] == {"late_records": 2, "records": 1500}
    assert found["rates"]["ts_first"] == "2024-06-03T00:00:00.000000000Z"


def test_reset_deletes_results_but_not_reviews(elasticsearch_settings: Any, tmp_path: Path) -> None:
    place = elasticsearch_settings
    fill(place, some())
    client = connect(place)
    review = {"anomaly_id": "a", "label": 1, "reviewer": "me", "reviewed_at": make.MONDAY}
    BulkWriter(client, place).write_documents("reviews", [review])
    other = f"{place.index_prefix}-bars-of-somebody"
    client.indices.put_index_template(
        name=f"{place.index_prefix}-zz", index_patterns=[f"{other}*"], priority=999, template={}
    )
    client.indices.create(index=other)
    assert "tapewatch reset --yes" in refused(tmp_path, place, "reset")
    text = done(tmp_path, place, "reset", "--yes")
    assert text == f"Wiped 2 anomalies, 3 bars, 1 scores, 2 late, 2 counters at {place.url}\n"
    assert sorted(client.indices.get(index=f"{place.index_prefix}-*")) == [
        other, f"{place.index_prefix}-reviews-2024.06.03",
    ]  # fmt: skip
    assert "Wiped 0 anomalies, 0 bars" in done(tmp_path, place, "reset", "--yes")
    client.indices.delete_index_template(name=f"{place.index_prefix}-zz")
    client.close()


def day_with_some_time_left() -> int:
    """Return the number of a day that does not end within the next five minutes: the next one, if today does."""
    while time.time() % 86_400 > 86_400 - 300:
        time.sleep(1)
    return int(time.time()) // 86_400


def test_prune_deletes_days(elasticsearch_settings: Any, tmp_path: Path) -> None:
    place = elasticsearch_settings
    today = day_with_some_time_left()
    shift = today - make.MONDAY // DAY
    tables = [make.bars(5, day=shift - back) for back in (0, 1, 2, 3, 40)]
    people = [make.profile("away"), make.profile("here", last=today * 86_400 * 10**9)]
    fill(place, make.results(bars=tables, counters={"records": 1}, profiles=people), some())
    assert "Removed 0 anomalies, 0 bars" in done(tmp_path, place, "prune", "--days", "100000")
    text = done(tmp_path, place, "prune", "--days", "2")
    assert text == f"Removed 2 anomalies, 5 bars, 1 scores, 2 late, 1 profiles at {place.url}\n"
    days = sorted(document["ts_start"][:10] for document in server.documents(place, "bars").values())
    assert days == [f"{datetime.fromtimestamp((today - back) * 86_400, UTC):%Y-%m-%d}" for back in (2, 1, 0)]
    assert len(server.documents(place, "counters")) == 2
    assert [document["user_id"] for document in server.documents(place, "profiles").values()] == ["here"]
    assert "--days" in refused(tmp_path, place, "prune", "--days", "-1")


def test_commands_do_what_they_do_in_both_stores(elasticsearch_settings: Any, tmp_path: Path) -> None:
    both = {"TAPEWATCH_SINKS__KINDS": '["elasticsearch", "sqlite"]'}
    env = {**environment(elasticsearch_settings), **both}

    def of_both(*arguments: str) -> list[str]:
        ended = tapewatch(*arguments, cwd=tmp_path, env=env)
        ended.check_returncode()
        return ended.stdout.splitlines()

    of_both("init", "sqlite")
    assert len(of_both("prune", "--days", "1")) == 2
    assert len(of_both("reset", "--yes")) == 2
    assert any(line.startswith("ok       elasticsearch: ") for line in of_both("doctor"))


def test_the_doctor_looks_at_the_server(elasticsearch_settings: Any, tmp_path: Path) -> None:
    place = elasticsearch_settings
    assert "templates will be put by the first run" in done(tmp_path, place, "doctor")
    fill(place, some())
    assert "Elasticsearch 8.19.13, templates are there\n" in done(tmp_path, place, "doctor")
    client = connect(place)
    letter = {"index": "i", "document_id": "d", "error": "e", "reason": "r", "document": "{}"}
    writer = BulkWriter(client, place)
    writer.write_documents("dead-letters", [letter])
    writer.refresh()
    assert f"1 documents were refused, see {place.index_prefix}-dead-letters" in done(
        tmp_path, place, "doctor"
    )
    client.indices.delete_index_template(name=f"{place.index_prefix}-bars")
    assert "run `tapewatch init elasticsearch`" in refused(tmp_path, place, "doctor")
    client.close()


def test_a_server_that_is_not_there(elasticsearch_settings: Any, tmp_path: Path) -> None:
    away = elasticsearch_settings.model_copy(update={"url": "http://127.0.0.1:9"})
    for command in (
        ["init", "elasticsearch"], ["stats"], ["reset", "--yes"], ["prune", "--days", "1"], ["doctor"],
    ):  # fmt: skip
        line = refused(tmp_path, away, *command)
        assert "`sinks.elasticsearch.url` http://127.0.0.1:9 does not answer: connection refused" in line
    assert "no such host" in refused(tmp_path, away, "stats", URL="http://nowhere.invalid:9200")
    wrong = refused(tmp_path, away, "stats", URL=elasticsearch_settings.url.replace("http:", "https:"))
    assert "is it https that the server speaks there?" in wrong


def test_without_the_library_it_says_what_to_install(elasticsearch_settings: Any, tmp_path: Path) -> None:
    code = "import sys; sys.modules['elasticsearch'] = None"
    for command in (["init", "elasticsearch"], ["stats"], ["doctor"]):
        line = refused(tmp_path, elasticsearch_settings, *command, code=code)
        assert 'pip install "elasticsearch>=8.19,<9"' in line or "elasticsearch is not installed" in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"USERNAME": "me"}, "`sinks.elasticsearch.username` is set, but not `sinks.elasticsearch.password`"),
        (
            {"PASSWORD": "hub-secret"},
            "`sinks.elasticsearch.password` is set, but not `sinks.elasticsearch.username`",
        ),
        ({"USERNAME": "me", "PASSWORD": "hub-secret", "API_KEY": "x"}, "one of them is enough"),
        ({"API_KEY": "hub-secret\u2028"}, "must be printable ASCII"),
        ({"URL": "https://127.0.0.1:9", "CA_CERTS": "none.pem"}, "is none.pem, which is no file"),
        ({"URL": "https://127.0.0.1:9", "CA_CERTS": "text.pem"}, "is text.pem, which holds no certificates"),
    ],
)
def test_settings_that_do_not_fit_together(changes: dict[str, str], words: str, tmp_path: Path) -> None:
    (tmp_path / "text.pem").write_text("no certificate")
    place = server.ElasticsearchSettings(url="http://127.0.0.1:9")
    assert words in refused(tmp_path, place, "stats", **changes)


@pytest.fixture
def secured(secured_elasticsearch: Any) -> Iterator[Any]:
    with secured_elasticsearch.settings() as place:
        yield place


@contextmanager
def api_key(place: Any, roles: dict[str, Any]) -> Iterator[str]:
    client = connect(place)
    made = client.security.create_api_key(name="test", role_descriptors=roles)
    yield made["encoded"]
    client.security.invalidate_api_key(ids=[made["id"]])
    client.close()


def test_users_authorities_and_keys(
    secured: Any, tmp_path: Path, run_market: Any, trades: Any, write: Any
) -> None:
    assert "made" in done(tmp_path, secured, "init", "elasticsearch")
    fill(secured, some())
    assert "2 anomalies" in done(tmp_path, secured, "stats")
    assert "ok       elasticsearch" in done(tmp_path, secured, "doctor")

    line = refused(tmp_path, secured, "stats", **{"PASSWORD": "hub-secret-not"})
    assert (
        "does not let us in (401): `sinks.elasticsearch.username` 'hub' and its password are not valid"
        in line
    )
    line = refused(tmp_path, secured, "stats", USERNAME="", PASSWORD="")
    assert "(401): it wants `sinks.elasticsearch.api_key`, or `sinks.elasticsearch.username`" in line
    nobody = {"USERNAME": "", "PASSWORD": "", "API_KEY": "aHViOmh1Yi1zZWNyZXQ="}
    assert "`sinks.elasticsearch.api_key` is not valid there" in refused(tmp_path, secured, "stats", **nobody)

    line = refused(tmp_path, secured, "stats", CA_CERTS="")
    assert "cannot be trusted: " in line
    assert "unable to get local issuer certificate; `sinks.elasticsearch.ca_certs`" in line
    (tmp_path / "other.pem").write_text(Path(import_module("certifi").where()).read_text())
    assert "cannot be trusted" in refused(tmp_path, secured, "stats", CA_CERTS="other.pem")
    line = refused(tmp_path, secured, "stats", URL=secured.url.replace("https", "http"), CA_CERTS="")
    assert "is it https that the server speaks there?" in line

    # As the documentation says: a key that may only write to our indices runs a flow, and one that may only
    # read them shows it.
    writing = {"w": {"indices": [{"names": [f"{secured.index_prefix}-*"], "privileges": ["auto_configure", "index", "create_index", "read", "delete", "maintenance"]}]}}  # fmt: skip
    reading = {"r": {"indices": [{"names": [f"{secured.index_prefix}-*"], "privileges": ["read"]}]}}
    upkeep = {"u": {"cluster": ["monitor", "manage_index_templates"], "indices": [{"names": [f"{secured.index_prefix}-*"], "privileges": ["monitor", "maintenance", "view_index_metadata", "delete_index", "delete", "read"]}]}}  # fmt: skip
    path = write(tmp_path / "day.dbn", trades(1, count=2_000))
    settings = {f"sinks__elasticsearch__{n}": v for n, v in (
        ("url", secured.url), ("ca_certs", secured.ca_certs), ("index_prefix", secured.index_prefix)
    )}  # fmt: skip
    settings["sinks__kinds"] = ["sqlite", "elasticsearch"]
    with api_key(secured, writing) as key:
        ended = run_market(tmp_path, [path], sinks__elasticsearch__api_key=key, **settings)
        assert (ended.returncode, ended.stderr) == (0, "")
    with api_key(secured, reading) as key:
        as_reader = {"USERNAME": "", "PASSWORD": "", "API_KEY": key}
        assert "2,000 records" not in done(tmp_path, secured, "stats", **as_reader)
        assert "3,500 records" in done(tmp_path, secured, "stats", **as_reader)
        line = refused(tmp_path, secured, "reset", "--yes", **as_reader)
        assert "forbids it (403)" in line
        ended = run_market(tmp_path, [path], sinks__elasticsearch__api_key=key, **settings)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1
        assert "forbids it (403)" in ended.stderr
        assert key not in ended.stderr
    with api_key(secured, upkeep) as key:
        as_keeper = {"USERNAME": "", "PASSWORD": "", "API_KEY": key}
        assert "ok       elasticsearch" in done(tmp_path, secured, "doctor", **as_keeper)
        assert "Removed" in done(tmp_path, secured, "prune", "--days", "100000", **as_keeper)
        assert "3 bars" not in done(tmp_path, secured, "reset", "--yes", **as_keeper)
    ended = run_market(tmp_path, [path], sinks__elasticsearch__api_key="aHVi", **settings)
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "`sinks.elasticsearch.api_key` is not valid there" in ended.stderr
