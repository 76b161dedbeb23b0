"""The slowest consumer decides how far the source may run ahead."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tapewatch.credit import Credit, acknowledge


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


def test_acknowledging_where_nothing_is_does_nothing(tmp_path: Path) -> None:
    acknowledge("", 0, 1)
    acknowledge(str(tmp_path / "none"), 0, 1)
    credit = Credit(slots=1, batches=1)
    acknowledge(credit.path, 5, 1)
    credit.close()
    acknowledge(credit.path, 0, 1)
