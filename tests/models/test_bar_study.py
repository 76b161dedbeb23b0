"""The study of injected bars: the same every time, chance at the bottom, nothing learned from the test part."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from models.bar_baselines import BASELINES, derived, windowed_gaussian
from models.bar_curves import FALSE_RATES, RECALLS
from models.bar_events import KINDS
from models.bar_json import as_json
from models.bar_results import EVERYTHING, Result
from models.bar_series import Series, simulated_series
from models.bar_sigmas import READINGS
from models.bar_study import case_of, study
from models.bar_tables import picture, tables

for module in ("sklearn", "river", "matplotlib"):
    pytest.importorskip(module)


@cache
def series() -> tuple[Series, ...]:
    return tuple(simulated_series(5, symbols=2, days=2, trained=0.5))


@cache
def result() -> Result:
    return study(lambda seed: series(), [3])


def test_detectors_find_more_than_chance_and_a_constant_alarm_finds_nothing() -> None:
    told = as_json(result())["scorers"]
    assert set(BASELINES) | {EVERYTHING, "ensemble", "tail_combination", "transformer"} <= set(told)
    assert told[EVERYTHING]["mean"] == 0
    assert told["ensemble"]["mean"] > told["random"]["mean"]
    for one in told.values():
        for kind in one["kinds"].values():
            own = kind["own_threshold"]
            assert 0 <= own["precision"] <= 1
            assert own["f1"] <= 1
            by_f1 = kind["threshold_by_f1"]
            assert 0 <= by_f1["f1"] <= by_f1["f1_share"] <= 1
            assert kind["roc_auc"] is None or 0 <= kind["roc_auc"] <= 1


def test_curves_are_bounded_and_matrices_agree_with_recall() -> None:
    told = as_json(result())
    assert {"own_threshold", "threshold_by_f1"} <= set(told["scorers"]["random"]["confusion"])
    assert len(told["curves"]["recall"]) == len(RECALLS) <= 64
    for name, one in told["scorers"].items():
        assert one["baseline"] == (name in BASELINES or name == EVERYTHING)
        for points in one["curves"].values():
            if points is not None:
                assert len(points["true_positive_rate"]) == len(FALSE_RATES) <= 64
                assert points["true_positive_rate"] == sorted(points["true_positive_rate"])
        matrix = one["confusion"]["one_false_episode_per_day"]
        for kind in KINDS:
            events = matrix["found"][kind] + matrix["missed"][kind]
            assert events == told["events"][kind]
            if events:
                recall = one["kinds"][kind]["event_recall_at_one_false_episode_per_day"]
                assert matrix["found"][kind] / events == pytest.approx(recall, abs=1e-3)
        by_budget = list(one["event_recall_by_false_episodes_per_day"].values())
        assert by_budget == sorted(by_budget)


def test_tables_and_picture_name_everyone(tmp_path: Path) -> None:
    text = tables(result())
    for name in result().rows:
        assert name in text
    assert all(kind in text for kind in KINDS)
    picture(result(), tmp_path / "p.png")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


def test_the_same_seed_gives_the_same_case_and_another_another() -> None:
    cases = [case_of(series()[0], seed) for seed in range(8)]
    again = [case_of(series()[0], seed) for seed in range(8)]
    assert [case.bars.tobytes() for case in cases] == [case.bars.tobytes() for case in again]
    assert len({case.bars.tobytes() for case in cases}) > 3
    for case in cases:
        assert case.bars[: case.first].tobytes() == series()[0].bars[: case.first].tobytes()


def test_the_reading_of_a_sigma_reaches_the_events_and_is_told() -> None:
    usual, robust = (case_of(series()[0], 4, one) for one in READINGS)
    assert [event.size for event in usual.events] == [event.size for event in robust.events]
    assert usual.events
    assert usual.bars.tobytes() != robust.bars.tobytes()
    assert as_json(result())["sigma"] == "deviation"
    assert "standard deviation" in tables(result())
    other = replace(result(), reading="robust")
    assert as_json(other)["sigma"] == "robust"
    assert "median absolute deviation" in tables(other)


def test_baselines_look_at_no_later_bar() -> None:
    bars = series()[0].bars
    half = len(bars) // 2
    assert np.allclose(derived(bars)[:half], derived(bars[:half]), atol=1e-9)
    whole, part = windowed_gaussian(bars, 0, 1)[:half], windowed_gaussian(bars[:half], 0, 1)
    assert np.allclose(whole, part, atol=1e-6, equal_nan=True)
