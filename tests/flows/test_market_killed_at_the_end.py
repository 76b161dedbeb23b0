"""Killed after the end of the input was told and before it was saved; then the file grows, and a run goes on."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.dbn_writer import metadata
from tests.flows.test_market_crash import recovery

Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]
SETTINGS: dict[str, object] = {
    "alerts__per_key_per_day": "5",
    "source__batch_records": "1000",
    "detectors__high_volume__width": "10s",
    "sinks__bars": ["10s"],
}
#: Windows with a certain number of trades are anomalies, so that what a window is told to be changes as it grows.
FICKLE = """
import numpy as np
import operators.high_volume as h
from operators.detector import Scores
score = h._HighVolumeLogic.score
def fickle(self, segments, *, learn=True):
    found = score(self, segments, learn=learn)
    return Scores(found.score, segments.items["trades"] % 3 == 1, found.details)
h._HighVolumeLogic.score = fickle
h.HighVolume.gap_ns = property(lambda self: 0)
"""
KILLED = (
    FICKLE
    + """
import os, signal
import connectors.sqlite_sink as s
s.SqlitePartition.snapshot = lambda self: os.kill(os.getpid(), signal.SIGKILL)
"""
)


def anomalies(folder: Path) -> dict[str, tuple[Any, ...]]:
    with closing(sqlite3.connect(folder / "results.db")) as connection:
        rows = connection.execute("SELECT id, revision, ts_start, ts_end, severity, reason FROM anomalies")
        return {row[0]: row for row in rows}


@pytest.mark.parametrize("recovered", [True, False])
def test_nothing_stays_of_what_was_told_of_unfinished_windows(
    recovered: bool, trades: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    """Once with a snapshot of an earlier run to go on from, once with none: then all is read anew."""

    def run(folder: Path, *options: str, patch: str = FICKLE) -> int:
        running = start_market(folder, [path], *options, patch=patch, **SETTINGS)
        _, errors = running.communicate(timeout=280)
        assert errors == ""
        return running.returncode

    records = trades(24, count=6_000, instruments=12, days=1)
    symbols = {int(i): f"SYM{i}" for i in np.unique(records["instrument_id"])}
    pieces = np.split(records, [2_500, 5_291])
    path = tmp_path / "day.dbn"
    path.write_bytes(metadata(records, symbols).encode() + pieces[0].tobytes())
    # Nothing is saved before the end of the input.
    options = ["-r", recovery(tmp_path), "-s", "30", "-b", "0"]
    if recovered:
        assert run(tmp_path, *options) == 0
    with path.open("ab") as file:
        file.write(pieces[1].tobytes())
    assert run(tmp_path, *options, patch=KILLED) == -signal.SIGKILL
    told = anomalies(tmp_path)
    with path.open("ab") as file:
        file.write(pieces[2].tobytes())
    assert run(tmp_path, *options) == 0
    whole = tmp_path / "whole"
    whole.mkdir()
    assert run(whole) == 0
    wanted = anomalies(whole)
    assert set(told) - set(wanted), "the test shows nothing"
    assert any(row[1] > wanted[name][1] for name, row in told.items() if name in wanted), (
        "the test shows little"
    )
    assert tables(tmp_path / "results.db") == tables(whole / "results.db")


def test_the_last_window_of_another_day_stays(
    trades: Any, write: Any, start_market: Start, tmp_path: Path
) -> None:
    """Days that are run one by one, without a recovery store, leave each other's unfinished windows alone."""
    told: dict[str, tuple[Any, ...]] = {}
    for day in range(3):
        path = write(tmp_path / f"{day}.dbn", trades(day, count=2_000, instruments=8, days=1, first_day=day))
        running = start_market(tmp_path, [path], patch=FICKLE, **SETTINGS)
        assert running.communicate(timeout=280) == ("", "")
        found = anomalies(tmp_path)
        assert {name: found.get(name) for name in told} == told
        assert len(found) > len(told)
        told = found
    with closing(sqlite3.connect(tmp_path / "results.db")) as connection:
        marks = {row[0] for row in connection.execute("SELECT id FROM provisional")}
    assert marks
    assert marks <= set(told)
