"""Profiles in the flow: packed or at hand, resumed or not, they say the same."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from operators import profile_memory
from operators import transaction_dataflow as steps
from operators.packed_profiles import PackedProfiles, packed, unpacked
from operators.profile_memory import ProfileMemory
from operators.profiles import Profile
from operators.transaction_history import History
from tapewatch.records import DAY
from tests.connectors.made_payments import payments

_IDLE = 2 * DAY


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at_hand=st.sampled_from([1, 5, 10_000]), resumed=st.integers(0, 600), size=st.integers(1, 40))
def test_whoever_is_packed_the_same_is_measured(
    at_hand: int, resumed: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(profile_memory, "AT_HAND", at_hand)
    memory = ProfileMemory(_IDLE, {})
    whole = payments()
    history, users = History(_IDLE), dict[str, Any]()
    wanted = history.measure(whole).tolist()
    rows = list(whole.rows())[:600]
    for first in range(0, len(rows), size):
        by_user: dict[str, list[Any]] = {}
        for user, row in rows[first : first + size]:
            by_user.setdefault(user, []).append(row)
        for user, some in by_user.items():
            logic = users.get(user) or steps._Profiles(memory, None)
            if first <= resumed < first + size:
                logic = steps._Profiles(memory, pickle.loads(pickle.dumps(logic.snapshot())))
            users[user] = logic
            ((partition, part), *last), _ = logic.on_batch([(user, "p", 0, some)])
            assert partition == "p"
            assert all(each.seq == -1 for _, each in last)
            assert repr([list(row) for row in part.measured]) == repr([wanted[i] for i in part.indices])
    assert len(memory.at_hand) <= at_hand
    assert sum(logic._profile is not None for logic in users.values()) <= at_hand + 1


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
    logic = steps._Profiles(ProfileMemory(_IDLE, {}), None)
    ((_, first),), _ = logic.on_batch([("ana", "p", 0, [row])])
    assert first.profile is not None
    assert logic.on_eof() == ([], False)
    logic.on_batch([("ana", "p", 1, [row._replace(ts=row.ts + 1, clock=row.clock + 1)])])
    ((partition, part),), _ = logic.on_eof()
    assert (partition, part.seq) == ("p", -1)
    assert part.profile is not None
    (document,) = PackedProfiles([(part.profile[0], part.profile[1], part.profile[2])])
    assert (document[0], document[8]) == ("ana", 2)
    assert logic.on_eof() == ([], False)
