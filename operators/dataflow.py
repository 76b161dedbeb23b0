"""The steps of a market flow as Bytewax operators: the only file here that knows Bytewax."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream, operator
from bytewax.inputs import FixedPartitionedSource, Source, StatefulSourcePartition
from bytewax.operators import KeyedStream, StatefulBatchLogic
from bytewax.outputs import Sink

from operators import bars as bars_
from operators import judge as judge_
from operators.bars import BarBatch, WindowedBars
from operators.judge import Judge, JudgeSettings
from operators.shards import ShardBatch, Splitter
from tapewatch import cluster, stopping
from tapewatch.documents import Results
from tapewatch.records import Tape

State: TypeAlias = dict[str, Any]
X = TypeVar("X")


@operator
def source(step_id: str, flow: Dataflow, tape: Source[Tape]) -> Stream[Tape]:
    """Batches of records with their clock, from files, Kafka or a live session."""
    return op.input("input", flow, Telling(tape) if isinstance(tape, FixedPartitionedSource) else tape)


@operator
def shard(step_id: str, up: Stream[Tape], shards: int) -> KeyedStream[ShardBatch]:
    """Split each batch by instrument; every shard gets its clock, also without records."""
    splitter = Splitter(shards)

    def split(tapes: list[Tape]) -> Iterable[tuple[str, ShardBatch]]:
        return [(part.state, part) for tape in tapes for part in splitter.split(tape)]

    return op.flat_map_batch("split", up, split)


@operator
def windowed_bars(
    step_id: str, up: KeyedStream[ShardBatch], widths: tuple[str, ...], lateness_ns: int, parts: int
) -> KeyedStream[BarBatch]:
    """Bars of every width; the records pass through beside those that they completed.

    Instruments are counted in ``parts`` parts, however many shards there are.
    """

    def build(resume: State | None) -> _Bars:
        resume = _same_version(resume, bars_.STATE_VERSION)
        if resume is not None:
            stopping.refuse_other_shards(resume.get("shards", parts), parts)
        return _Bars(WindowedBars(widths, lateness_ns, resume, parts), parts)

    return op.stateful_batch("bars", up, build)


@operator
def judge(step_id: str, up: KeyedStream[BarBatch], settings: JudgeSettings) -> KeyedStream[Results]:
    """All detectors, their calibration, episodes and incidents."""

    def build(resume: State | None) -> _Judge:
        return _Judge(Judge(settings, _same_version(resume, judge_.STATE_VERSION)))

    return op.stateful_batch("judge", up, build)


@operator
def store(step_id: str, up: KeyedStream[Results], sinks: Mapping[str, Sink[Any]]) -> None:
    """Write everything to each sink."""
    for name, sink in sinks.items():
        op.output(name, up, sink)


class Telling(FixedPartitionedSource[X, Any]):
    """A source that tells when the dataflow begins: every worker asks for its parts first."""

    def __init__(self, tape: FixedPartitionedSource[X, Any]) -> None:
        self._tape = tape
        cluster.watch()

    def list_parts(self) -> list[str]:
        """Return the parts of the source; the dataflow has begun."""
        cluster.begin()
        return self._tape.list_parts()

    def build_part(
        self,
        step_id: str,
        for_part: str,
        resume_state: Any | None,  # noqa: ANN401 - each source has its own
    ) -> StatefulSourcePartition[X, Any]:
        """Return one of the source's parts."""
        return self._tape.build_part(step_id, for_part, resume_state)


class _Bars(StatefulBatchLogic[ShardBatch, BarBatch, State]):
    def __init__(self, logic: WindowedBars, shards: int) -> None:
        self._logic, self._shards = logic, shards

    def on_batch(self, values: list[ShardBatch]) -> tuple[Iterable[BarBatch], bool]:
        return [self._logic.on_batch(batch) for batch in values], False

    def on_eof(self) -> tuple[Iterable[BarBatch], bool]:
        last = self._logic.on_eof()
        return ([] if last is None else [last]), False

    def snapshot(self) -> State:
        return self._logic.snapshot() | {"shards": self._shards}


class _Judge(StatefulBatchLogic[BarBatch, Results, State]):
    def __init__(self, logic: Judge) -> None:
        self._logic = logic

    def on_batch(self, values: list[BarBatch]) -> tuple[Iterable[Results], bool]:
        return [results for batch in values for results in self._logic.on_batch(batch)], False

    def snapshot(self) -> State:
        return self._logic.snapshot()


def _same_version(resume: State | None, version: int) -> State | None:
    if resume is not None:
        stopping.refuse_other_versions(resume.get("version"), version)
    return resume
