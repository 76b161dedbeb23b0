"""What was interrupted and resumed ends as if it had never been: kills, graceful stops, files that grow."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard

from connectors.dbn_writer import metadata
from operators.shards import shard_of
from tapewatch.records import DAY, TRADE, Array
from tests.examples import tried
from tests.flows.gated import GATED, allow

pytestmark = pytest.mark.xdist_group("market crash")  # what they share takes seconds to make

Flow = Callable[..., "subprocess.CompletedProcess[str]"]
Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]
SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "5",
    "sinks__scores": "true",
    "sinks__bars": ["1s", "1m"],
    "source__batch_records": "700",
    "detectors__high_volume__baseline_windows": "10",
    "detectors__high_volume__width": "10s",
}


@pytest.fixture(scope="module")
def tape(trades: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two files of three days each that overlap on one day, with a few unfit records."""
    folder = tmp_path_factory.mktemp("tape")
    paths = []
    for number in (0, 1):
        records = trades(number, count=20_000, instruments=8, first_day=2 * number)
        records["price"][::1_000] = 2**63 - 1
        records["size"][7::1_000] = 0
        paths.append(write(folder / f"{number}.dbn{'.zst' * number}", records))
    return paths


@pytest.fixture(scope="module")
def wanted(
    tape: list[Path], run_market: Flow, tables: Tables, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[Any]]:
    """Return the results of a run that nothing interrupts."""
    folder = tmp_path_factory.mktemp("plain")
    assert run_market(folder, tape, **SETTINGS).returncode == 0
    results = tables(folder / "results.db")
    assert {row[4] for row in results["anomalies"]} >= {"high_volume", "block_trade", "isolation_forest"}
    counted = dict(results["counters"])
    assert (counted["records"], counted["undefined_price"], counted["zero_size"]) == (40_000, 40, 40)
    return results


def recovery(folder: Path, partitions: int = 1) -> str:
    (folder / "rec").mkdir()
    subprocess.run(
        [sys.executable, "-m", "bytewax.recovery", "rec", str(partitions)],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return "rec"


def records_written(folder: Path) -> int:
    """Return how many records the results in a folder are of, so far."""
    try:
        connection = sqlite3.connect(f"file:{folder / 'results.db'}?mode=ro", uri=True)
    except sqlite3.OperationalError:
        return 0
    try:
        (found,) = connection.execute("SELECT sum(value) FROM counters WHERE name = 'records'").fetchone()
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
    return int(found or 0)


def until_further(running: subprocess.Popen[str], folder: Path, before: int | None = None) -> None:
    """Wait until a run has written more than there was, or has ended."""
    before = records_written(folder) if before is None else before
    end = time.monotonic() + 200
    while running.poll() is None and records_written(folder) == before:
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("epoch", "workers", "seed"), [("0", "1", 1), ("0", "2", 2), ("1", "1", 3)])
def test_kills_at_random_moments_change_nothing(
    epoch: str, workers: str, seed: int, tape: list[Path], wanted: dict[str, Any], start_market: Start, run_market: Flow,
    tables: Tables, tmp_path: Path,
) -> None:  # fmt: skip
    options = ["-w", workers, "-r", recovery(tmp_path, 2), "-s", epoch, "-b", "0"]
    rng = np.random.default_rng(seed)
    for number in range(max(tried(5), 3)):
        allow(tmp_path, 7_000 * (number + 1))
        running = start_market(tmp_path, tape, *options, patch=GATED, **SETTINGS)
        if number:
            # The first one dies wherever it is, the others once they have come further than the one before.
            until_further(running, tmp_path)
        time.sleep(float(rng.uniform(0.0, 0.5)))
        assert running.poll() is None
        running.kill()
        running.communicate()
    ended = run_market(tmp_path, tape, *options, **SETTINGS)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert tables(tmp_path / "results.db") == wanted


@pytest.mark.parametrize(
    ("epoch", "number"), [("0", signal.SIGTERM), ("10", signal.SIGTERM), ("1", signal.SIGINT)]
)
def test_a_graceful_stop_ends_in_the_midst_and_changes_nothing(
    epoch: str, number: int, tape: list[Path], wanted: dict[str, Any], start_market: Start, run_market: Flow,
    tables: Tables, tmp_path: Path,
) -> None:  # fmt: skip
    options = ["-r", recovery(tmp_path), "-s", epoch, "-b", "0"]
    for part in (1, 2, 3):
        allow(tmp_path, 10_000 * part)
        running = start_market(tmp_path, tape, *options, patch=GATED, **SETTINGS)
        until_further(running, tmp_path)
        running.send_signal(number)
        assert running.communicate(timeout=200) == ("", "")
        assert running.returncode == 0
        assert 0 < records_written(tmp_path) < 40_000
    ended = run_market(tmp_path, tape, *options, **SETTINGS)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert tables(tmp_path / "results.db") == wanted


def test_more_workers_after_a_stop_change_nothing(
    tape: list[Path],
    wanted: dict[str, Any],
    start_market: Start,
    run_market: Flow,
    tables: Tables,
    tmp_path: Path,
) -> None:
    options = ["-r", recovery(tmp_path, 3), "-s", "0", "-b", "0"]
    allow(tmp_path, 15_000)
    running = start_market(tmp_path, tape, *options, patch=GATED, **SETTINGS)
    until_further(running, tmp_path)
    running.terminate()
    assert running.communicate(timeout=200) == ("", "")
    assert run_market(tmp_path, tape, "-w", "3", *options, **SETTINGS).returncode == 0
    assert tables(tmp_path / "results.db") == wanted


def grown(path: Path, records: Array, symbols: dict[int, str], parts: int) -> list[bytes]:
    """Return the bytes by which a file grows: its header with the first records, then the others."""
    header = metadata(records, symbols).encode()
    pieces = [part.tobytes() for part in np.array_split(records, parts)]
    pieces[0] = header + pieces[0]
    if path.suffix == ".zst":
        return [zstandard.ZstdCompressor().compress(piece) for piece in pieces]
    return pieces


@pytest.mark.parametrize("name", ["day.dbn", "day.dbn.zst"])
def test_a_file_that_grows_between_runs_is_read_on(
    name: str, trades: Any, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    records = trades(9, count=4_000, days=2)
    symbols = {int(i): f"SYM{i}" for i in np.unique(records["instrument_id"])}
    path = tmp_path / name
    options = ["-r", recovery(tmp_path), "-s", "0", "-b", "0"]
    pieces = grown(path, records, symbols, 4)
    for piece in pieces:
        with path.open("ab") as file:
            file.write(piece)
        assert run_market(tmp_path, [path], *options, **SETTINGS).returncode == 0
        # Once more without more bytes: nothing is read again.
        assert run_market(tmp_path, [path], *options, **SETTINGS).returncode == 0
    whole = tmp_path / "whole"
    whole.mkdir()
    assert run_market(whole, [path], **SETTINGS).returncode == 0
    assert tables(tmp_path / "results.db") == tables(whole / "results.db")


def test_a_file_added_to_a_glob_is_read_on(
    trades: Any, write: Any, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    """Files of later days, with names that do not follow the order of time."""
    options = ["-r", recovery(tmp_path), "-s", "0", "-b", "0"]
    for day, name in enumerate(("m", "z", "a")):
        write(tmp_path / f"{name}.dbn.zst", trades(day, count=3_000, days=1, first_day=day))
        assert run_market(tmp_path, ["*.dbn.zst"], *options, **SETTINGS).returncode == 0
    whole = tmp_path / "whole"
    whole.mkdir()
    assert run_market(whole, [tmp_path / "*.dbn.zst"], **SETTINGS).returncode == 0
    assert tables(tmp_path / "results.db") == tables(whole / "results.db")


def test_counters_count_once_also_after_a_resume(
    trades: Any, write: Any, run_market: Flow, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    records = trades(4, count=20_000, days=1)
    strange = {
        "undefined_price": 11,
        "zero_size": 7,
        "undefined_size": 5,
        "impossible_time": 3,
        "absurd_price": 2,
    }
    place = 100
    for name, number in strange.items():
        at = slice(place, place + 600 * number, 600)
        field, value = {
            "undefined_price": ("price", 2**63 - 1), "zero_size": ("size", 0), "undefined_size": ("size", 2**32 - 1),
            "impossible_time": ("ts_recv", 5), "absurd_price": ("price", 2**60),
        }[name]  # fmt: skip
        records[field][at] = value
        place += 1
    quote = records[:40].copy()
    quote["action"] = b"A"
    unmapped, late = records[:13].copy(), records[:17].copy()
    unmapped["price"], unmapped["instrument_id"], unmapped["ts_recv"] = 10**9, 78, records["ts_recv"][-1]
    unmapped["ts_event"] = unmapped["ts_recv"]
    late["instrument_id"] = records["instrument_id"][-1]
    late["price"], late["size"] = 10**9, 1
    joined = np.concatenate([records, unmapped, late, quote]).astype(TRADE)
    assert joined["ts_recv"].max() < 2**62
    path = write(tmp_path / "day.dbn", joined)
    options = ["-r", recovery(tmp_path), "-s", "0", "-b", "0"]
    allow(tmp_path, 10_000)
    running = start_market(tmp_path, [path], *options, patch=GATED, **SETTINGS)
    until_further(running, tmp_path)
    running.kill()
    running.communicate()
    for _ in range(2):
        assert run_market(tmp_path, [path], *options, **SETTINGS).returncode == 0
    found = tables(tmp_path / "results.db")
    assert len(found["late"]) == 17
    counted = dict(found["counters"])
    wanted = {
        **strange, "records": 20_000 + 13 + 17, "unmapped_records": 13, "late_records": 17, "not_a_trade": 40,
    }  # fmt: skip
    assert counted == wanted
    # Without a recovery store there is one shard instead of four: it counts the same parts of the instruments.
    assert shard_of("78", 4) != 0
    assert run_market(tmp_path, [path], **SETTINGS).returncode == 0
    assert dict(tables(tmp_path / "results.db")["counters"]) == wanted


@pytest.mark.parametrize("name", ["connectors.files._STATE_VERSION", "operators.judge.STATE_VERSION"])
def test_a_recovery_store_of_another_version_is_refused_in_one_line_and_left_as_it_is(
    name: str, trades: Any, write: Any, start_market: Start, run_market: Flow, tmp_path: Path
) -> None:
    """A store written with another number of days is fine; one whose state has another version is not."""
    path = write(tmp_path / "day.dbn", trades(1, count=500))
    options = ["-r", recovery(tmp_path), "-s", "0", "-b", "0"]
    assert run_market(tmp_path, [path], *options).returncode == 0
    module = name.rpartition(".")[0]
    other = start_market(tmp_path, [path], *options, patch=f"import {module}\n{name} = 99")
    out, errors = other.communicate(timeout=280)
    assert (other.returncode, out) == (2, "")
    assert errors.count("\n") == 1
    assert "another version" in errors
    ended = run_market(tmp_path, [path], *options)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_another_number_of_shards_is_refused_and_other_windows_warm_up_anew(
    trades: Any, write: Any, run_market: Flow, tables: Tables, tmp_path: Path
) -> None:
    """An instrument's state is in its shard; that of a detector has room for its own windows."""
    records = trades(1, count=4_000)
    paths = [write(tmp_path / "a.dbn", records[:2_000])]
    options = ["-r", recovery(tmp_path), "-s", "0", "-b", "0"]
    assert run_market(tmp_path, paths, *options, shards=4).returncode == 0
    paths.append(write(tmp_path / "b.dbn", records[2_000:]))
    for shards in (2, 16):
        ended = run_market(tmp_path, paths, *options, shards=shards)
        assert (ended.returncode, ended.stdout, ended.stderr.count("\n")) == (2, "", 1)
        assert [w for w in ("`shards`", f" {shards},", "with 4") if w not in ended.stderr] == []
    others = {"detectors__high_volume__baseline_windows": 12, "detectors__price_jump__volatility_windows": 60}
    ended = run_market(tmp_path, paths, *options, shards=4, **others)
    assert ended.returncode == 0, ended.stderr
    warned = [line.partition("WARNING ")[2] for line in ended.stderr.splitlines()]
    assert [line.split()[0] for line in warned] == ["high_volume", "price_jump"]
    assert all("warms up anew" in line for line in warned)
    assert dict(tables(tmp_path / "results.db")["counters"])["records"] == 4_000


def test_the_days_of_the_fixture_overlap(tape: list[Path]) -> None:
    from connectors.chain import plan

    (chain,) = plan(tape, skip_damaged=False)
    assert [file.name for file in chain.files] == ["0.dbn", "1.dbn.zst"]
    assert chain.files[1].first_time // DAY - chain.files[0].first_time // DAY == 2
