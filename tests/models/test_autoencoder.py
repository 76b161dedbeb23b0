"""The network learns, its gradients are right, and its graph computes exactly what it should."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import autoencoder
from models.autoencoder import Autoencoder, export, train
from models.exact import on_grid
from operators.features import LARGEST
from operators.onnx_models import FOLDER
from tapewatch.records import Array, Floats
from tests.examples import tried

pytest.importorskip("onnx")


def correlated(seed: int, count: int = 1500, features: int = 6) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(count, 2))
    points = hidden @ rng.normal(size=(2, features)) + 0.1 * rng.normal(size=(count, features))
    return points, np.ones(points.shape, bool)


@pytest.fixture(scope="module")
def network() -> Autoencoder:
    points, known = correlated(0)
    return train(points, known, correlated(0), 1, epochs=40)


def run(model: bytes, points: Array) -> Floats:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    errors: Floats = session.run(None, {"features": points.astype(np.float32)})[0]
    return errors


def by_hand(network: Autoencoder, points: Array, order: Array) -> Floats:
    """Return the errors by NumPy, every sum added up one by one, its terms in an order left to chance."""
    inputs = on_grid(
        (points.astype(np.float32).astype(np.float64) - network.mean) * (1 / network.spread), 2.0**12
    )
    values = inputs
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases, strict=True)):
        sums = np.zeros((len(points), weight.shape[1]))
        for unit in order[order < len(weight)]:
            sums += values[:, unit, None] * weight[unit]
        sums += bias
        last = layer == len(network.weights) - 1
        values = sums if last else on_grid(sums / (1 + np.abs(sums)), 2.0**16)
    return ((inputs - values) * (1 / network.error)) ** 2


@settings(max_examples=tried(20), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 40))
def test_the_graph_computes_the_same_bits_in_any_order(network: Autoencoder, seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    points = np.clip(rng.normal(size=(count, 6)) * rng.choice([1, 20], (count, 1)), -LARGEST, LARGEST)
    errors = run(export(network), points)
    assert errors.tobytes() == by_hand(network, points, rng.permutation(64)).tobytes()


def test_errors_below_what_is_given_back_may_be_left_out(network: Autoencoder) -> None:
    points = np.random.default_rng(2).normal(size=(200, 6))
    both, above = run(export(network), points), run(export(network, above=True), points)
    left_out = above != both
    assert (above[left_out] == 0).all()
    assert 0.3 < left_out.mean() < 0.7
    # What is left out are the inputs that are too small.
    smaller = points - 5.0
    assert run(export(network, above=True), smaller).sum() < run(export(network), smaller).sum() / 10


def test_a_network_that_is_not_on_the_grid_would_differ(network: Autoencoder) -> None:
    """The test above can fail."""
    rng = np.random.default_rng(0)
    points = rng.normal(size=(200, 6))
    rough = Autoencoder(
        network.mean,
        network.spread,
        tuple(weight * (1 + 1e-9) for weight in network.weights),
        network.biases,
        network.error,
        network.losses,
    )
    wanted = by_hand(rough, points, np.arange(64))
    assert any(by_hand(rough, points, rng.permutation(64)).tobytes() != wanted.tobytes() for _ in range(5))


def test_it_learns_what_goes_together(network: Autoencoder) -> None:
    assert network.losses[-1, 0] < network.losses[0, 0] / 3
    assert network.losses[-1, 1] < network.losses[0, 1] / 3
    points, _ = correlated(0)
    broken = points.copy()
    np.random.default_rng(1).shuffle(broken[:, 0])
    model = export(network)
    usual, strange = run(model, points).sum(axis=1), run(model, broken).sum(axis=1)
    assert np.median(strange) > 3 * np.median(usual)


def test_gradients_are_those_of_the_loss() -> None:
    rng = np.random.default_rng(3)
    inputs, known = rng.normal(size=(8, 5)), rng.random((8, 5)) < 0.8
    network = autoencoder._Network(rng, 5)
    parameters = (*network.weights, *network.biases)
    places = [tuple(int(rng.integers(size)) for size in parameter.shape) for parameter in parameters]
    before = [parameter.copy() for parameter in parameters]

    def loss() -> float:
        left = network.layers(inputs)[-1] - inputs
        return float(np.where(known, left**2, 0).sum() / len(inputs))

    slopes = []
    for parameter, place in zip(parameters, places, strict=True):
        kept = parameter[place]
        parameter[place] = kept + 1e-6
        high = loss()
        parameter[place] = kept - 1e-6
        slopes.append((high - loss()) / 2e-6)
        parameter[place] = kept
    network.learn(inputs, known, rate=1.0)
    for parameter, old, mean, place, slope in zip(
        parameters, before, network._means, places, slopes, strict=True
    ):
        assert mean[place] == pytest.approx(0.1 * slope, rel=1e-3, abs=1e-8)
        # Adam's first step is the rate times the sign of the gradient, where that is not tiny.
        if abs(slope) > 1e-4:
            assert old[place] - parameter[place] == pytest.approx(np.sign(slope), rel=1e-3)


def test_what_is_not_known_is_neither_learned_nor_scaled_by() -> None:
    points, known = correlated(0)
    known[:, 3] = np.arange(len(known)) < 700
    other = points.copy()
    other[700:, 3] = 1e3
    first, second = (train(p, known, (p, known), 1, epochs=2) for p in (np.where(known, points, 0), other))
    assert first.mean.tolist() == second.mean.tolist()
    assert first.spread.tolist() == second.spread.tolist()


def test_the_same_seed_gives_the_same_bytes() -> None:
    points, known = correlated(0, 400)
    told: list[tuple[int, float]] = []
    models = [
        export(train(points, known, (points, known), seed, 3, lambda epoch, loss: told.append((epoch, loss))))
        for seed in (1, 1, 2)
    ]
    assert models[0] == models[1] != models[2]
    assert [epoch for epoch, _ in told] == [0, 1, 2] * 3


def test_a_network_whose_sums_could_round_is_not_exported(network: Autoencoder) -> None:
    huge = Autoencoder(
        network.mean,
        network.spread,
        tuple(weight * 2.0**20 for weight in network.weights),
        network.biases,
        network.error,
        network.losses,
    )
    with pytest.raises(ArithmeticError, match="not exact"):
        export(huge)


def test_the_shipped_network_lies_on_the_grid() -> None:
    import onnx

    model = onnx.load(str(FOLDER / "autoencoder.onnx"))
    constants: dict[str, Any] = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    layers = [constants[f"weight{layer}"] for layer in range(6)]
    assert [weight.shape for weight in layers][1:-1] == [(32, 16), (16, 8), (8, 16), (16, 32)]
    for layer, weight in enumerate(layers):
        assert weight.dtype == np.float64
        assert (on_grid(weight, 2.0**16) == weight).all()
        assert (on_grid(constants[f"bias{layer}"], 2.0**16) == constants[f"bias{layer}"]).all()
        inputs = (LARGEST + np.abs(constants["mean"])) * constants["scale"] + 1
        reach = (inputs if layer == 0 else np.ones(len(weight))) @ np.abs(weight)
        assert reach.max() * 2.0**32 < 2.0**53
