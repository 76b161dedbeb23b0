"""Episodes, events and thresholds, on streams that can be counted by hand."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bar_curves import FALSE_RATES, RECALLS, averaged, confusion, shape
from models.bar_events import Event
from models.event_scores import EPISODE, Stream, found, found_at, threshold_at
from tapewatch.records import MINUTE, Floats
from tests.examples import tried


def stream(scores: Floats, events: list[Event]) -> Stream:
    return Stream(scores, np.arange(len(scores)) * MINUTE, events, 0)


def event(first: int, last: int) -> Event:
    return Event("pattern", "spike", first, last, 5.0)


def test_an_alarm_that_goes_on_counts_anew_every_thirty_bars() -> None:
    told = found_at([stream(np.ones(300), [])], 0.5)
    assert told[0].episodes == told[0].false == 300 // EPISODE


def test_an_episode_that_touches_an_event_is_not_false_and_the_bar_after_counts() -> None:
    one = stream(np.zeros(300), [event(100, 103)])
    for at, right in ((99, False), (100, True), (103, True), (104, False)):
        told = found(np.array([at]), one.owner(), one.events)
        assert (told.false == 0) == right
        assert told.delays.tolist() == [at - 100 if right else -1]
    early = found(np.array([80, 101]), one.owner(), one.events)
    assert (early.false, early.episodes) == (0, 1)


@settings(max_examples=tried(30), deadline=None)
@given(seed=st.integers(0, 10_000), budget=st.sampled_from([1.0, 3.0]))
def test_the_threshold_keeps_the_budget(seed: int, budget: float) -> None:
    rng = np.random.default_rng(seed)
    scores = np.round(rng.exponential(size=1_440), 2)
    some = [stream(scores, [event(200, 205), event(900, 901)])]
    threshold = threshold_at(some, budget)
    assert sum(told.false for told in found_at(some, threshold)) <= budget * some[0].days


def test_a_perfect_score_has_an_area_of_one_and_nan_counts_nowhere() -> None:
    scores = np.zeros(400)
    scores[200:203], scores[:50] = 1.0, np.nan
    told = shape([stream(scores, [event(200, 203)])], "pattern")
    assert told is not None
    assert (told.roc_auc, told.average_precision) == (1.0, 1.0)
    assert told.found.tolist() == [1.0] * len(FALSE_RATES)
    assert told.precision.tolist() == [1.0] * len(RECALLS)
    assert shape([stream(scores, [event(200, 203)])], "mixed") is None


@settings(max_examples=tried(30), deadline=None)
@given(seed=st.integers(0, 10_000))
def test_points_of_curves_are_those_of_the_whole_curve(seed: int) -> None:
    rng = np.random.default_rng(seed)
    one = stream(np.round(rng.exponential(size=600), 1), [event(100, 120), event(300, 320)])
    told = shape([one], None)
    assert told is not None
    assert (np.diff(told.found) >= 0).all()
    assert told.found[-1] == 1.0
    # At each place there is a threshold that finds as much, as precisely.
    label = np.isin(np.arange(600), [*range(100, 120), *range(300, 320)])
    counted = label | (one.owner() < 0) & ~np.isin(np.arange(600), [*range(120, 150), *range(320, 350)])
    for recall, precision in zip(RECALLS, told.precision, strict=True):
        levels = [t for t in np.unique(one.scores) if (one.scores[label] >= t).mean() >= recall - 1e-9]
        assert precision == (label[counted & (one.scores >= levels[-1])]).mean()


def test_curves_of_seeds_are_averaged() -> None:
    some = [
        shape([stream(np.where(np.arange(400) == at, 1.0, 0.0), [event(200, 202)])], None) for at in (200, 9)
    ]
    told = averaged([one for one in some if one is not None])
    assert told is not None
    assert told["true_positive_rate"][0] == 0.25
    assert averaged([]) is None


def test_a_confusion_matrix_counts_events_and_stretches() -> None:
    one = stream(np.zeros(331), [event(100, 103), event(200, 201)])
    told = confusion([one], [found(np.array([5, 101]), one.owner(), one.events)])
    assert (told["found"]["pattern"], told["missed"]["pattern"], told["missed"]["mixed"]) == (1, 1, 0)
    # Of 325 untouched bars are made ten stretches, one with an alarm.
    assert (told["false"], told["quiet"]) == (1, 9)
