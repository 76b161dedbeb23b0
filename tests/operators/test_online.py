"""``half_space_trees``: River's model per instrument behind our features, exact for any cut."""

from __future__ import annotations

import pickle
import subprocess
import sys
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.detector import Logic
from operators.features import FEATURES, BarFeatures
from operators.online import HalfSpaceTrees, bounded
from tapewatch.records import MINUTE
from tests.examples import tried

make: Any = import_module("tests.operators.made_bars")


def trees(**settings: Any) -> HalfSpaceTrees:
    return HalfSpaceTrees(**{"window_size": 20, "n_trees": 10, "height": 6, "drift_delta": 0.0, **settings})


@settings(max_examples=tried(10), deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_scores_are_those_of_a_river_model_per_instrument(seed: int) -> None:
    from river.anomaly import HalfSpaceTrees as Rivers

    bars = make.made_bars(seed, rows=2)
    detector = trees()
    scores = detector.build(None).score(make.whole(bars)).score
    values = BarFeatures(MINUTE).update(make.whole(bars)).values
    for row in range(2):
        model: Any = Rivers(n_trees=10, height=6, window_size=20, seed=detector.seed)
        seen = 0
        for place in np.flatnonzero((bars["row"] == row) & ~np.isnan(values[:, 0])):
            # River orders features by their names.
            point = {f"{i:02d}": value for i, value in enumerate(bounded(values[place]).tolist())}
            told = model.score_one(point)
            model.learn_one(point)
            if seen < 20:
                assert np.isnan(scores[place])
            else:
                assert scores[place] == pytest.approx(-np.log2(1 - told), rel=1e-12)
            seen += 1
        assert seen > 25


@settings(max_examples=tried(25), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    at=st.lists(st.integers(0, 2500), max_size=12),
    resume=st.booleans(),
    delta=st.sampled_from([0.0, 0.002, 0.9]),
)
def test_any_cut_and_resume_gives_the_same_bits(seed: int, at: list[int], resume: bool, delta: float) -> None:
    detector, bars = trees(drift_delta=delta), make.made_bars(seed, detailed=None)

    def build(saved: Any) -> Logic:
        return detector.build(pickle.loads(pickle.dumps(saved)))

    wanted = make.in_parts(build, bars, [], resume=False)
    assert make.in_parts(build, bars, at, resume=resume).tobytes() == wanted.tobytes()
    assert not np.isnan(wanted).all()


def test_scoring_alone_changes_nothing() -> None:
    detector, bars = trees(), make.made_bars(1)
    logic = detector.build(None)
    *most, (last, _) = make.cut_up(bars, [1055, 1056])
    for segments, _ in most:
        logic.score(segments)
    assert (np.diff(last.starts) >= 1).all()
    single = make.cut_up(bars[np.isin(bars["ts_start"], bars["ts_start"].max())], [])[0][0]
    before = pickle.dumps(logic.snapshot())
    logic.score(single, learn=False)
    assert pickle.dumps(logic.snapshot()) == before


def test_a_changed_market_reopens_the_warm_up() -> None:
    """Scores stop when ADWIN tells of a change, and come back after another window."""
    quiet = make.made_bars(3, rows=1, count=700)
    rng = np.random.default_rng(0)
    later = len(quiet) // 2 + 60
    # Volumes that alternate between extremes have another place among the features from then on.
    quiet["volume"][later:] = np.where(rng.random(len(quiet) - later) < 0.5, 1, 10**7)
    watched = trees(drift_delta=0.3).build(None).score(make.whole(quiet)).score
    unwatched = trees(drift_delta=0.0).build(None).score(make.whole(quiet)).score
    lost = np.flatnonzero(np.isnan(watched) & ~np.isnan(unwatched))
    assert len(lost) >= 20
    assert lost[0] > 40
    first = np.arange(lost[0], lost[0] + 20)
    assert lost[:20].tolist() == first.tolist()
    assert not np.isnan(watched[lost[0] + 20])
    assert watched[: lost[0]].tobytes() == unwatched[: lost[0]].tobytes()


def test_other_trees_warm_up_anew(caplog: pytest.LogCaptureFixture) -> None:
    bars = make.made_bars(1, rows=1, count=200)
    first = trees().build(None)
    first.score(make.whole(bars))
    other = trees(window_size=30).build(pickle.loads(pickle.dumps(first.snapshot())))
    assert "warms up anew" in caplog.text
    later = bars.copy()
    later["ts_start"] += 10**15
    assert np.isnan(other.score(make.whole(later)).score[:30]).all()


def test_state_is_a_few_kilobytes_an_instrument() -> None:
    detector, bars = HalfSpaceTrees(), make.made_bars(2, rows=40, count=400)
    logic = detector.build(None)
    logic.score(make.whole(bars))
    with_features = logic.snapshot()
    own = {name: value for name, value in with_features.items() if name != "features"}
    assert len(pickle.dumps(own)) / 40 < 9_000
    assert len(pickle.dumps(with_features)) / 40 < 14_000


def test_an_alarm_names_what_is_strange() -> None:
    bars = make.made_bars(4, rows=1, count=400, detailed=False)
    bars["volume"][-1] *= 500
    logic = HalfSpaceTrees().build(None)
    scores = make.told(logic, bars)
    assert scores.score[-1] > 1.5 * np.nanmedian(scores.score)
    told = logic.explain(bars[-1], "SYM0", scores, len(bars) - 1, 2.0)
    assert sum(told.contributions.values()) == pytest.approx(1)
    assert set(told.contributions) <= set(FEATURES)
    strongest = max(told.contributions, key=lambda name: told.contributions[name])
    assert "volume" in strongest
    assert f"mostly by its {strongest.replace('_', ' ')} (" in told.reason
    assert "SYM0" in told.reason
    assert "standard deviations" in told.reason
    assert (told.observed > 3 * told.expected) == (strongest != "range_given_volume")


def test_contributions_are_of_the_model_that_scored() -> None:
    """Also when the window has turned over since."""
    bars = make.made_bars(5, rows=1, count=400)
    alone = trees().build(None)
    place = len(bars) - 30
    first, second = bars[: place + 1], bars
    short = alone.score(make.whole(first))
    wanted = alone.explain(bars[place], "SYM0", short, place, 2.0)
    longer = trees().build(None)
    assert longer.explain(bars[place], "SYM0", longer.score(make.whole(second)), place, 2.0) == wanted


def test_the_default_flow_needs_no_river() -> None:
    """Its import takes a second."""
    code = (
        "import sys, operators.detectors as d; logics = [x.build(None) for x in d.detectors({})]; "
        "print('river' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
