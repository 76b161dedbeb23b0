"""People are told of an anomaly once, of a key now and then, and of what was held back."""

from __future__ import annotations

import pickle
from dataclasses import replace
from importlib import import_module
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from connectors.notices import Notices
from tapewatch.documents import Anomaly
from tapewatch.records import MINUTE

make: Any = import_module("tests.connectors.made_results")


def made(number: int, severity: float, key: str = "SPY") -> Anomaly:
    made: Anomaly = make.anomaly(number, key=key, severity=severity, reason=f"Finding {number}")
    return made


def test_what_opens_is_told_with_its_reason() -> None:
    (notice,) = Notices(75, 5 * MINUTE).of([made(1, 93.4), made(2, 74.9)], 0)
    assert notice.title == "SPY: high_volume, severity 93 (critical)"
    assert notice.body.startswith("Finding 1.\n2024-06-03T")
    assert notice.level == "critical"


def test_an_anomaly_is_told_again_only_when_its_level_rises() -> None:
    notices = Notices(50, 0)
    one = made(1, 60)
    assert len(notices.of([one], 0)) == 1
    assert notices.of([one, replace(one, severity=74.0)], 1) == []
    assert len(notices.of([replace(one, severity=80.0)], 2)) == 1
    assert notices.of([one], 3) == []


def test_a_key_is_told_once_in_a_stretch_and_the_rest_counted() -> None:
    notices = Notices(50, 5 * MINUTE)
    assert len(notices.of([made(1, 60), made(2, 95), made(3, 70)], 0)) == 1
    assert len(notices.of([made(4, 70, key="QQQ")], MINUTE)) == 1
    assert notices.due(5 * MINUTE - 1) == []
    (held,) = notices.due(5 * MINUTE)
    assert held.title.endswith("severity 95 (critical)")
    assert held.body.endswith("\n1 more of it since the message before")
    assert notices.due(20 * MINUTE) == []


def test_what_comes_after_the_stretch_tells_how_many_were_held_back() -> None:
    notices = Notices(50, 5 * MINUTE)
    notices.of([made(1, 60), made(2, 70)], 0)
    (notice,) = notices.of([made(3, 60)], 6 * MINUTE)
    assert "Finding 3" in notice.body
    assert notice.body.endswith("\n1 more of it since the message before")


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.floats(0, 100), st.sampled_from("AB"), st.integers(0, 3 * MINUTE)),
        max_size=40,
    ),
    st.integers(0, 40),
)
def test_nothing_is_forgotten_and_nothing_told_too_often(
    events: list[tuple[int, float, str, int]], cut: int
) -> None:
    notices, whole = Notices(75, 2 * MINUTE), Notices(75, 2 * MINUTE)
    now, told, last, counted, large = 0, [], dict[str, int](), 0, set[tuple[str, int]]()
    for place, (number, severity, key, after) in enumerate(events):
        if place == cut:
            notices = Notices(75, 2 * MINUTE, pickle.loads(pickle.dumps(notices.snapshot())))
        now += after
        one = made(number, severity, key)
        # The ids of two keys are two.
        one = replace(one, id=f"{key}{number}")
        both = [(each.due(now), each.of([one], now)) for each in (notices, whole)]
        assert both[0] == both[1]
        for notice in both[0][0] + both[0][1]:
            name = notice.title.partition(":")[0]
            assert now - last.get(name, -(2 * MINUTE)) >= 2 * MINUTE
            last[name] = now
            told.append(notice)
        if severity >= 75:
            large.add((one.id, 2 if severity < 90 else 3))
    told += notices.due(now + 2 * MINUTE)
    for notice in told:
        line = notice.body.rsplit("\n", 1)[1]
        counted += 1 + (int(line.split()[0]) if "more of it" in line else 0)
    # Each anomaly is told once per level it reached, the lower of two only if it came first.
    ids = {name for name, _ in large}
    assert len(ids) <= counted <= len(large)
