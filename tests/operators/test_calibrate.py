"""Calibration: the same verdicts for any cut, the budget kept, and anomalies that do not become normal."""

from __future__ import annotations

import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.calibrate import Calibration, Verdicts
from operators.scale import Scale
from tapewatch.records import DAY, HOUR, MINUTE, SECOND, Array, Floats, Int64s
from tests.examples import tried

QUICK = Scale(lowest=0, octaves=24, shape=0.4, spread=0.5, prior_peaks=10, warm_up=20, heaviest=0.6)
SIZES = Scale(lowest=0, octaves=32, shape=0.45, spread=0.5, prior_peaks=400, warm_up=400, heaviest=0.6)
OPENS = 20_000 * DAY + 14 * HOUR


def pareto(rng: np.random.Generator, count: int, index: float = 2.5) -> Floats:
    """Return scores with a Pareto tail, whole numbers as sizes are."""
    scores: Floats = np.floor(100.0 * (1.0 - rng.random(count)) ** (-1.0 / index))
    return scores


def day_of(count: int, day: int = 0) -> Int64s:
    """Return evenly spread times of a session of 390 minutes."""
    times: Int64s = OPENS + day * DAY + np.arange(count) * (390 * MINUTE) // count
    return times


def alone(calibration: Calibration, scores: Floats, times: Int64s, *, every: bool = True) -> Verdicts:
    """Judge scores of one instrument."""
    starts = np.array([0, len(scores)], np.int64)
    return calibration.judge(np.zeros(1, np.intp), starts, scores, times, every=every)


def tape(seed: int, count: int, instruments: int, days: int) -> tuple[Array, Floats, Int64s]:
    """Return instrument, score and time of some observations in order; a few are NaN, a few huge."""
    rng = np.random.default_rng(seed)
    row = rng.integers(0, instruments, count)
    scores = pareto(rng, count, 1.5)
    scores[rng.random(count) < 0.02] *= 50.0
    scores[rng.random(count) < 0.05] = np.nan
    times = np.sort(OPENS + rng.integers(0, days, count) * DAY + rng.integers(0, 90 * MINUTE, count))
    return row, scores, times - rng.integers(0, 3 * SECOND, count)


def judged(calibration: Calibration, row: Array, scores: Floats, times: Int64s, *, every: bool) -> Any:
    """Judge one batch; return alarm, threshold and severity by its own order."""
    order = np.argsort(row, kind="stable")
    rows, first = np.unique(row[order], return_index=True)
    starts = np.concatenate([first, [len(row)]]).astype(np.int64)
    verdicts = calibration.judge(rows, starts, scores[order], times[order], every=every)
    out = np.full((len(row), 3), np.nan)
    out[order, 0] = verdicts.alarm
    shown = slice(None) if every else verdicts.alarm
    out[order[shown], 1], out[order[shown], 2] = verdicts.threshold[shown], verdicts.severity[shown]
    return out


def contents(calibration: Calibration) -> list[bytes]:
    """Return the state as bytes."""
    return [np.ascontiguousarray(array).tobytes() for array in calibration.snapshot().values()]


cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "count": st.integers(30, 4_000),
        "instruments": st.integers(1, 6),
        "days": st.integers(1, 4),
    }
)


@settings(max_examples=tried(60), deadline=None)
@given(
    case=cases, cuts=st.lists(st.integers(0, 4_000), max_size=30), stop=st.integers(0, 30),
    budget=st.sampled_from([0.5, 1.0, 20.0]), every=st.booleans(),
)  # fmt: skip
def test_any_cut_and_any_resume_give_the_same_verdicts(
    case: dict[str, int], cuts: list[int], stop: int, budget: float, every: bool
) -> None:
    row, scores, times = tape(**case)
    whole = Calibration(QUICK, budget, 10 * SECOND)
    wanted = judged(whole, row, scores, times, every=every)
    found, parts = Calibration(QUICK, budget, 10 * SECOND), []
    for i, part in enumerate(np.split(np.arange(len(row)), sorted(min(c, len(row)) for c in cuts))):
        if i == stop:
            found = Calibration(QUICK, budget, 10 * SECOND, pickle.loads(pickle.dumps(found.snapshot())))
        parts.append(judged(found, row[part], scores[part], times[part], every=every))
    assert np.array_equal(np.concatenate(parts), wanted, equal_nan=True)
    assert contents(found) == contents(whole)


@settings(max_examples=tried(30), deadline=None)
@given(case=cases)
def test_an_instrument_does_not_depend_on_the_others(case: dict[str, int]) -> None:
    row, scores, times = tape(**case)
    wanted = judged(Calibration(QUICK, 1.0, 10 * SECOND), row, scores, times, every=True)
    for r in np.unique(row):
        mine = row == r
        found = judged(
            Calibration(QUICK, 1.0, 10 * SECOND), row[mine] - r, scores[mine], times[mine], every=True
        )
        assert np.array_equal(found, wanted[mine], equal_nan=True)


def test_there_are_alarms_in_the_properties_above() -> None:
    """They would hold of nothing, too."""
    row, scores, times = tape(1, 4_000, 3, 3)
    assert judged(Calibration(QUICK, 1.0, 10 * SECOND), row, scores, times, every=True)[:, 0].sum() > 5


def test_a_score_is_judged_before_it_is_learned() -> None:
    rng = np.random.default_rng(1)
    scores, times = pareto(rng, 3_000), day_of(3_000)
    before = alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times)
    scores[2_000] = 1e8
    after = alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times)
    assert after.threshold[2_000] == before.threshold[2_000]
    assert after.alarm[2_000]
    assert (after.threshold[:2_000] == before.threshold[:2_000]).all()


def test_looking_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    calibration = Calibration(SIZES, 1.0, 10 * SECOND)
    alone(calibration, pareto(rng, 3_000), day_of(3_000))
    state = contents(calibration)
    shown = calibration.look(np.zeros(1, np.intp), np.array([1e7]), day_of(1) + 7 * HOUR)
    assert shown.alarm.all()
    assert contents(calibration) == state


def test_nothing_is_an_alarm_during_the_warm_up() -> None:
    scores, times = np.full(SIZES.warm_up, 100.0), day_of(SIZES.warm_up)
    scores[50] = 1e9
    verdicts = alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times)
    assert not verdicts.alarm.any()
    assert np.isinf(verdicts.threshold).all()


@pytest.mark.parametrize("index", [1.5, 2.5])
def test_the_budget_is_kept_on_clean_scores(index: float) -> None:
    """Over 60 instruments of 5,000 scores a day and three days, within a factor of two."""
    rng = np.random.default_rng(3)
    alarms = np.zeros(3)
    for _ in range(60):
        calibration = Calibration(SIZES, 1.0, 10 * SECOND)
        for day in range(3):
            alarms[day] += alone(calibration, pareto(rng, 5_000, index), day_of(5_000, day)).alarm.sum()
    assert ((alarms / 60 > 0.5) & (alarms / 60 < 2.0)).all()


def test_one_anomaly_does_not_become_normal() -> None:
    rng = np.random.default_rng(4)
    scores, times = pareto(rng, 20_000), day_of(20_000)
    clean = alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times).threshold[-1]
    scores[10_000] = 1e8
    assert alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times).threshold[-1] < 1.5 * clean


def test_spending_is_held_back_on_the_day_and_forgiven_on_the_next() -> None:
    rng = np.random.default_rng(5)
    calibration = Calibration(SIZES, 1.0, 10 * SECOND)
    scores, times = pareto(rng, 20_000), day_of(20_000)
    scores[5_000:15_000:1_000] = 8_000.0 * 1.05 ** np.arange(10)
    first = alone(calibration, scores, times)
    assert first.alarm[5_000]
    assert first.alarm.sum() <= 6
    assert first.threshold[15_000] > 3 * first.threshold[5_000]
    second = alone(calibration, pareto(rng, 20_000), day_of(20_000, 1))
    assert second.threshold[0] < first.threshold[-1]


def test_restraint_asks_for_more_from_the_second_alarm_of_a_day_on() -> None:
    rng = np.random.default_rng(5)
    scores, times = pareto(rng, 20_000), day_of(20_000)
    scores[8_000], scores[12_000] = 5e4, 9e3
    free, held = (
        alone(Calibration(replace(SIZES, restraint=restraint), 1.0, 10 * SECOND), scores, times)
        for restraint in (0.0, 1.0)
    )
    first = int(free.alarm.argmax())
    assert first == 8_000
    assert np.array_equal(free.threshold[: first + 1], held.threshold[: first + 1])
    assert held.threshold[12_000] > 1.5 * free.threshold[12_000]


def test_a_burst_is_one_alarm_against_the_budget() -> None:
    rng = np.random.default_rng(6)
    scores, times = pareto(rng, 20_000), day_of(20_000)
    once, often = scores.copy(), scores.copy()
    minute = times // MINUTE
    inside = np.flatnonzero(minute == minute[10_000])
    once[inside[0]], often[inside] = 1e6, 1e6
    thresholds = [alone(Calibration(SIZES, 1.0, 10 * SECOND), s, times).threshold for s in (once, often)]
    assert thresholds[1][inside[-1] + 1] < 1.5 * thresholds[0][inside[-1] + 1]
    assert len(inside) > 10
    assert alone(Calibration(SIZES, 1.0, 10 * SECOND), often, times).alarm[inside].all()


def test_hours_before_the_session_do_not_make_the_first_day_look_quiet() -> None:
    """Six hours with a trade a minute, then a session with forty."""
    rng = np.random.default_rng(7)
    early = OPENS - 6 * HOUR + np.arange(360) * MINUTE
    times = np.concatenate([early, day_of(15_600)])
    verdicts = alone(Calibration(QUICK, 1.0, 10 * SECOND), pareto(rng, len(times)), times)
    late = slice(360 + 15_600 // 13, None)
    true = 100.0 * 15_600 ** (1 / 2.5)
    assert 0.4 * true < np.median(verdicts.threshold[late]) < 2.5 * true
    assert verdicts.alarm[late].sum() <= 3


def test_severity_grows_with_the_score() -> None:
    rng = np.random.default_rng(8)
    calibration = Calibration(SIZES, 1.0, 10 * SECOND)
    alone(calibration, pareto(rng, 20_000), day_of(20_000))
    scores = np.array([1.0, 100.0, 1_000.0, 5_000.0, 20_000.0, 1e6])
    severities = calibration.severity(np.zeros(6, np.intp), scores)
    assert (np.diff(severities) >= 0).all()
    assert severities[0] < 10 < 40 < severities[3] < 60 < 70 < severities[5] <= 100


def test_a_fit_after_an_alarm_does_not_take_the_pace_from_a_handful_of_scores() -> None:
    rng = np.random.default_rng(9)
    scores, times = pareto(rng, 20_000), day_of(20_000)
    clean = alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times).threshold
    fits = np.flatnonzero(np.diff(clean[5_000:])) + 5_001
    for place in (fits[0] + np.arange(0, 60, 10)).tolist():
        with_alarms = scores.copy()
        with_alarms[[place, place + 20]] = 1.01 * clean[place], 1e6
        threshold = alone(Calibration(SIZES, 1.0, 10 * SECOND), with_alarms, times).threshold
        assert threshold[place + 20] > 0.97 * threshold[place]


def test_a_fit_for_the_first_score_of_a_batch_is_that_of_an_uncut_tape() -> None:
    rng = np.random.default_rng(12)
    scores, times = pareto(rng, 2_000), day_of(2_000)
    times[1_200:] += 3 * HOUR
    scores[[1_100, 1_200]] = 1e5, 2e5
    whole = alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times)
    cut = Calibration(SIZES, 1.0, 10 * SECOND)
    alone(cut, scores[:1_200], times[:1_200])
    late = alone(cut, scores[1_200:], times[1_200:])
    assert whole.alarm[1_100]
    assert (late.threshold == whole.threshold[1_200:]).all()


def test_however_far_an_alarm_is_beyond_the_threshold_it_teaches_the_same() -> None:
    rng = np.random.default_rng(13)
    scores, times = pareto(rng, 20_000), day_of(20_000)
    told = []
    for largest in (3e4, 3e7):
        scores[8_000] = largest
        told.append(alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times))
    assert told[0].alarm[8_000]
    assert (told[0].threshold == told[1].threshold).all()
    scores[8_000] = 1.0
    assert told[0].threshold[-1] >= alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times).threshold[-1]


def test_standard_deviations_begin_from_what_is_usual() -> None:
    sigmas = Scale(
        lowest=-4, octaves=12, shape=0.0, spread=0.25, prior_peaks=20, warm_up=45, usual_threshold=3.0,
        prior_observations=150,
    )  # fmt: skip
    rng = np.random.default_rng(10)
    scores = 0.1 + 0.1 * rng.random(390 * 10)
    times = np.concatenate([day_of(390, day) for day in range(10)])
    threshold = alone(Calibration(sigmas, 1.0, 6 * MINUTE), scores, times).threshold
    assert threshold[50] > 2.0 > 0.5 > threshold[-1] > 0.3


@settings(max_examples=tried(60), deadline=None)
@given(case=cases, factor=st.floats(0.5, 1e4), wait=st.integers(0, 100 * MINUTE))
def test_looking_says_what_judging_says(case: dict[str, int], factor: float, wait: int) -> None:
    row, scores, times = tape(**case)
    calibration = Calibration(QUICK, 1.0, 10 * SECOND)
    judged(calibration, row, scores, times, every=False)
    rows = np.unique(row)
    next_scores, later = 100.0 * factor * np.ones(len(rows)), np.full(len(rows), times.max() + wait)
    # On a new day more changes than a look can know.
    later = np.minimum(later, times.max() // DAY * DAY + DAY - 1)
    same_day = np.array([times[row == r].max() // DAY == later[0] // DAY for r in rows])
    state = contents(calibration)
    shown = calibration.look(rows, next_scores, later)
    assert contents(calibration) == state
    wanted = calibration.judge(rows, np.arange(len(rows) + 1), next_scores, later, every=True)
    assert (shown.alarm == wanted.alarm)[same_day].all()
    loud = same_day & wanted.alarm
    assert (shown.threshold == wanted.threshold)[loud].all()
    assert (shown.severity == wanted.severity)[loud].all()


def test_what_lasts_is_not_cut_short_by_its_own_spending() -> None:
    rng = np.random.default_rng(11)
    scores, times = pareto(rng, 20_000), day_of(20_000)
    lasting = slice(10_000, 10_200)
    scores[lasting] = 12_000.0
    verdicts = alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, times)
    assert verdicts.alarm[lasting].all()


def test_what_lies_far_beyond_is_told_however_much_was_spent() -> None:
    rng = np.random.default_rng(14)
    calibration = Calibration(SIZES, 1.0, 10 * SECOND)
    scores, times = pareto(rng, 20_000), day_of(20_000)
    scores[2_000:14_000:1_000] = 1e4 * 2.0 ** np.arange(12)
    scores[18_000] = 1e10
    verdicts = alone(calibration, scores, times)
    assert verdicts.alarm[2_000:14_000:1_000].sum() >= 4
    assert verdicts.alarm[18_000]


def test_a_tail_that_grows_heavy_does_not_flood() -> None:
    """What the morning has once a day the afternoon has a hundred times."""
    rng = np.random.default_rng(15)
    told = np.zeros(20)
    for i in range(20):
        scores = np.concatenate([pareto(rng, 10_000, 3.5), pareto(rng, 10_000, 1.2)])
        told[i] = alone(Calibration(SIZES, 1.0, 10 * SECOND), scores, day_of(20_000)).alarm.sum()
    assert told.mean() < 5
