"""The transaction flow as it is run: results, workers, batches, a crash, reviews, and what is refused."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from connectors.transaction_writer import write_transactions
from tests.connectors.made_payments import payments, simulated

_PREFIX = "TAPEWATCH_TRANSACTIONS__"


def start(folder: Path, name: str, *flags: str, plain: Any = None, **settings: str) -> subprocess.Popen[str]:
    """Start the flow; settings of the section ``transactions``, those of others are ``plain``."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("TAPEWATCH_")}
    env |= {
        f"{_PREFIX}SOURCE__PATHS": f'["{folder / "p.jsonl.zst"}"]',
        f"{_PREFIX}ALERTS_PER_DAY": "20",
        "TAPEWATCH_SINKS__SQLITE__PATH": str(folder / name),
        **{f"{_PREFIX}{key}": value for key, value in settings.items()},
        **{f"TAPEWATCH_{key}": value for key, value in (plain or {}).items()},
    }
    command = [sys.executable, "-m", "bytewax.run", "flows.transactions:flow", *flags]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, told = process.communicate(timeout=280)
    return process.returncode, told


def flow(folder: Path, name: str, *flags: str, **settings: str) -> dict[str, Any]:
    assert finish(start(folder, name, *flags, **settings)) == (0, "")
    return stored(folder / name)


def stored(path: Path) -> dict[str, Any]:
    connection = sqlite3.connect(path)
    fields = [row[1] for row in connection.execute("PRAGMA table_info(anomalies)") if row[1] != "detected_at"]
    found = {
        "anomalies": connection.execute(
            f"SELECT {', '.join(fields)} FROM anomalies ORDER BY id"  # noqa: S608
        ).fetchall(),
        "profiles": connection.execute("SELECT * FROM profiles ORDER BY user_id").fetchall(),
        "judges": connection.execute("SELECT * FROM judges").fetchall(),
        "counters": connection.execute("SELECT name, value FROM counters ORDER BY name").fetchall(),
    }
    connection.close()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("payments")
    write_transactions(place / "p.jsonl.zst", simulated())
    return place


@pytest.fixture(scope="module")
def usual(folder: Path) -> dict[str, Any]:
    return flow(folder, "usual.db")


def test_anomalies_and_profiles_are_stored(folder: Path, usual: dict[str, Any]) -> None:
    connection = sqlite3.connect(folder / "usual.db")
    assert connection.execute("SELECT count(*), sum(transactions) FROM profiles").fetchone() == (
        len(set(payments().users)), len(payments()),
    )  # fmt: skip
    found = connection.execute(
        "SELECT transaction_id, user_id, amount, merchant_category, location, payment_method, risk_level, key "
        "FROM anomalies WHERE detector = 'ensemble'"
    ).fetchall()
    connection.close()
    whole = payments()
    by_id = {name: place for place, name in enumerate(whole.ids)}
    assert found
    for name, user, amount, category, location, method, risk, key in found:
        place = by_id[name]
        assert (user, key, amount) == (whole.users[place], whole.users[place], whole.amounts[place])
        words = [whole.words[w][place] for w in ("merchant_category", "location", "payment_method")]
        assert [category, location, method] == words
        assert risk in ("low", "medium", "high", "critical")


def test_workers_and_batches_change_nothing(folder: Path, usual: dict[str, Any]) -> None:
    assert flow(folder, "cut.db", "-w", "3", SOURCE__BATCH_RECORDS="97") == usual


def test_a_killed_run_that_is_resumed_gives_the_same(folder: Path, usual: dict[str, Any]) -> None:
    recovery = folder / "recovery"
    recovery.mkdir()
    subprocess.run([sys.executable, "-m", "bytewax.recovery", str(recovery), "1"], check=True)
    flags = ("-r", str(recovery), "-s", "0", "-b", "0")
    process = start(folder, "crash.db", *flags, SOURCE__BATCH_RECORDS="60")
    deadline = time.monotonic() + 280
    while time.monotonic() < deadline and process.poll() is None:
        try:
            some = stored(folder / "crash.db")["counters"]
        except sqlite3.Error:
            some = []
        if some and some[0][1] > 600:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=280)
    done = dict(stored(folder / "crash.db")["counters"])["records"]
    assert done > 0
    assert flow(folder, "crash.db", *flags, SOURCE__BATCH_RECORDS="60") == usual
    status, told = finish(start(folder, "killed.db", *flags, SOURCE__SORT="true"))
    assert (status, told.count("\n")) == (2, 1)
    assert "`transactions.source.sort`" in told


def test_reviews_from_a_file_act(folder: Path, usual: dict[str, Any]) -> None:
    lines = ["transaction_id,label,reviewed_at"]
    for name, kind, ts in zip(payments().ids, simulated().kinds, payments().times.tolist(), strict=True):
        if kind:
            lines.append(f"{name},1,{ts + 2 * 86_400_000_000_000}")
    (folder / "reviews.csv").write_text("\n".join(lines) + "\n")
    with_reviews = {"FEEDBACK__REVIEWS": str(folder / "reviews.csv")}
    found = flow(folder, "reviewed.db", **with_reviews)
    counters = dict(found["counters"])
    assert counters["reviews"] > 50
    assert counters["confirmed.ensemble"] > 0
    assert flow(folder, "reviewed2.db", "-w", "2", SOURCE__BATCH_RECORDS="211", **with_reviews) == found


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SOURCE__PATHS": "[]"}, "`transactions.source.paths` is empty"),
        ({"SOURCE__PATHS": '["nothing.csv"]'}, "names nothing.csv, which does not exist"),
        ({"MODE": "private"}, "`transactions.mode` must be one of personal, standard"),
        ({"FEEDBACK__REVIEWS": "nothing.csv"}, "cannot read `transactions.feedback.reviews`"),
    ],
)
def test_mistakes_are_told_in_a_line(folder: Path, settings: dict[str, str], said: str) -> None:
    status, told = finish(start(folder, "refused.db", **settings))
    assert status == 2
    assert said in told
    assert told.count("\n") == 1


def test_a_bad_row_ends_the_run_or_is_left_out(folder: Path, tmp_path: Path) -> None:
    lines = [line for _, line in simulated().lines()][:400]
    lines[200] = b'{"transaction_id": "x"}'
    (tmp_path / "p.jsonl.zst").write_bytes(b"")
    (tmp_path / "p.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    path = {"SOURCE__PATHS": f'["{tmp_path / "p.jsonl"}"]'}
    status, told = finish(start(tmp_path, "bad.db", **path))
    assert (status, told.count("\n")) == (2, 1)
    assert "p.jsonl, row 201:" in told
    status, told = finish(start(tmp_path, "skipped.db", SOURCE__ON_ERROR="skip", **path))
    assert status == 0
    assert dict(stored(tmp_path / "skipped.db")["counters"]) == {"bad_rows": 1, "records": 399}
