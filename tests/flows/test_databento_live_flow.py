"""The market flow on a live session: what a file of the same tape gives, whatever happens to the connection."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.dbn_records import DbnRecords
from connectors.dbn_writer import write_dbn
from tapewatch.records import DAY, Array
from tests.conftest import read_tables
from tests.connectors.live_gateway import DATASET, KEY, Gateway, Script
from tests.examples import tried
from tests.flows.test_market_crash import records_written, recovery
from tests.made_trades import SYMBOLS

pytest.importorskip("databento")

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "5",
    "sinks__scores": "true",
    "sinks__bars": ["1s", "1m"],
    "detectors__high_volume__baseline_windows": "10",
    "detectors__high_volume__width": "10s",
}
#: What is counted of connections, not of records.
_OF_CONNECTIONS = {"disconnections", "gateway_errors", "slow_reader_warnings"}


@pytest.fixture(scope="module")
def tape(trades: Any) -> Array:
    """Return three days of trades with a few unfit ones among them, and many that are identical."""
    records: Array = trades(21, count=15_000, instruments=8)
    records = np.repeat(records, np.random.default_rng(2).integers(1, 4, len(records)))
    records["price"][::1_000] = 2**63 - 1
    records["size"][7::1_000] = 0
    return records


@pytest.fixture(scope="module")
def wanted(
    tape: Array, write: Any, run_market: Flow, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    """Return the results of a file of the tape."""
    folder = tmp_path_factory.mktemp("file")
    assert run_market(folder, [write(folder / "tape.dbn", tape, DATASET)], **SETTINGS).returncode == 0
    results = read_tables(folder / "results.db")
    assert {row[4] for row in results["anomalies"]} >= {"high_volume", "block_trade"}
    return results


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABENTO_API_KEY", KEY)


def gateway(tape: Array, **options: Any) -> Gateway:
    ids = np.unique(tape["instrument_id"]).tolist()
    return Gateway(tape, {number: SYMBOLS[number] for number in ids if number in SYMBOLS}, **options)


def live(port: int) -> dict[str, object]:
    return {
        **SETTINGS, "source__kind": "live", "live__dataset": DATASET, "live__symbols": ["ALL_SYMBOLS"],
        "live__gateway": "127.0.0.1", "live__port": str(port),
    }  # fmt: skip


def until(running: subprocess.Popen[str], folder: Path, count: int, seconds: float = 280) -> None:
    """Wait until the results are of so many records."""
    end = time.monotonic() + seconds
    while records_written(folder) < count:
        assert running.poll() is None, running.communicate()[1]
        assert time.monotonic() < end, f"{records_written(folder)} of {count}"
        time.sleep(0.02)


def stopped(running: subprocess.Popen[str]) -> str:
    """Stop a run gracefully and return what it said."""
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=280)
    assert (running.returncode, out) == (0, ""), err
    assert KEY not in err
    assert "Traceback" not in err
    return err


def results(folder: Path) -> dict[str, list[Any]]:
    found = read_tables(folder / "results.db")
    return {**found, "counters": [row for row in found["counters"] if row[0] not in _OF_CONNECTIONS]}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_session_gives_what_a_file_gives(
    workers: str, tape: Array, wanted: dict[str, Any], start_market: Start, tmp_path: Path
) -> None:
    with gateway(tape) as serving:
        running = start_market(tmp_path, [], "-w", workers, **live(serving.port))
        until(running, tmp_path, len(tape))
        assert stopped(running) == ""
    assert results(tmp_path) == wanted
    assert serving.asked[0][1]["schema"] == "trades"
    assert "start" not in serving.asked[0][1]


@pytest.mark.parametrize("seed", [1, 2])
def test_disconnections_change_nothing(
    seed: int, tape: Array, wanted: dict[str, Any], start_market: Start, tmp_path: Path
) -> None:
    """Clean ends, resets, ends within a record, refusals in between: nothing is lost, nothing doubled."""
    rng = np.random.default_rng(seed)
    places = np.sort(rng.integers(1, len(tape), 6)).tolist()
    scripts = [
        Script(until=at, cut=int(rng.integers(0, 48)), reset=bool(rng.random() < 0.5)) for at in places
    ]
    scripts.insert(3, Script(refuse="Connection limit exceeded"))
    scripts.insert(5, Script(error=(6, "Internal error")))
    with gateway(tape, scripts=scripts, seed=seed) as serving:
        running = start_market(tmp_path, [], **live(serving.port))
        until(running, tmp_path, len(tape))
        said = stopped(running)
    assert "comes in again" in said
    assert len(serving.asked) == len(scripts) + 1
    assert results(tmp_path) == wanted
    assert dict(read_tables(tmp_path / "results.db")["counters"])["disconnections"] >= 6


def test_a_real_tape_gives_what_its_file_gives(
    data: Path, start_market: Start, run_market: Flow, tmp_path: Path
) -> None:
    """Gold futures of a day, eight contracts, with times of event and receipt as they are."""
    source = data / "dbn" / "glbx-mdp3-20131007.gc.trades.dbn.zst"
    reader = DbnRecords(source, 1 << 20)
    records = np.concatenate([block.records for block in reader.blocks()])
    day = int(records["ts_recv"][0]) // DAY
    symbols = {
        number: reader.header.symbols.key(number, day)
        for number in np.unique(records["instrument_id"]).tolist()
    }
    reader.close()
    folder = tmp_path / "file"
    folder.mkdir()
    write_dbn(folder / "tape.dbn", records, symbols, dataset=DATASET)
    assert run_market(folder, [folder / "tape.dbn"], **SETTINGS).returncode == 0
    scripts = [Script(until=at, cut=9, reset=at % 2 == 0) for at in (5_000, 20_001, 20_002, 33_333)]
    with Gateway(records, symbols, scripts=scripts) as serving:
        running = start_market(tmp_path, [], **live(serving.port))
        until(running, tmp_path, len(records))
        stopped(running)
    assert results(tmp_path) == results(folder)


@pytest.mark.parametrize(("epoch", "workers", "seed"), [("0", "1", 1), ("1", "2", 2)])
def test_kills_and_resumes_change_nothing(
    epoch: str, workers: str, seed: int, tape: Array, wanted: dict[str, Any], start_market: Start, tmp_path: Path
) -> None:  # fmt: skip
    options = ["-w", workers, "-r", recovery(tmp_path, 2), "-s", epoch, "-b", "0"]
    rng = np.random.default_rng(seed)
    with gateway(tape, seed=seed) as serving:
        for number in range(runs := max(tried(5), 3)):
            # More than there was, and never all.
            serving.until = (number + 1) * len(tape) // (runs + 1)
            running = start_market(tmp_path, [], *options, **live(serving.port))
            until(running, tmp_path, min(records_written(tmp_path) + 1, len(tape)))
            time.sleep(float(rng.uniform(0, 0.5)))
            # Without any snapshot a run begins anew, with what happens from then on.
            running.send_signal(signal.SIGKILL if number and rng.random() < 0.75 else signal.SIGTERM)
            running.communicate()
        assert records_written(tmp_path) < len(tape)
        serving.until = None
        running = start_market(tmp_path, [], *options, **live(serving.port))
        until(running, tmp_path, len(tape))
        stopped(running)
    assert results(tmp_path) == wanted
    assert "start" not in serving.asked[0][1]
    assert all("start" in asked[1] for asked in serving.asked[1:])


def test_a_run_resumed_under_another_gateway_that_selects_by_receipt_changes_nothing(
    tape: Array, wanted: dict[str, Any], start_market: Start, tmp_path: Path
) -> None:
    options = ["-r", recovery(tmp_path), "-s", "0", "-b", "0"]
    for end in (len(tape) // 3, len(tape)):
        with gateway(tape[:end], selects="ts_recv") as serving:
            serving.sent = 0 if end < len(tape) else len(tape) // 3
            running = start_market(tmp_path, [], *options, **live(serving.port))
            until(running, tmp_path, end)
            stopped(running)
    assert results(tmp_path) == wanted


def test_records_that_are_really_missing_are_a_gap_that_is_not_judged_across(
    tape: Array, write: Any, start_market: Start, run_market: Flow, tmp_path: Path
) -> None:
    first, behind = 15_000, 16_500
    with gateway(tape, scripts=[Script(until=first), Script(aged=behind)]) as serving:
        running = start_market(tmp_path, [], **live(serving.port))
        until(running, tmp_path, len(tape) - behind + first)
        said = stopped(running)
    assert "records are missing" in said
    found = read_tables(tmp_path / "results.db")
    assert dict(found["counters"])["gaps"] == 1

    folder = tmp_path / "file"
    folder.mkdir()
    path = write(folder / "tape.dbn", np.concatenate([tape[:first], tape[behind:]]), DATASET)
    assert run_market(folder, [path], **SETTINGS).returncode == 0
    unaware = read_tables(folder / "results.db")
    assert found["bars"] == unaware["bars"]
    told, imagined = (
        [
            row
            for row in t["anomalies"]
            if row[4] == "feed_integrity" and "The feed was interrupted" in repr(row)
        ]
        for t in (found, unaware)
    )
    assert (len(told), imagined) == (1, [])
    since = int(tape["ts_recv"][first - 1])
    judged, all_judged = (
        {(row[2], row[5]) for row in t["scores"] if row[1] == "high_volume"} for t in (found, unaware)
    )
    assert judged < all_judged
    touched = all_judged - judged
    # Of each instrument the window in which the gap began, and the next one with trades after it.
    assert all(end > since for _, end in touched)
    assert len(touched) <= 3 * len(np.unique(tape["instrument_id"]))


BAD: dict[str, tuple[dict[str, object], str | None, tuple[str, ...]]] = {
    "no key": ({}, "", ("DATABENTO_API_KEY", "not set")),
    "short key": ({}, KEY[:-1], ("DATABENTO_API_KEY", "`db-`", "32")),
    "key of another kind": ({}, "sk-" + KEY[3:], ("DATABENTO_API_KEY", "`db-`")),
    "wrong key": ({}, KEY[:-3] + "xyz", ("DATABENTO_API_KEY", "refuses the key", "authentication failed")),
    "no dataset": ({"live__dataset": ""}, KEY, ("live.dataset", "EQUS.MINI")),
    "no symbols": ({"live__symbols": []}, KEY, ("live.symbols", "ALL_SYMBOLS")),
    "unknown schema": ({"live__schema": "quotes"}, KEY, ("live.schema", "trades", "quotes")),
    "bad port": ({"live__port": "0"}, KEY, ("live.port", "65535")),
    "a symbol that would be two fields": ({"live__symbols": ["A|start=0"]}, KEY, ("live.symbols",)),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_line(
    name: str, tape: Array, run_market: Flow, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings, key, words = BAD[name]
    monkeypatch.setenv("DATABENTO_API_KEY", key or "")
    with gateway(tape[:100]) as serving:
        ended = run_market(tmp_path, [], **{**live(serving.port), **settings})
    assert (ended.returncode, ended.stdout) == (2, "")
    lines = [line for line in ended.stderr.splitlines() if not line[:1].isdigit()]
    assert len(lines) == 1, ended.stderr
    assert [word for word in words if word not in lines[0]] == []
    for secret in (KEY, key):
        assert not secret or secret not in ended.stderr


def test_a_refused_subscription_is_one_line(tape: Array, run_market: Flow, tmp_path: Path) -> None:
    with gateway(tape, scripts=[Script(error=(5, "Unknown dataset\n\x1b[31m" + KEY))] * 3) as serving:
        ended = run_market(tmp_path, [], **live(serving.port))
    assert ended.returncode == 2
    (line,) = [line for line in ended.stderr.splitlines() if not line[:1].isdigit()]
    assert "refuses the subscription" in line
    assert "Unknown dataset" in line
    assert KEY not in ended.stderr
    assert "\x1b" not in ended.stderr


def test_without_the_library_there_is_one_line(start_market: Start, tmp_path: Path) -> None:
    running = start_market(tmp_path, [], patch="import sys; sys.modules['databento'] = None", **live(1))
    out, err = running.communicate(timeout=280)
    assert (running.returncode, out) == (2, "")
    assert err.count("\n") == 1
    assert "tapewatch[live]" in err


def test_the_key_may_stand_in_dotenv(
    tape: Array, start_market: Start, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DATABENTO_API_KEY")
    (tmp_path / ".env").write_text(f"DATABENTO_API_KEY={KEY}\n")
    with gateway(tape[:500]) as serving:
        running = start_market(tmp_path, [], **live(serving.port))
        until(running, tmp_path, 500)
        stopped(running)


def test_a_gateway_that_does_not_answer_is_awaited_and_the_wait_ends_at_once(
    tape: Array, start_market: Start, tmp_path: Path
) -> None:
    with gateway(tape[:1]) as serving:
        port = serving.port
    running = start_market(tmp_path, [], **live(port))
    assert running.stderr is not None
    line = running.stderr.readline()
    assert f"127.0.0.1:{port}" in line
    assert "trying again" in line
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(1.0)
    stopped(running)


def test_a_silent_connection_does_not_hold_up_the_stop(
    tape: Array, start_market: Start, tmp_path: Path
) -> None:
    with gateway(tape, scripts=[Script(silent=True)]) as serving:
        running = start_market(tmp_path, [], **live(serving.port))
        end = time.monotonic() + 200
        while not serving.asked and time.monotonic() < end:
            time.sleep(0.05)
        assert serving.asked
        assert stopped(running) == ""


def test_a_reader_that_was_cut_off_for_being_slow_misses_nothing(
    tape: Array, wanted: dict[str, Any], start_market: Start, tmp_path: Path
) -> None:
    """A process that stands still is cut off by the gateway, comes back, and gets the rest."""
    with gateway(tape, patience=280.0) as serving:
        serving.until = 5_000
        running = start_market(tmp_path, [], **live(serving.port))
        until(running, tmp_path, 1)
        os.kill(running.pid, signal.SIGSTOP)
        serving.until, serving.patience = None, 0.3
        end = time.monotonic() + 200
        while not serving.slow and time.monotonic() < end:
            time.sleep(0.05)
        serving.patience = 280.0
        os.kill(running.pid, signal.SIGCONT)
        assert serving.slow == 1
        until(running, tmp_path, len(tape))
        stopped(running)
    assert results(tmp_path) == wanted
