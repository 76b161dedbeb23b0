"""Pre-trained detectors: the same bits whatever else is in a batch, and shares of the score that add up."""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bar_shapes import NEED_TRADES
from operators.detector import Logic
from operators.feature_detector import FeatureDetector
from operators.features import FEATURES, BarFeatures
from operators.onnx_models import load
from operators.pretrained import (
    LARGEST_SEEN,
    Autoencoder,
    IsolationForest,
    autoencoder_errors,
    autoencoder_score,
    forest_score,
    known_features,
)
from tapewatch.records import MINUTE, Array
from tests.examples import tried

make: Any = import_module("tests.operators.made_bars")
DETECTORS = (IsolationForest, Autoencoder)


def points(seed: int, count: int) -> Array:
    rng = np.random.default_rng(seed)
    spread = rng.choice([0.5, 2, 12], (count, 1))
    values: Array = np.clip(rng.normal(size=(count, len(FEATURES))) * spread, -50, 50).astype(np.float32)
    return values


@settings(max_examples=tried(40), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, 300), begin=st.integers(0, 200))
def test_a_score_does_not_depend_on_its_batch(seed: int, size: int, begin: int) -> None:
    values = points(seed, 500)
    part = slice(begin, begin + size)
    forest, network = (
        load("isolation_forest", "isolation_forest.onnx"),
        load("autoencoder", "autoencoder.onnx"),
    )
    assert forest_score(forest, values)[part].tobytes() == forest_score(forest, values[part]).tobytes()
    known = np.random.default_rng(seed).random(values.shape) < 0.8
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
        assert f"mostly by its {strongest.replace('_', ' ')} (" in told.reason


def test_shares_of_the_autoencoder_are_its_squared_errors() -> None:
    bars = make.made_bars(4, rows=1, count=300)
    logic = Autoencoder().build(None)
    scores = make.told(logic, bars)
    place = int(np.nanargmax(scores.score))
    values = BarFeatures(MINUTE).update(make.whole(bars)).values[place : place + 1]
    known = known_features(bars["detailed"][place : place + 1])
    errors = autoencoder_errors(load("autoencoder", "autoencoder.onnx"), values, known)[0]
    told = logic.explain(bars[place], "SYM0", scores, place, 1.0)
    assert scores.score[place] ** 2 * known.sum() == pytest.approx(errors.sum())
    for name, share in told.contributions.items():
        assert share == pytest.approx(errors[FEATURES.index(name)] / errors.sum())


def test_what_a_bar_cannot_tell_is_not_judged() -> None:
    bars = make.made_bars(4, rows=1, count=300, detailed=False)
    logic = Autoencoder().build(None)
    scores = make.told(logic, bars)
    place = int(np.nanargmax(scores.score))
    told = logic.explain(bars[place], "SYM0", scores, place, 1.0)
    assert not {FEATURES[feature] for feature in NEED_TRADES} & set(told.contributions)


@pytest.mark.parametrize("name", FEATURES)
def test_an_extreme_feature_is_strange_to_both(name: str) -> None:
    values = np.zeros((2, len(FEATURES)), np.float32)
    values[1, FEATURES.index(name)] = 30
    known = np.ones(values.shape, bool)
    forest = forest_score(load("isolation_forest", "isolation_forest.onnx"), values)
    errors = autoencoder_errors(load("autoencoder", "autoencoder.onnx"), values, known)
    network = autoencoder_score(errors, known)
    assert forest[1] > 1.1 * forest[0]
    assert network[1] > 3 * network[0]
    assert int(errors[1].argmax()) == FEATURES.index(name)


def test_the_forest_takes_both_directions_alike_and_no_more_than_it_was_shown() -> None:
    forest = load("isolation_forest", "isolation_forest.onnx")
    values = points(1, 100)
    assert forest_score(forest, values).tolist() == forest_score(forest, -values).tolist()
    capped = np.clip(values, -LARGEST_SEEN, LARGEST_SEEN)
    assert forest_score(forest, values).tolist() == forest_score(forest, capped).tolist()
