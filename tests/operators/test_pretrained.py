"""Pre-trained detectors: the same bits whatever else is in a batch, and shares of the score that add up."""

from __future__ import annotations

import pickle
import re
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bar_shapes import NEED_TRADES
from operators.bar_statistics import STATISTICS, BarStatistics
from operators.detector import Logic
from operators.feature_detector import FeatureDetector
from operators.features import FEATURES, BarFeatures
from operators.onnx_models import OnnxModel, load
from operators.pretrained import (
    FEATURE_OF,
    INPUTS,
    LARGEST_SEEN,
    Autoencoder,
    IsolationForest,
    autoencoder_errors,
    autoencoder_score,
    forest_score,
    known_features,
    strongest,
)
from tapewatch.records import MINUTE, Array
from tests.examples import tried

make: Any = import_module("tests.operators.made_bars")
DETECTORS = (IsolationForest, Autoencoder)


def points(seed: int, count: int) -> Array:
    rng = np.random.default_rng(seed)
    spread = rng.choice([0.5, 2, 40], (count, 1))
    values: Array = np.clip(rng.normal(size=(count, len(STATISTICS))) * spread, 0, 80).astype(np.float32)
    return values


def shipped(name: str) -> OnnxModel:
    return load(name, f"{name}.onnx", INPUTS[name])


@settings(max_examples=tried(40), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 300), begin=st.integers(0, 200))
def test_a_score_does_not_depend_on_its_batch(seed: int, size: int, begin: int) -> None:
    values = points(seed, 500)
    part = slice(begin, begin + size)
    forest, network = shipped("isolation_forest"), shipped("autoencoder")
    told = forest_score(forest, strongest(values))
    assert told[part].tobytes() == forest_score(forest, strongest(values[part])).tobytes()
    known = np.random.default_rng(seed).random((len(values), len(FEATURES))) < 0.8
    known[:, 0] = True
    errors = autoencoder_errors(network, values, known)
    assert errors[part].tobytes() == autoencoder_errors(network, values[part], known[part]).tobytes()
    scores = autoencoder_score(errors, known)
    assert scores[part].tobytes() == autoencoder_score(errors[part], known[part]).tobytes()


@pytest.mark.parametrize("kind", DETECTORS)
@settings(max_examples=tried(15), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), at=st.lists(st.integers(0, 2500), max_size=12), resume=st.booleans())
def test_any_cut_and_resume_gives_the_same_bits(
    kind: type[FeatureDetector], seed: int, at: list[int], resume: bool
) -> None:
    bars = make.made_bars(seed, detailed=None)

    def build(saved: Any) -> Logic:
        return kind().build(pickle.loads(pickle.dumps(saved)))

    wanted = make.in_parts(build, bars, [], resume=False)
    assert make.in_parts(build, bars, at, resume=resume).tobytes() == wanted.tobytes()
    ready = ~np.isnan(BarFeatures(MINUTE).update(make.whole(bars)).values[:, 0])
    assert (np.isfinite(wanted) == ready).all()


@pytest.mark.parametrize("kind", DETECTORS)
def test_shares_add_up_and_the_reason_names_the_largest(kind: type[FeatureDetector]) -> None:
    bars = make.made_bars(4, rows=2, count=300)
    logic = kind().build(None)
    scores = make.told(logic, bars)
    for place in np.argsort(-np.nan_to_num(scores.score))[:20]:
        told = logic.explain(bars[place], "SYM0", scores, int(place), 1.0)
        shares = told.contributions
        assert sum(shares.values()) == pytest.approx(1)
        assert min(shares.values()) >= 0
        strongest = max(shares, key=lambda name: shares[name])
        name = strongest.replace("_", " ")
        assert (f"mostly by its {name} (" in told.reason) != (f"; its {name} now is " in told.reason)


def test_shares_of_the_autoencoder_are_its_squared_errors() -> None:
    bars = make.made_bars(4, rows=1, count=300)
    logic = Autoencoder().build(None)
    scores = make.told(logic, bars)
    place = int(np.nanargmax(scores.score))
    segments = make.whole(bars)
    told = BarStatistics(MINUTE).update(segments, BarFeatures(MINUTE).update(segments).values, learn=True)
    known = known_features(bars["detailed"][place : place + 1])
    errors = autoencoder_errors(shipped("autoencoder"), told.statistics[place : place + 1], known)
    largest = [float(errors[0, feature == FEATURE_OF].max()) for feature in range(len(FEATURES))]
    assert scores.score[place] ** 2 * known.sum() == pytest.approx(sum(largest))
    explained = logic.explain(bars[place], "SYM0", scores, place, 1.0)
    for name, share in explained.contributions.items():
        assert share == pytest.approx(largest[FEATURES.index(name)] / sum(largest))


@pytest.mark.parametrize("kind", DETECTORS)
def test_the_reason_names_what_several_bars_amount_to(kind: type[FeatureDetector]) -> None:
    """Many moves the same way, none of them large."""
    bars = make.made_bars(4, rows=1, count=300, detailed=False)
    drift = np.int64(np.median(bars["high"] - bars["low"])) * np.arange(1, 16)
    for name in ("open", "high", "low", "close"):
        bars[name][-30:-15] += drift
    logic = kind().build(None)
    scores = make.told(logic, bars)
    place = len(bars) - 30 + int(np.nanargmax(scores.score[-30:-15]))
    told = logic.explain(bars[place], "SYM0", scores, place, 1.0)
    assert max(told.contributions, key=lambda name: told.contributions[name]) == "trend"
    words = (
        r"mostly by (the drift|moves one way) over \d+ bars \(\d+\.\d standard deviations\); its trend now is"
    )
    assert re.search(words, told.reason)


def test_what_a_bar_cannot_tell_is_not_judged() -> None:
    bars = make.made_bars(4, rows=1, count=300, detailed=False)
    logic = Autoencoder().build(None)
    scores = make.told(logic, bars)
    place = int(np.nanargmax(scores.score))
    told = logic.explain(bars[place], "SYM0", scores, place, 1.0)
    assert not {FEATURES[feature] for feature in NEED_TRADES} & set(told.contributions)


@pytest.mark.parametrize("name", STATISTICS)
def test_an_extreme_statistic_is_strange_to_both(name: str) -> None:
    values = np.zeros((2, len(STATISTICS)), np.float32)
    values[1, list(STATISTICS).index(name)] = 30
    known = np.ones((2, len(FEATURES)), bool)
    forest = forest_score(shipped("isolation_forest"), strongest(values))
    errors = autoencoder_errors(shipped("autoencoder"), values, known)
    network = autoencoder_score(errors, known)
    assert forest[1] > 1.1 * forest[0]
    assert network[1] > 3 * network[0]
    assert int(errors[1].argmax()) == list(STATISTICS).index(name)


def test_models_take_no_more_than_they_were_shown() -> None:
    values, known = points(1, 100), np.ones((100, len(FEATURES)), bool)
    forest, network = shipped("isolation_forest"), shipped("autoencoder")
    capped = [np.minimum(values, LARGEST_SEEN[name]) for name in ("isolation_forest", "autoencoder")]
    assert (capped[1] < values).any()
    assert (
        forest_score(forest, strongest(values)).tolist()
        == forest_score(forest, strongest(capped[0])).tolist()
    )
    errors = [autoencoder_errors(network, part, known).tolist() for part in (values, capped[1])]
    assert errors[0] == errors[1]
