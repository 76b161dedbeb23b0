"""The graph that is shipped says what the network says, whatever its weights are, and is made of few steps."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from models import transformer
from operators.bar_windows import COLUMNS, WINDOW
from tapewatch.records import Array
from tests.examples import tried

# jax2onnx asks Flax in a way that Flax is giving up.
pytestmark = [
    pytest.mark.filterwarnings("ignore:'.value' access:DeprecationWarning"),
    pytest.mark.xdist_group("transformer export"),  # what they share takes seconds to make
]
for module in ("jax", "flax", "onnx", "jax2onnx"):
    pytest.importorskip(module)


@cache
def trained() -> transformer.Transformer:
    """Return a network whose every weight, that of norms and biases too, is off its beginning."""
    import jax
    from flax import nnx

    with pytest.MonkeyPatch.context() as patch:
        # The plain export takes seconds for each: as many as are shipped where a change lands, else one.
        patch.setattr(transformer, "BLOCKS", tried(transformer.BLOCKS))
        network = transformer.untrained(3)
    rng = np.random.default_rng(3)
    moved = jax.tree.map(
        lambda leaf: leaf + 0.1 * rng.normal(size=leaf.shape).astype(np.float32), nnx.state(network)
    )
    nnx.update(network, moved)
    return transformer.Transformer(network, np.array([1.0, 0.5, 2.0, 1.5, 0.8]), np.zeros((1, 3)))


@cache
def plain() -> bytes:
    return transformer.plain_export(trained())


@cache
def exported() -> bytes:
    """Return what is shipped, which is held against the plain export: that takes long, and is made once here."""
    beside = plain()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transformer, "plain_export", lambda _: beside)
        return transformer.export(trained())


def windows(count: int) -> Array:
    made: Array = np.random.default_rng(count).normal(size=(count, WINDOW, len(COLUMNS))).astype(np.float32)
    return made


def ran(data: bytes, points: Array) -> Array:
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (told,) = session.run(["errors"], {"features": points})
    result: Array = told
    return result


def test_the_graph_says_what_the_network_says() -> None:
    points = windows(17)
    shown = np.ones((1, WINDOW, 1), np.float32)
    shown[:, -1] = 0
    model: Any = trained().model
    left = np.asarray(model(points, shown)) - points
    expected = left**2 / trained().error.astype(np.float32) ** 2
    told = ran(exported(), points)
    assert told.shape == points.shape
    assert np.abs(told - expected).max() < 1e-5 * max(1.0, float(expected.max()))


def test_a_graph_that_says_something_else_is_not_shipped() -> None:
    other = transformer.Transformer(trained().model, trained().error * 1.01, np.zeros((1, 3)))
    with pytest.raises(ArithmeticError, match="off the plain export"):
        transformer.require_same(transformer.quick_graph(other), plain())


def test_the_graph_has_few_nodes_of_the_standard_operators() -> None:
    import onnx

    model = onnx.load_from_string(exported())
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert len(model.graph.node) < len(onnx.load_from_string(plain()).graph.node) / 3
    assert transformer.quick_graph(trained()) == exported()
