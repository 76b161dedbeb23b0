"""The steps of the transaction flow as Bytewax operators.

State is keyed by user: Bytewax writes the whole state of a key whenever the key was touched in an epoch, so
with one key a user only the users who paid are written, however many there are.
"""

from __future__ import annotations

import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import bytewax.operators as op
from bytewax.dataflow import Dataflow, Stream, operator
from bytewax.inputs import FixedPartitionedSource
from bytewax.operators import KeyedStream, StatefulBatchLogic

from operators import profiles as profiles_
from operators import transaction_judge as judge_
from operators.dataflow import Telling
from operators.packed_profiles import PackedProfiles, packed, unpacked
from operators.profiles import Profile
from operators.transaction_judge import Part, TransactionJudge
from operators.transaction_scoring import TransactionJudgeSettings
from tapewatch import stopping
from tapewatch.documents import Results
from tapewatch.transactions import Row, Transactions

State: TypeAlias = dict[str, Any]
#: Rows of one user in one batch: user, partition, number of the batch, rows.
UserRows: TypeAlias = tuple[str, str, int, list[Row]]
#: A profile is published after so many transactions, and when something was strange.
_PUBLISHED = 16
#: How often a profile looks whether its user has been away for too long.
_LOOK = timedelta(hours=1)
#: Profiles of a worker that are ready to be used; the others take less room and some microseconds.
_UNPACKED = 10_000
#: Profiles that are published together at the end.
_TOGETHER = 4_096
_here = threading.local()


@operator
def transactions(
    step_id: str, flow: Dataflow, origin: FixedPartitionedSource[Transactions, Any]
) -> Stream[Transactions]:
    """Batches of transactions in their order, from files or Kafka."""
    return op.input("input", flow, Telling(origin))


@operator
def user_profiles(step_id: str, up: Stream[Transactions], idle_ns: int) -> KeyedStream[tuple[str, Part]]:
    """Measure each transaction against its user's profile."""

    def split(batches: list[Transactions]) -> Iterable[tuple[str, UserRows]]:
        for batch in batches:
            by_user: dict[str, list[Row]] = {}
            for user, row in batch.rows():
                rows = by_user.get(user)
                if rows is None:
                    by_user[user] = [row]
                else:
                    rows.append(row)
            for user, rows in by_user.items():
                yield user, (user, batch.partition, batch.seq, rows)

    def build(resume: tuple[Any, ...] | None) -> _Profiles:
        return _Profiles(resume, idle_ns)

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


class _Profiles(StatefulBatchLogic[UserRows, tuple[str, Part], tuple[Any, ...]]):
    """One user. The profiles of those who have not paid lately are kept packed."""

    __slots__ = ("_due", "_idle_ns", "_packed", "_partition", "_profile", "_published", "_seen", "_user")

    def __init__(self, resume: tuple[Any, ...] | None, idle_ns: int) -> None:
        self._idle_ns = idle_ns
        self._due: datetime | None = None
        self._profile: Profile | None = None
        self._packed = b""
        if resume is None:
            self._user, self._partition, self._published, self._seen = "", "", 0, 0
            self._profile = Profile()
            return
        self._user, self._partition, self._published, state = resume
        stopping.refuse_other_versions(state[0], profiles_.STATE_VERSION)
        # There may be millions, most of whom do not pay now.
        self._seen, self._packed = state[1], packed(state)

    def _own(self) -> Profile:
        """Return the profile, and put the one that was needed longest ago aside if there are too many."""
        used = _used()
        if self._profile is None:
            self._profile = Profile(unpacked(self._packed))
            self._packed = b""
        used[self] = None
        used.move_to_end(self)
        if len(used) > _UNPACKED:
            used.popitem(last=False)[0].put_aside()
        return self._profile

    def put_aside(self) -> None:
        """Keep the profile packed."""
        if self._profile is not None:
            self._packed, self._profile = packed(self._profile.snapshot()), None

    def on_batch(self, values: list[UserRows]) -> tuple[Iterable[tuple[str, Part]], bool]:
        found = []
        profile = self._own()
        for user, partition, seq, rows in values:
            self._user, self._partition = user, partition
            measured, indices = [], []
            for row in rows:
                if profile.idle(row.clock, self._idle_ns):
                    profile = self._profile = Profile()
                    self._published = 0
                measured.append(profile.update(row))
                indices.append(row.number)
            _note(partition, rows[-1].clock)
            seen, document = profile.seen, None
            if seen >= self._published + _PUBLISHED or profile.streak or not self._published:
                self._published, document = seen, profile.document(user, partition)
            self._seen = seen
            found.append((partition, Part(seq, tuple(indices), tuple(measured), document)))
        if self._due is None:
            # Not all at once: they are spread by their names.
            spread = zlib.crc32(self._user.encode()) % 3600
            self._due = datetime.now(UTC) + _LOOK + timedelta(seconds=spread)
        return found, False

    def on_notify(self) -> tuple[Iterable[tuple[str, Part]], bool]:
        # Whether the profile of one who is away is forgotten now or at the next transaction, which would
        # begin a new one anyway, changes nothing but memory.
        self._due = datetime.now(UTC) + _LOOK
        profile = self._profile or Profile(unpacked(self._packed))
        away = profile.idle(_clock(self._partition), self._idle_ns)
        if away:
            _used().pop(self, None)
        return [], away

    def notify_at(self) -> datetime | None:
        return self._due

    def on_eof(self) -> tuple[Iterable[tuple[str, Part]], bool]:
        if self._seen == self._published:
            return [], False
        self._published = self._seen
        _used().pop(self, None)
        self.put_aside()
        last = (self._user, self._partition, self._packed)
        return [(self._partition, Part(-1, (), (), last))], False

    def snapshot(self) -> tuple[Any, ...]:
        state = unpacked(self._packed) if self._profile is None else self._profile.snapshot()
        return (self._user, self._partition, self._published, state)


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


def _clocks() -> dict[str, int]:
    """Return the clocks this worker knows; a worker is a thread, and sees a partition in its order."""
    clocks: dict[str, int] | None = getattr(_here, "clocks", None)
    if clocks is None:
        clocks = _here.clocks = {}
    return clocks


def _used() -> OrderedDict[_Profiles, None]:
    """Return whose profiles this worker has unpacked, who paid last at the end."""
    used: OrderedDict[_Profiles, None] | None = getattr(_here, "used", None)
    if used is None:
        used = _here.used = OrderedDict()
    return used


def _note(partition: str, clock: int) -> None:
    clocks = _clocks()
    if clock > clocks.get(partition, 0):
        clocks[partition] = clock


def _clock(partition: str) -> int:
    return _clocks().get(partition, 0)
