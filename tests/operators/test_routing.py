"""Names of states fall where they are meant to: by Bytewax's own hand, on any number of workers."""

from __future__ import annotations

import threading
from typing import Any

import bytewax.operators as op
import pytest
from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from bytewax.testing import TestingSink, cluster_main
from hypothesis import given
from hypothesis import strategies as st

from operators.routing import state_names
from tapewatch.records import Home


class _Part(StatefulSourcePartition[tuple[str, str], None]):
    """Gives the names of its states once, and notes which worker asked."""

    def __init__(self, name: str, names: list[str], readers: dict[str, int]) -> None:
        self._given = [(each, name) for each in names]
        readers[name] = threading.get_ident()

    def next_batch(self) -> list[tuple[str, str]]:
        if not self._given:
            raise StopIteration
        given, self._given = self._given, []
        return given

    def snapshot(self) -> None:
        return None


class _Source(FixedPartitionedSource[tuple[str, str], None]):
    def __init__(self, states: dict[str, list[str]]) -> None:
        self._states, self.readers = states, dict[str, int]()

    def list_parts(self) -> list[str]:
        return list(self._states)

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> _Part:
        return _Part(for_part, self._states[for_part], self.readers)


def placed(states: dict[str, list[str]], workers: int) -> tuple[dict[str, int], dict[str, int]]:
    """Return the worker that reads each partition, and the one that keeps each state."""
    keepers: dict[str, int] = {}

    class Logic(op.StatefulLogic[str, str, None]):
        def on_item(self, value: str) -> tuple[list[str], bool]:
            return [value], False

        def snapshot(self) -> None:
            return None

    def kept(pair: tuple[str, Any]) -> tuple[str, Any]:
        keepers[pair[0]] = threading.get_ident()
        return pair

    source = _Source(states)
    flow = Dataflow("placed")
    stream = op.stateful("keep", op.input("in", flow, source), lambda resume: Logic())
    op.output("out", op.map("note", stream, kept), TestingSink([]))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]
    return source.readers, keepers


@pytest.mark.parametrize("workers", [2, 3, 4])
def test_states_of_one_partition_are_spread_evenly(workers: int) -> None:
    names = state_names("EQUS.MINI", 12, Home())
    _, keepers = placed({"EQUS.MINI": names}, workers)
    counts = [list(keepers.values()).count(worker) for worker in set(keepers.values())]
    assert counts == [12 // workers] * workers


@pytest.mark.parametrize("workers", [2, 4])
def test_states_stay_where_their_partition_is_read(workers: int) -> None:
    states = {f"trades/{n}": state_names(f"trades/{n}", 4, Home(n, 4)) for n in range(4)}
    readers, keepers = placed(states, workers)
    assert len(set(readers.values())) == workers
    assert all(keepers[name] == readers[part] for part, names in states.items() for name in names)


@given(st.text(max_size=40), st.integers(1, 64), st.integers(1, 40), st.integers(0, 40))
def test_every_shard_has_a_name_of_its_own(partition: str, shards: int, of: int, number: int) -> None:
    names = state_names(partition, shards, Home(number, of))
    assert len(set(names)) == shards
    assert all(name.startswith(f"{partition}/") for name in names)
