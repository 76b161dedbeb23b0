"""The exported forest is scikit-learn's, and its sums are exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.exact import finest_steps, on_grid, require_exact
from models.isolation_forest import export, train
from operators.onnx_models import FOLDER
from tapewatch.records import Array
from tests.examples import tried

pytest.importorskip("sklearn")
pytest.importorskip("onnx")


def run(model: bytes, points: Array, output: str) -> Array:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    result: Array = session.run([output], {"features": points})[0][:, 0]
    return result


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    features=st.integers(1, 14),
    trees=st.sampled_from([1, 30, 100]),
    samples=st.sampled_from([2, 64, 1024]),
)
def test_scores_are_those_of_scikit_learn(seed: int, features: int, trees: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    points = (rng.standard_t(3, (1500, features)) ** 2).astype(np.float32)
    points[::5] = np.round(points[::5])
    forest = train(points, seed, trees, samples)
    others = np.concatenate([points, (20 * rng.random((1500, features))).astype(np.float32)])
    wanted = -forest.score_samples(others)
    model = export(forest)
    assert np.abs(run(model, others, "score") - wanted).max() < 1e-6
    depth = run(model, others, "depth")
    assert np.abs(2.0 ** -depth.astype(np.float64) - wanted).max() < 1e-6


def test_training_grows_the_trees_that_were_asked_for() -> None:
    grown: list[int] = []
    points = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    forest = train(points, 1, 25, 1024, grown.append)
    assert grown == [10, 20, 25]
    assert len(forest.estimators_) == 25
    assert forest.max_samples_ == 300


def test_the_same_seed_gives_the_same_bytes() -> None:
    points = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    assert export(train(points, 1, 12)) == export(train(points, 1, 12))
    assert export(train(points, 1, 12)) != export(train(points, 2, 12))


def test_leaves_of_the_shipped_forest_add_up_exactly_in_any_order() -> None:
    import onnx

    model = onnx.load(str(FOLDER / "isolation_forest.onnx"))
    (ensemble,) = (node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor")
    attributes: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in ensemble.attribute}
    weights = np.array(attributes["target_weights"], np.float64)
    trees = np.array(attributes["target_treeids"])
    largest = sum(np.abs(weights[trees == tree]).max() for tree in np.unique(trees))
    steps = finest_steps(largest, np.float32)
    assert (on_grid(weights, steps) == weights).all()
    require_exact(largest, steps, np.float32)
    # A forest whose leaves are what they come to would not pass.
    assert (on_grid(weights * (1 + 1e-6), steps) != weights * (1 + 1e-6)).any()
    assert "base_values" not in attributes


@settings(max_examples=tried(50), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 200), largest=st.floats(0.01, 100))
def test_sums_on_the_grid_are_exact(seed: int, count: int, largest: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.uniform(-1, 1, count)
    values *= largest / np.abs(values).sum()
    steps = finest_steps(1.001 * largest + count / 2**20, np.float32)
    exact = on_grid(values, steps).astype(np.float32)
    total = exact.astype(np.float64).sum()
    for _ in range(5):
        rng.shuffle(exact)
        running = np.float32(0)
        for value in exact:
            running = np.float32(running + value)
        assert running == total


def test_sums_that_could_round_are_refused() -> None:
    require_exact(1.9, 2.0**23, np.float32)
    with pytest.raises(ArithmeticError, match="not exact"):
        require_exact(2.1, 2.0**23, np.float32)
