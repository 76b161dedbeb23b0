"""The command line as a person meets it: files, exit codes, one line for each mistake."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import databento
import pytest

from connectors.injections import KINDS
from connectors.sessions import read_labels
from tests.forked_python import tapewatch


def market(out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return tapewatch("simulate", "market", "--out", str(out), *arguments)


def test_a_session_and_its_labels(tmp_path: Path) -> None:
    out = tmp_path / "day.dbn.zst"
    done = market(out, "--symbols", "8", "--minutes", "200", "--seed", "3")
    assert (done.returncode, done.stderr) == (0, "")
    store = databento.DBNStore.from_file(out)
    labels = read_labels(tmp_path / "day.dbn.zst.labels.csv")
    assert len(store.symbols) == 8
    assert {label.kind for label in labels} == set(KINDS)
    assert {label.key for label in labels} <= set(store.symbols)
    assert "trades of 8 symbols" in done.stdout
    assert sorted(p.name for p in tmp_path.iterdir()) == ["day.dbn.zst", "day.dbn.zst.labels.csv"]


def test_twice_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.dbn.zst", "b.dbn.zst"):
        assert market(tmp_path / name, "--symbols", "3", "--minutes", "90").returncode == 0
    assert (tmp_path / "a.dbn.zst").read_bytes() == (tmp_path / "b.dbn.zst").read_bytes()
    labels = [(tmp_path / f"{name}.dbn.zst.labels.csv").read_bytes() for name in "ab"]
    assert labels[0] == labels[1]


def test_only_the_kinds_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "a.dbn"
    market(out, "--symbols", "7", "--minutes", "120", "--anomalies", "gap, bad_tick")
    assert {label.kind for label in read_labels(tmp_path / "a.dbn.labels.csv")} == {"gap", "bad_tick"}
    market(out, "--symbols", "2", "--minutes", "120", "--anomalies", "none")
    assert (tmp_path / "a.dbn.labels.csv").read_text() == "key,kind,ts_start,ts_end\n"


def test_speed_paces_the_writing(tmp_path: Path) -> None:
    begin = time.monotonic()
    done = market(tmp_path / "a.dbn.zst", "--symbols", "2", "--minutes", "2", "--speed", "60")
    assert done.returncode == 0
    assert time.monotonic() - begin > 1.8


def test_interrupting_a_paced_one_leaves_a_readable_file(tmp_path: Path) -> None:
    out = tmp_path / "a.dbn.zst"
    command = "from tapewatch.cli import main; main()"
    arguments = ["simulate", "market", "--out", str(out), "--symbols", "3", "--speed", "30"]
    process = subprocess.Popen([sys.executable, "-c", command, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 200
    while not (out.exists() and out.stat().st_size > 2_000):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=200)
    assert process.returncode == 130
    assert "Traceback" not in stderr
    assert len(databento.DBNStore.from_file(out).to_ndarray()) > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), ["Missing command", "--help"]),
        (("walk",), ["walk"]),
        (("simulate", "market"), ["--out", "--topic"]),
        (("simulate", "market", "--out", "a.dbn", "--topic", "trades"), ["--out", "--topic", "name one"]),
        (("simulate", "market", "--out", "a.dbn", "--brokers", "h:1"), ["--brokers", "--topic"]),
        (("simulate", "market", "--topic", "a/b", "--minutes", "1"), ["--topic", "'a/b'"]),
        (("simulate", "market", "--topic", "t", "--partitions", "0"), ["--partitions", "'0'"]),
        (("simulate", "market", "--out", "a.csv"), ["a.csv", ".dbn", ".dbn.zst"]),
        (("simulate", "market", "--out", "no/such/a.dbn"), ["no/such"]),
        (("simulate", "market", "--out", "a.dbn", "--minutes", "0"), ["minutes", "97500", "0"]),
        (("simulate", "market", "--out", "a.dbn", "--minutes", "soon"), ["--minutes", "'soon'"]),
        (("simulate", "market", "--out", "a.dbn", "--symbols", "1001"), ["symbols", "1000", "1001"]),
        (("simulate", "market", "--out", "a.dbn", "--seed", "-4"), ["seed", "-4"]),
        (("simulate", "market", "--out", "a.dbn", "--speed", "0"), ["--speed", "above 0"]),
        (("simulate", "market", "--out", "a.dbn", "--speed", "max"), ["--speed", "'max'"]),
        (("simulate", "market", "--out", "a.dbn", "--anomalies", "gap,dip"), ["'dip'", *KINDS]),
        (("simulate", "market", "--out", "a.dbn", "--anomalies", ""), ["--anomalies", "none"]),
    ],
)
def test_a_mistake_is_one_line_and_status_2(arguments: tuple[str, ...], words: list[str]) -> None:
    done = tapewatch(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("tapewatch: ")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr
    assert not Path("a.dbn").exists()


def test_help_teaches_by_example() -> None:
    for arguments in (("--help",), ("simulate", "--help"), ("simulate", "market", "--help")):
        done = tapewatch(*arguments)
        assert done.returncode == 0
        assert "tapewatch simulate market --out" in " ".join(done.stdout.split())


def test_the_front_door_imports_nothing_heavy() -> None:
    code = (
        "import sys, typer, tapewatch.cli; from tapewatch.commands import simulate;"
        "simulate.register(typer.Typer()); print(*{'numpy', 'bytewax', 'pydantic'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
