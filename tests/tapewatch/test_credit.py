"""The slowest consumer decides how far the source may run ahead."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapewatch import credit as credit_
from tapewatch.credit import Credit, acknowledge

_OWNER = """
import sys
from tapewatch.credit import Credit
credit = Credit(slots=1, batches=1)
print(credit.path, flush=True)
sys.stdin.read()
"""


@settings(deadline=None)
@given(
    done=st.lists(st.integers(0, 50), min_size=1, max_size=6),
    batches=st.integers(1, 5),
    seq=st.integers(0, 60),
)
def test_a_batch_is_free_if_the_slowest_is_near_enough(done: list[int], batches: int, seq: int) -> None:
    credit = Credit(len(done), batches)
    for slot, number in enumerate(done):
        acknowledge(credit.path, slot, number)
    assert credit.free(seq) == (seq - min(done) <= batches)
    credit.close()
    assert not Path(credit.path).exists()


def test_a_slot_that_never_answers_stops_the_source_until_an_epoch_has_settled() -> None:
    credit = Credit(slots=2, batches=2)
    acknowledge(credit.path, 0, 10)
    assert credit.free(1)
    assert not credit.free(2)
    credit.settle(1)
    assert not credit.free(2)
    credit.settle(1)
    assert credit.free(3)
    assert not credit.free(4)
    credit.close()


def test_another_process_acknowledges() -> None:
    credit = Credit(slots=1, batches=1)
    code = f"from tapewatch.credit import acknowledge; acknowledge({credit.path!r}, 0, 5)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert credit.free(6)
    credit.close()


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that is the temporary one, here and in processes started from here."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


def owner() -> tuple[subprocess.Popen[str], Path]:
    """Start a process that has an account, and return it with the account's file."""
    process = subprocess.Popen(
        [sys.executable, "-c", _OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_process_left_is_removed_by_the_next_and_what_lives_is_not(temporary: Path) -> None:
    processes, paths = zip(*(owner() for _ in range(3)), strict=True)
    assert sorted(temporary.iterdir()) == sorted(paths)
    for process in processes[:2]:
        process.kill()
        process.communicate()
    assert len(list(temporary.iterdir())) == 3
    credit = Credit(slots=1, batches=1)
    assert sorted(temporary.iterdir()) == sorted([paths[2], Path(credit.path)])
    credit.close()
    processes[2].kill()
    processes[2].communicate()
    # Nothing but such files is touched, whatever they are called.
    (temporary / "tapewatch-credit-pipe").mkdir()
    (temporary / "another").touch()
    Credit(slots=1, batches=1).close()
    assert sorted(path.name for path in temporary.iterdir()) == ["another", "tapewatch-credit-pipe"]


def test_a_process_that_is_alone_leaves_nothing_even_if_killed(
    temporary: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credit_, "peers", list)
    first, second = Credit(slots=2, batches=1), Credit(slots=1, batches=1)
    assert list(temporary.iterdir()) == []
    acknowledge(first.path, 0, 5)
    assert not first.free(2)
    acknowledge(first.path, 1, 7)
    assert first.free(6)
    assert not second.free(1)
    first.close()
    acknowledge(first.path, 1, 8)
    second.close()


def test_acknowledging_where_nothing_is_does_nothing(tmp_path: Path) -> None:
    acknowledge("", 0, 1)
    acknowledge(str(tmp_path / "none"), 0, 1)
    credit = Credit(slots=1, batches=1)
    acknowledge(credit.path, 5, 1)
    credit.close()
    acknowledge(credit.path, 0, 1)
