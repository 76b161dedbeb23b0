"""Thresholds chosen on events: F1 asks for precision where events are rare, Youden's J does not."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bar_events import Event
from models.bar_thresholds import by_f1, by_youden, f1_of
from models.event_scores import Stream, found_at
from tapewatch.records import MINUTE
from tests.examples import tried


def stream(seed: int, count: int = 6_000) -> Stream:
    """Return noise, in which one in three events is clear and the others are faint."""
    rng = np.random.default_rng(seed)
    scores = rng.exponential(size=count)
    events = []
    for number, at in enumerate(range(500, count - 100, 300)):
        kind = ("pattern", "collective")[number % 2]
        events.append(Event(kind, "spike", at, at + 2, 5.0))
        scores[at] += 20.0 if number % 3 == 0 else 2.0
    return Stream(scores, np.arange(count) * MINUTE, events, 200)


def test_where_events_are_rare_f1_picks_a_higher_threshold_and_is_worth_more() -> None:
    streams = [stream(1), stream(2)]
    youden, f1 = by_youden(streams), by_f1(streams)
    assert f1 > youden
    assert f1_of(found_at(streams, f1)) > 2 * f1_of(found_at(streams, youden))
    assert sum(some.false for some in found_at(streams, f1)) <= 2


@settings(max_examples=tried(10), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), low=st.floats(0.5, 25.0))
def test_no_threshold_that_flags_as_much_is_worth_much_more(seed: int, low: float) -> None:
    streams = [stream(seed, 3_000)]
    best = f1_of(found_at(streams, by_f1(streams)))
    # Thresholds lie on a grid: between two of it there may be a little more.
    assert f1_of(found_at(streams, low)) <= best + 0.1


def test_without_events_or_scores_there_is_no_threshold() -> None:
    some = stream(3)
    quiet = Stream(some.scores, some.times, [], some.first)
    assert (by_f1([quiet]), by_youden([quiet])) == (np.inf, np.inf)
    silent = Stream(np.full(len(some.scores), np.nan), some.times, some.events, some.first)
    assert (by_f1([silent]), by_youden([silent])) == (np.inf, np.inf)
