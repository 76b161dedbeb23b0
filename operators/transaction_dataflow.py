"""The steps of the transaction flow as Bytewax operators.

State is keyed by user: Bytewax writes the whole state of a key whenever the key was touched in an epoch, so
with one key a user only the users who paid are written, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeAlias

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream, operator
from bytewax.inputs import FixedPartitionedSource
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators import transaction_judge as judge_
from operators.dataflow import Telling
from operators.packed_profiles import PackedProfiles
from operators.profile_memory import ProfileMemory, UserProfile
from operators.transaction_judge import Part, TransactionJudge
from operators.transaction_scoring import TransactionJudgeSettings
from tapewatch import stopping
from tapewatch.documents import Results
from tapewatch.memory import collect_seldom
from tapewatch.transactions import Row, Transactions

State: TypeAlias = dict[str, Any]
#: Rows of one user in one batch: user, partition, number of the batch, clock before it, rows. Without rows it
#: asks whether the user has been away too long.
UserRows: TypeAlias = tuple[str, str, int, int, list[Row]]
#: After so many rows one more user is looked at.
_ROWS_PER_LOOK = 4
#: Profiles that are published together at the end.
_TOGETHER = 4_096


@operator
def transactions(
    step_id: str, flow: Dataflow, origin: FixedPartitionedSource[Transactions, Any]
) -> Stream[Transactions]:
    """Batches of transactions in their order, from files or Kafka."""
    return op.input("input", flow, Telling(origin))


@operator
def user_profiles(step_id: str, up: Stream[Transactions], idle_ns: int) -> KeyedStream[tuple[str, Part]]:
    """Measure each transaction against its user's profile."""
    memory = ProfileMemory(idle_ns)
    # There may be millions of users, without cycles; to look through all of them takes longer than payments.
    collect_seldom()

    def split(batches: list[Transactions]) -> Iterable[tuple[str, UserRows]]:
        for batch in batches:
            for user in memory.away(batch.partition, batch.clock, len(batch) // _ROWS_PER_LOOK + 1):
                yield user, (user, batch.partition, batch.seq, batch.clock, [])
            by_user: dict[str, list[Row]] = {}
            for user, row in batch.rows():
                rows = by_user.get(user)
                if rows is None:
                    by_user[user] = [row]
                else:
                    rows.append(row)
            for user, rows in by_user.items():
                yield user, (user, batch.partition, batch.seq, batch.clock, rows)

    def build(resume: tuple[Any, ...] | None) -> _Profiles:
        return _Profiles(memory, resume)

    return op.stateful_batch("profile", op.flat_map_batch("by_user", up, split), build)


@operator
def judge_transactions(
    step_id: str,
    up: Stream[Transactions],
    parts: KeyedStream[tuple[str, Part]] | None,
    settings: TransactionJudgeSettings,
) -> KeyedStream[Results]:
    """All detectors, their calibration, the ensemble and the feedback, by source partition."""
    batches: KeyedStream[Any] = op.map("by_partition", up, lambda batch: (batch.partition, batch))
    if parts is not None:
        batches = op.merge("with_profiles", batches, op.map("measured", parts, lambda item: item[1]))

    def build(resume: State | None) -> _Judge:
        if resume is not None:
            stopping.refuse_other_versions(resume.get("version"), judge_.STATE_VERSION)
        return _Judge(TransactionJudge(settings, resume))

    return op.stateful_batch("judge", batches, build)


class _Profiles(UserProfile, StatefulBatchLogic[UserRows, tuple[str, Part], tuple[Any, ...]]):
    """One user."""

    __slots__ = ()

    def on_batch(self, values: list[UserRows]) -> tuple[Iterable[tuple[str, Part]], bool]:
        found = []
        for user, partition, seq, clock, rows in values:
            if rows:
                found.append((partition, Part(seq, *self.pay(user, partition, rows))))
            elif (last := self.leave(clock)) is not None:
                found.append((partition, Part(-1, (), (), last)))
        return found, not self.known

    def on_eof(self) -> tuple[Iterable[tuple[str, Part]], bool]:
        last = self.unpublished()
        return [] if last is None else [(self.partition, Part(-1, (), (), last))], not self.known


class _Judge(StatefulBatchLogic[Transactions | Part, Results, State]):
    def __init__(self, logic: TransactionJudge) -> None:
        self._logic = logic

    def on_batch(self, values: list[Transactions | Part]) -> tuple[Iterable[Results], bool]:
        found: list[Results] = []
        last: list[tuple[Any, ...]] = []
        for value in values:
            if isinstance(value, Transactions):
                found += self._logic.on_batch(value)
            elif value.seq < 0:
                last.append(value.profile or ())
            else:
                found += self._logic.on_part(value)
        for first in range(0, len(last), _TOGETHER):
            found.append(self._logic.last_profiles(PackedProfiles(last[first : first + _TOGETHER])))
        return found, False

    def on_eof(self) -> tuple[Iterable[Results], bool]:
        return [self._logic.last()], False

    def snapshot(self) -> State:
        return self._logic.snapshot()
