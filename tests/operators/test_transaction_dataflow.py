"""Profiles in the flow: packed or at hand, resumed or not, they say the same."""

from __future__ import annotations

import pickle
from typing import Any

import bytewax.operators as op
import numpy as np
import pytest
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSink, TestingSource, cluster_main
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import transaction_dataflow as steps
from operators.packed_profiles import PackedProfiles, packed, unpacked
from operators.profile_memory import ProfileMemory
from operators.profiles import Profile
from operators.transaction_history import History
from operators.transaction_judge import Part
from tapewatch.records import DAY
from tests.connectors.made_payments import payments

_IDLE = 2 * DAY


@settings(max_examples=4, deadline=None)
@given(resumed=st.integers(0, 600), size=st.integers(1, 40), older=st.booleans())
def test_the_same_is_measured_as_if_no_profile_was_packed_or_forgotten(
    resumed: int, size: int, older: bool
) -> None:
    memory = ProfileMemory(_IDLE)
    whole = payments()
    history, users = History(_IDLE), dict[str, Any]()
    wanted = history.measure(whole).tolist()
    rows = list(whole.rows())[:600]
    published: dict[str, tuple[Any, ...]] = {}
    forgotten = 0
    for first in range(0, len(rows), size):
        clock = rows[first - 1][1].clock if first else 0
        for user in memory.away("p", clock, 100):
            last, gone = users[user].on_batch([(user, "p", 0, clock, [])])
            assert gone is not users[user].known
            for _, each in last:
                _note(published, each)
            if gone:
                forgotten += 1
                del users[user]
        by_user: dict[str, list[Any]] = {}
        for user, row in rows[first : first + size]:
            by_user.setdefault(user, []).append(row)
        for user, some in by_user.items():
            logic = users.get(user) or steps._Profiles(memory, None)
            if first <= resumed < first + size:
                *who, profile = pickle.loads(pickle.dumps(logic.snapshot()))
                logic = steps._Profiles(memory, (*who, unpacked(profile) if older and profile else profile))
            users[user] = logic
            ((partition, part),), _ = logic.on_batch([(user, "p", 0, clock, some)])
            assert partition == "p"
            assert repr([list(row) for row in part.measured]) == repr([wanted[i] for i in part.indices])
            if part.profile is not None:
                published[user] = part.profile
    for logic in users.values():
        for _, each in logic.on_eof()[0]:
            _note(published, each)
    assert forgotten
    # What is published in the end does not depend on who was forgotten, either.
    history = History(_IDLE)
    history.measure(whole.part(np.arange(600)))
    assert published == {user: profile.document(user, "p") for user, profile in history.profiles.items()}


def _note(published: dict[str, tuple[Any, ...]], part: Part) -> None:
    assert part.seq == -1
    assert part.profile is not None
    user, partition, packed_profile = part.profile
    (published[user],) = PackedProfiles([(user, partition, packed_profile)])


def test_a_packed_profile_is_the_profile() -> None:
    history = History(_IDLE)
    history.measure(payments())
    some = [(user, "p", packed(profile.snapshot())) for user, profile in history.profiles.items()]
    shown = PackedProfiles(some)
    assert [*shown] == [profile.document(user, "p") for user, profile in history.profiles.items()]
    assert [*shown[:3]] == [*shown][:3]
    for (_, _, one), profile in zip(some, history.profiles.values(), strict=True):
        assert repr(Profile(unpacked(one)).snapshot()) == repr(profile.snapshot())
        assert len(one) < 2_500


def test_at_the_end_only_what_has_changed_is_published() -> None:
    row = next(payments().rows())[1]
    logic = steps._Profiles(ProfileMemory(_IDLE), None)
    ((_, first),), _ = logic.on_batch([("ana", "p", 0, 0, [row])])
    assert first.profile is not None
    assert logic.on_eof() == ([], False)
    logic.on_batch([("ana", "p", 1, 0, [row._replace(ts=row.ts + 1, clock=row.clock + 1)])])
    ((partition, part),), _ = logic.on_eof()
    assert (partition, part.seq) == ("p", -1)
    assert part.profile is not None
    (document,) = PackedProfiles([(part.profile[0], part.profile[1], part.profile[2])])
    assert (document[0], document[8]) == ("ana", 2)
    assert logic.on_eof() == ([], False)


@pytest.mark.parametrize("workers", [1, 2])
def test_in_a_flow_who_stays_away_leaves_no_key(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = payments()
    rows = 2_000
    wanted = History(_IDLE).measure(whole.part(np.arange(rows)))
    found, left, clock = np.full_like(wanted, np.nan), set[str](), 0
    batches = []
    for seq, first in enumerate(range(0, rows, 50)):
        batches.append(whole.part(np.arange(first, first + 50), seq=seq, clock=clock))
        clock = max(clock, int(batches[-1].times.max()))
    on_batch = steps._Profiles.on_batch

    def noted(self: Any, values: Any) -> Any:
        parts, away = on_batch(self, values)
        assert self.notify_at() is None  # Bytewax would look at its key each time
        if away:
            left.add(values[0][0])
        return parts, away

    monkeypatch.setattr(steps._Profiles, "on_batch", noted)
    flow, parts = Dataflow("profiles"), list[Any]()
    source = op.input("batches", flow, TestingSource(batches))
    op.output("parts", steps.user_profiles("users", source, _IDLE), TestingSink(parts))
    cluster_main(flow, [], 0, worker_count_per_proc=workers)  # type: ignore[no-untyped-call]
    for _, (_, part) in parts:
        for index, measured in zip(part.indices, part.measured, strict=True):
            found[part.seq * 50 + index] = measured
    np.testing.assert_array_equal(found, wanted)
    assert left
