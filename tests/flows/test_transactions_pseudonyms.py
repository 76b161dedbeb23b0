"""With pseudonyms no id of a user is in what the flow writes, logs or remembers, and it finds the same."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import orjson
import pytest

from scoring.scorer import Scorer
from tapewatch.pseudonyms import Pseudonyms
from tapewatch.settings import Settings
from tests.connectors.made_payments import simulated
from tests.flows.test_transactions import finish, start

KEY = "a-key-that-only-the-tests-have"
ID = "user-named-"
_LINES = 900


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with payments of users whose ids can be told from anything else; some lines are bad."""
    place = tmp_path_factory.mktemp("people")
    rows = [orjson.loads(line) for _, line in simulated().lines()][:_LINES]
    for row in rows:
        row["user_id"] = f"{ID}{row['user_id']}"
    rows[100]["amount"] = -77.125
    rows[101]["user_id"] = f"{ID}{'x' * 300}"
    rows[102]["location_distance_km"] = "far"
    (place / "p.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return place


def run(folder: Path, name: str, *flags: str, **settings: str) -> str:
    paths = f'["{folder / "p.jsonl"}"]'
    process = start(folder, name, *flags, SOURCE__PATHS=paths, SOURCE__ON_ERROR="skip", **settings)
    status, told = finish(process)
    assert status == 0, told
    return told


def found(path: Path) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as connection:
        query = "SELECT transaction_id, detector, severity, score FROM anomalies ORDER BY 1, 2"
        return connection.execute(query).fetchall()


def test_no_id_is_anywhere_and_what_is_found_is_the_same(folder: Path, tmp_path: Path) -> None:
    plain_log = run(folder, "plain.db")
    recovery = tmp_path / "recovery"
    recovery.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(recovery), "1"], check=True)
    hidden = {"PSEUDONYMISE": "true", "PSEUDONYM_KEY": KEY}
    log = run(folder, "hidden.db", "-r", str(recovery), "-s", "0", "-b", "0", **hidden)
    assert found(folder / "hidden.db") == found(folder / "plain.db") != []
    with sqlite3.connect(folder / "hidden.db") as connection:
        people = [name for (name,) in connection.execute("SELECT user_id FROM profiles")]
        keys = {name for (name,) in connection.execute("SELECT DISTINCT key FROM anomalies")}
    with sqlite3.connect(folder / "plain.db") as connection:
        ids = [name for (name,) in connection.execute("SELECT user_id FROM profiles")]
    assert set(people) == set(Pseudonyms(KEY.encode()).all_of(ids)) >= keys
    assert ID.encode() in (folder / "plain.db").read_bytes()
    for path in (folder / "hidden.db", next(recovery.iterdir())):
        assert people[0].encode() in path.read_bytes()
    for path in [*folder.glob("hidden.db*"), *recovery.iterdir()]:
        content = path.read_bytes()
        assert ID.encode() not in content
        assert KEY.encode() not in content
    rows = [orjson.loads(line) for line in (folder / "p.jsonl").read_bytes().splitlines()]
    for text in (plain_log, log):
        # Rows that are left out are named by their numbers: neither whose they are nor which payment is told.
        assert [line.split("p.jsonl, ")[1].split(":")[0] for line in text.splitlines()] == [
            "row 101", "row 102", "row 103",
        ]  # fmt: skip
        assert "77.125" in text
        assert not any(name in text for name in (ID, *people, *(row["transaction_id"] for row in rows)))


def test_a_prediction_finds_the_profile_of_who_is_named(folder: Path, tmp_path: Path) -> None:
    run(folder, "hidden.db", PSEUDONYMISE="true", PSEUDONYM_KEY=KEY)
    row = orjson.loads((folder / "p.jsonl").read_bytes().splitlines()[0])
    sinks = {"sqlite": {"path": str(folder / "hidden.db")}}
    hidden = Settings(sinks=sinks, transactions={"pseudonymise": True, "pseudonym_key": KEY})
    with closing(Scorer(hidden)) as known, closing(Scorer(Settings(sinks=sinks))) as unknown:
        (own,), (other,) = known.score([row]), unknown.score([row])
    assert (own["basis"], other["basis"]) == ("profile", "population")
    assert ID not in own["reason"]


@pytest.mark.parametrize("settings", [{}, {"PSEUDONYM_KEY": "too-short"}])
def test_without_a_key_nothing_is_read(folder: Path, settings: dict[str, str]) -> None:
    paths = f'["{folder / "p.jsonl"}"]'
    status, told = finish(start(folder, "none.db", SOURCE__PATHS=paths, PSEUDONYMISE="true", **settings))
    assert (status, told.count("\n")) == (2, 1)
    assert "at least 16" in told
    assert "too-short" not in told


def test_profiles_from_history_bear_the_same_names(folder: Path, tmp_path: Path) -> None:
    rows = [orjson.loads(line) for line in (folder / "p.jsonl").read_bytes().splitlines()][:90]
    (tmp_path / "p.jsonl").write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    env = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")} | {
        "TAPEWATCH_TRANSACTIONS__SOURCE__PATHS": '["p.jsonl"]',
        "TAPEWATCH_TRANSACTIONS__PSEUDONYMISE": "true",
        "TAPEWATCH_TRANSACTIONS__PSEUDONYM_KEY": KEY,
        "TAPEWATCH_SINKS__SQLITE__PATH": "p.db",
    }
    code = "from tapewatch.cli import main; main()"
    command = [sys.executable, "-c", code, "init", "profiles"]
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "p.db") as connection:
        people = {name for (name,) in connection.execute("SELECT user_id FROM profiles")}
    assert people == set(Pseudonyms(KEY.encode()).all_of(row["user_id"] for row in rows))
