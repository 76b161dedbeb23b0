"""Trees in ONNX send every float32 the way they were grown to."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.onnx_graph import model_of
from models.tree_graph import Trees
from tapewatch.records import Array
from tests.examples import tried

pytest.importorskip("onnx")


@settings(max_examples=tried(30), deadline=None)
@given(
    thresholds=st.lists(
        st.floats(-1e30, 1e30) | st.sampled_from([0.0, -0.0, 0.1, 1.0]), min_size=3, max_size=3
    ),
    points=st.lists(st.integers(1, 5), min_size=7, max_size=7),
)
def test_a_point_at_or_beside_a_threshold_goes_the_right_way(
    thresholds: list[float], points: list[int]
) -> None:
    import onnxruntime
    from onnx import TensorProto

    # A root with two children, which split by the second feature.
    trees = Trees(2)
    leaf = np.array([False, False, False, True, True, True, True])
    trees.add(
        leaf,
        np.array([0, 1, 1, 0, 0, 0, 0]),
        np.array([*thresholds, 0, 0, 0, 0]),
        np.array([1, 3, 5, -1, -1, -1, -1]),
        np.array([2, 4, 6, -1, -1, -1, -1]),
        np.array(points) if points[0] > 1 else None,
    )
    model = model_of(
        "trees", trees.nodes(np.array([1.0, 2.0, 3.0, 4.0]), "x", "y"),
        inputs={"x": (TensorProto.FLOAT, ["N", 2])}, outputs={"y": (TensorProto.FLOAT, ["N", 1])}, constants={},
    )  # fmt: skip
    near = np.array([0.0, *thresholds], np.float32)
    near = np.unique(
        np.concatenate(
            [near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))]
        )
    )
    given_: Array = np.stack(np.meshgrid(near, near), -1).reshape(-1, 2)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    told = session.run(["y"], {"x": given_})[0][:, 0]
    first, second = given_.astype(np.float64).T
    wanted = np.where(
        first <= thresholds[0],
        np.where(second <= thresholds[1], 1, 2),
        np.where(second <= thresholds[2], 3, 4),
    )
    assert told.tolist() == wanted.tolist()
