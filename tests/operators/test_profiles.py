"""Profiles: what is usual for one user, and how far a transaction is from it."""

from __future__ import annotations

import math
import pickle

import pytest

from operators.measured import strangeness
from operators.profiles import Profile
from tapewatch.records import DAY, HOUR, MINUTE
from tapewatch.transactions import Row
from tests.connectors.made_payments import payments

_NAN = math.nan


def row(ts: int, amount: float = 20.0, place: str | None = "DE", hour: float = 12.0, **more: str) -> Row:
    return Row(
        0, ts, ts, amount, more.get("category", "food"), more.get("merchant", "m1"), place,
        more.get("method", "card"), None, _NAN, 0.0, _NAN, hour, _NAN, _NAN,
    )  # fmt: skip


@pytest.fixture
def usual() -> Profile:
    profile = Profile()
    for day in range(30):
        profile.update(row(day * DAY, 15.0 + day % 10, hour=10.0 + day % 4))
    return profile


@pytest.mark.parametrize(
    ("changes", "feature", "least"),
    [
        ({"amount": 900.0}, "own_amount", 4.0),
        ({"place": "BR"}, "own_place", 2.0),
        ({"merchant": "elsewhere"}, "own_merchant", 2.0),
        ({"method": "wire"}, "own_method", 2.0),
        ({"hour": 3.0}, "own_hour", 1.0),
        ({"category": "jewels"}, "own_merchant_category", 2.0),
    ],
)
def test_each_habit_that_is_broken_shows(
    usual: Profile, changes: dict[str, object], feature: str, least: float
) -> None:
    same, broken = usual.measure(row(30 * DAY)), usual.measure(row(30 * DAY, **changes))  # type: ignore[arg-type]
    assert getattr(broken, feature) > max(getattr(same, feature) + 0.5, least)
    if feature != "own_merchant_category":  # which counts for detectors, not for what is learned
        assert strangeness(broken) > strangeness(same)


def test_travel_faster_than_any_aeroplane(usual: Profile) -> None:
    soon = usual.measure(row(29 * DAY + 30 * MINUTE, place="JP"))
    later = usual.measure(row(29 * DAY + 20 * HOUR, place="JP"))
    assert math.exp(soon.own_travel) > 10_000
    assert math.exp(later.own_travel) < 600


def test_velocity_counts_the_last_hour_and_day(usual: Profile) -> None:
    for minute in range(5):
        usual.update(row(30 * DAY + minute * MINUTE))
    found = usual.measure(row(30 * DAY + 10 * MINUTE, 7.0))
    assert found.count_1h == 6
    assert found.total_24h == pytest.approx(107.0)
    assert found.since_minutes == pytest.approx(6.0)


def test_velocity_does_not_count_what_came_later(usual: Profile) -> None:
    for minute in (0, 1, 30, 31, 32):
        usual.update(row(30 * DAY + minute * MINUTE, 10.0))
    found = usual.measure(row(30 * DAY + 5 * MINUTE, 7.0))
    assert found.count_1h == 3
    assert found.total_24h == pytest.approx(27.0)
    assert found.since_minutes == pytest.approx(4.0)
    assert usual.measure(row(30 * DAY + 31 * MINUTE, 7.0)).count_1h == 5
    assert math.isnan(usual.measure(row(-DAY)).since_minutes)


def test_what_is_strange_is_not_learned_until_it_is_a_habit(usual: Profile) -> None:
    before = usual.learned
    for day in range(5):
        usual.update(row((31 + day) * DAY, 5_000.0, "BR", 3.0, merchant=f"x{day}", method="wire"))
    assert usual.learned == before
    usual.update(row(40 * DAY, 5_000.0, "BR", 3.0, method="wire"))
    assert usual.learned == before + 1


def test_raised_amounts_are_remembered_for_some_days(usual: Profile) -> None:
    def pay(profile: Profile, *amounts: float, place: str = "DE") -> Profile:
        for hour, amount in enumerate(amounts):
            profile.update(row(30 * DAY + hour * HOUR, amount, place))
        return profile

    state = usual.snapshot()
    ordinary, odd, once, huge, often = (
        pay(Profile(state), *amounts, place=place).measure(row(31 * DAY)).own_recent
        for amounts, place in (
            ((20.0, 20.0), "DE"), ((20.0, 20.0), "BR"), ((20.0, 60.0), "DE"), ((20.0, 60_000.0), "DE"),
            ((60.0, 60.0), "DE"),
        )
    )  # fmt: skip
    assert ordinary == odd == 0.0
    assert 0.0 < once == huge < often
    later = pay(Profile(state), 60.0, 60.0).measure(row(45 * DAY)).own_recent
    assert 0.0 < later < often / 4


def test_an_unknown_field_says_nothing(usual: Profile) -> None:
    found = usual.measure(row(30 * DAY, place=None))
    assert found.own_place == 0.0


def test_a_profile_is_resumed_and_stays_small() -> None:
    whole = payments()
    one, other = Profile(), Profile()
    rows = [r for _, r in whole.rows()]
    for number, each in enumerate(rows):
        assert one.update(each) == pytest.approx(other.update(each), nan_ok=True, abs=0)
        if number % 50 == 0:
            other = Profile(pickle.loads(pickle.dumps(other.snapshot())))
    assert one.snapshot() == other.snapshot() or pickle.dumps(one.snapshot()) == pickle.dumps(
        other.snapshot()
    )
    assert len(pickle.dumps(one.snapshot())) < 4_000


def test_measuring_changes_nothing(usual: Profile) -> None:
    before = pickle.dumps(usual.snapshot())
    usual.measure(row(31 * DAY, 1e6, "JP"))
    assert pickle.dumps(usual.snapshot()) == before


def test_who_was_away_for_long_is_idle(usual: Profile) -> None:
    assert not usual.idle(40 * DAY, 30 * DAY)
    assert usual.idle(60 * DAY, 30 * DAY)
    assert not Profile().idle(60 * DAY, 30 * DAY)
