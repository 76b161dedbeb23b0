"""Training the isolation forest, and writing it as one tree ensemble.

Liu, Ting and Zhou, "Isolation Forest", 2008, as scikit-learn has it. A point's anomaly score is ``2**-x``,
where ``x`` is its mean depth in the trees over the depth to be expected. So a leaf carries its own share of
``x``, the trees' shares are summed by ONNX's ``TreeEnsembleRegressor``, and one ``2**-x`` ends the graph.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from models.exact import finest_steps, on_grid, require_exact
from models.onnx_graph import model_of
from models.tree_graph import Trees
from tapewatch.records import Array

TREES, SAMPLES = 60, 4096
_TREES_AT_ONCE = 10


def train(
    points: Array,
    seed: int,
    trees: int = TREES,
    samples: int = SAMPLES,
    on_tree: Callable[[int], None] = lambda done: None,
) -> Any:  # noqa: ANN401 - scikit-learn has no types
    """Return scikit-learn's forest, fitted to float32 points ``(n, features)``.

    ``on_tree`` is told how many trees have grown.
    """
    from sklearn.ensemble import IsolationForest

    samples = min(samples, len(points))
    forest = IsolationForest(n_estimators=0, max_samples=samples, random_state=seed, warm_start=True)
    for done in range(_TREES_AT_ONCE, trees + _TREES_AT_ONCE, _TREES_AT_ONCE):
        forest.set_params(n_estimators=min(done, trees))
        forest.fit(points)
        on_tree(min(done, trees))
    return forest


def export(forest: Any, input_name: str = "features") -> bytes:  # noqa: ANN401 - scikit-learn has no types
    """Return the forest as an ONNX model with one input ``[N, F]`` and outputs ``score`` and ``depth``.

    ``score`` is what ``-forest.score_samples`` returns, within 1e-6; ``depth`` is ``x``, the same
    to the last bit whatever the size of the batch.

    Raises
    ------
    ArithmeticError
        If the sum of the leaves could round.
    """
    from onnx import TensorProto, helper

    usual = _expected_depth(np.array([float(forest.max_samples_)]))[0]
    trees = Trees(int(forest.n_features_in_))
    leaves: list[Array] = []
    middles: list[float] = []
    for estimator, features in zip(forest.estimators_, forest.estimators_features_, strict=True):
        tree = estimator.tree_
        is_leaf = tree.children_left < 0
        depth = _node_depths(tree) + _expected_depth(tree.n_node_samples.astype(np.float64))
        share = depth[is_leaf] / (len(forest.estimators_) * usual)
        # Leaves count from the middle of their tree's, which leaves the sum one more bit.
        middles.append((share.max() + share.min()) / 2)
        leaves.append(share - middles[-1])
        trees.add(
            is_leaf,
            features[np.where(is_leaf, 0, tree.feature)],
            tree.threshold,
            tree.children_left,
            tree.children_right,
            tree.n_node_samples,
        )
    steps = finest_steps(1.001 * sum(float(np.abs(share).max()) for share in leaves), np.float32)
    leaves = [on_grid(share, steps) for share in leaves]
    require_exact(sum(float(np.abs(share).max()) for share in leaves), steps, np.float32)
    nodes = [
        *trees.nodes(np.concatenate(leaves), input_name, "from_middle"),
        helper.make_node("Add", ["from_middle", "middle"], ["depth"]),
        helper.make_node("Neg", ["depth"], ["negative"]),
        helper.make_node("Pow", ["two", "negative"], ["score"]),
    ]
    return model_of(
        "isolation_forest",
        nodes,
        inputs={input_name: (TensorProto.FLOAT, ["N", int(forest.n_features_in_)])},
        outputs={name: (TensorProto.FLOAT, ["N", 1]) for name in ("score", "depth")},
        constants={"two": np.array(2.0, np.float32), "middle": np.array(sum(middles), np.float32)},
    )


def _node_depths(tree: Any) -> Array:  # noqa: ANN401 - scikit-learn has no types
    """Return the depth of each node, 0 for the root; a node comes before its children."""
    depth = np.zeros(tree.node_count)
    for node in range(tree.node_count):
        for child in (tree.children_left[node], tree.children_right[node]):
            if child >= 0:
                depth[child] = depth[node] + 1
    return depth


def _expected_depth(samples: Array) -> Array:
    """Return the mean depth of an unsuccessful search in a tree of so many points (Liu et al., eq. 1).

    >>> _expected_depth(np.array([1.0, 2.0, 256.0])).round(4).tolist()
    [0.0, 1.0, 10.2448]
    """
    safe = np.maximum(samples, 3.0)
    depth = 2 * (np.log(safe - 1) + np.euler_gamma) - 2 * (safe - 1) / safe
    return np.where(samples <= 1, 0.0, np.where(samples == 2, 1.0, depth))
