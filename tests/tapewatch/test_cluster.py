"""A process knows its peers from Bytewax's own flags and variables."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tapewatch.cluster import check_asked, peers, shards_of_run
from tapewatch.errors import UserError

_CLUSTER = ("PROCESS_ID", "ADDRESSES", "POD_NAME", "STATEFULSET_NAME", "HOSTFILE_PATH")
TWO = "10.0.0.1:4;10.0.0.2:5"


@pytest.fixture(autouse=True)
def no_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*_CLUSTER, "WORKERS_PER_PROCESS", "RECOVERY_DIRECTORY"):
        monkeypatch.delenv(f"BYTEWAX_{name}", raising=False)


def run_with(monkeypatch: pytest.MonkeyPatch, *args: str) -> list[str] | None:
    monkeypatch.setattr(sys, "argv", ["/lib/bytewax/run.py", "flows.market:flow", *args])
    return peers()


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ([], []),
        (["-w", "2", "-r", "rec", "-s", "0", "-b", "0"], []),
        (["-i", "0", "-a", TWO], ["10.0.0.2:5"]),
        (["-r", "rec", "-i1", f"-a{TWO}", "-w2"], ["10.0.0.1:4"]),
        (["--process-id=1", f"--addresses={TWO};h:6"], ["10.0.0.1:4", "h:6"]),
        (["-i", "0", "-a", "h:6"], []),
        (["-a", TWO], []),
    ],
)
def test_flags(args: list[str], wanted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_with(monkeypatch, *args) == wanted


@pytest.mark.parametrize(
    ("args", "wanted"),
    [
        ("", 1), ("-w 2", 2), ("-w3", 4), ("-w 4", 4), ("-w 8", 4), ("-w 0", 4), ("-w x", 4),
        ("-r rec -s 0 -b 0", 4), ("-w 2 --recovery-directory=rec", 4),
        (f"-i 0 -a {TWO}", 2), (f"-i 0 -a {TWO} -w 2", 4), (f"-i 0 -a {TWO} -r rec", 4),
    ],
)  # fmt: skip
def test_shards_of_a_run(args: str, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    run_with(monkeypatch, *args.split())
    assert shards_of_run(4) == wanted


def test_flags_with_which_bytewax_does_nothing_or_panics_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    for args, words in (
        ("-w 0", ["`-w`", "from 1", "was 0"]),
        (f"-r {tmp_path}/no -s 0 -b 0", ["`-r`", f"{tmp_path}/no", "bytewax.recovery"]),
        (f"-r {store} -s 0 -b 0", ["`-r`", f"{store}", "holds no recovery store"]),
    ):
        run_with(monkeypatch, *args.split())
        with pytest.raises(UserError) as refused:
            check_asked()
        assert [word for word in words if word not in str(refused.value)] == []
    for args in (f"-i 0 -a {TWO} -r {store}", "-w x", "-w 2"):
        run_with(monkeypatch, *args.split())
        check_asked()
    (store / "part-0.sqlite3").touch()
    run_with(monkeypatch, "-r", str(store))
    check_asked()


def test_shards_of_a_run_by_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BYTEWAX_WORKERS_PER_PROCESS", "2")
    run_with(monkeypatch)
    assert shards_of_run(4) == 2
    monkeypatch.setenv("BYTEWAX_RECOVERY_DIRECTORY", "rec")
    assert shards_of_run(4) == 4


def test_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BYTEWAX_PROCESS_ID", "1")
    monkeypatch.setenv("BYTEWAX_ADDRESSES", TWO)
    assert run_with(monkeypatch) == ["10.0.0.1:4"]
    assert run_with(monkeypatch, "-i", "0") == ["10.0.0.2:5"]
    monkeypatch.delenv("BYTEWAX_PROCESS_ID")
    monkeypatch.delenv("BYTEWAX_ADDRESSES")
    monkeypatch.setenv("BYTEWAX_POD_NAME", "flow-set-2")
    monkeypatch.setenv("BYTEWAX_STATEFULSET_NAME", "flow-set")
    (tmp_path / "hosts").write_text("a:1\nb:1\n\nc:1\n")
    monkeypatch.setenv("BYTEWAX_HOSTFILE_PATH", str(tmp_path / "hosts"))
    assert run_with(monkeypatch) == ["a:1", "b:1"]


def test_whoever_runs_it_otherwise_cannot_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["pytest", "-i", "0", "-a", TWO])
    assert peers() is None


@pytest.mark.parametrize(
    ("words", "asked_to_stop", "mistake", "status"),
    [
        ("Send thread panic: Any { .. }", True, "", 0),
        ("Send thread panic: Any { .. }", True, "a file is damaged", 2),
        ("Send thread panic: Any { .. }", False, "", 1),
        ("called `Result::unwrap()` on an `Err` value", True, "", 1),
    ],
)
def test_only_a_failed_good_bye_ends_well(words: str, asked_to_stop: bool, mistake: str, status: int) -> None:
    script = f"""
import sys
from tapewatch import cluster, stopping
sys.argv = ["/lib/bytewax/run.py", "flow", "-i", "0", "-a", {TWO!r}]
stopping.install()
cluster.watch()
cluster.begin()
if {asked_to_stop}:
    stopping.stop()
if {mistake!r}:
    stopping.fail({mistake!r})
raise type("PanicException", (BaseException,), {{}})({words!r})
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stderr
    assert ("Traceback" in done.stderr) == (status == 1)
    assert mistake in done.stderr
