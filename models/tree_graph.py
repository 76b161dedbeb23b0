"""Trees as one ONNX ensemble, laid out so that ONNX Runtime walks them fast."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapewatch.records import Array

#: Attributes of ONNX's tree ensembles that have an entry a node, or a leaf.
_COLUMNS = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes", "nodes_truenodeids",
    "nodes_falsenodeids", "target_treeids", "target_nodeids", "target_ids",
)  # fmt: skip


class Trees:
    """Collects trees of float32 comparisons and writes them as one ``TreeEnsembleRegressor``.

    Deep trees had better read a point and its negative, so that of a node's two children the one that most
    points go to can always be where the comparison fails: ONNX Runtime keeps that child beside the node, and
    the processor guesses the way rightly more often. `python -m benchmarks.models` has what comes of it.

    Parameters
    ----------
    inputs
        How many features a point has.
    """

    def __init__(self, inputs: int) -> None:
        self._inputs = inputs
        self._count = 0
        self._both = False
        self._columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}

    def add(
        self,
        leaf: Array,
        feature: Array,
        threshold: Array,
        left: Array,
        right: Array,
        points: Array | None = None,
    ) -> None:
        """Add a tree.

        Parameters
        ----------
        leaf
            Whether a node is a leaf, bool, in the order of the nodes, the root first. What the arrays below
            hold for a leaf does not matter.
        feature, threshold
            A point whose ``feature`` is at most ``threshold``, float64, goes to the left.
        left, right
            Numbers of a node's children.
        points
            How many points came to a node when the tree grew; without it the tree stays as it is.
        """
        feature, left, right = (
            np.where(leaf, 0, column).astype(np.int64) for column in (feature, left, right)
        )
        limit = np.where(leaf, np.float32(0), at_most(threshold))
        turned = np.zeros(len(leaf), bool) if points is None else ~leaf & (points[left] > points[right])
        self._both |= bool(turned.any())
        # x > t is -x < -t, which is -x <= the float32 before -t.
        feature += self._inputs * turned
        limit = np.where(turned, np.nextafter(-limit, np.float32(-np.inf)), limit)
        at_leaf = np.flatnonzero(leaf).tolist()
        for name, values in {
            "nodes_treeids": [self._count] * len(leaf),
            "nodes_nodeids": range(len(leaf)),
            "nodes_featureids": feature.tolist(),
            "nodes_values": limit.tolist(),
            "nodes_modes": np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
            "nodes_truenodeids": np.where(turned, right, left).tolist(),
            "nodes_falsenodeids": np.where(turned, left, right).tolist(),
            "target_treeids": [self._count] * len(at_leaf),
            "target_nodeids": at_leaf,
            "target_ids": [0] * len(at_leaf),
        }.items():
            self._columns[name] += values
        self._count += 1

    def nodes(self, weights: Array, source: str, to: str) -> list[Any]:
        """Return ONNX nodes that sum the leaves.

        Parameters
        ----------
        weights
            Of the leaves, in the order of the trees and of their nodes.
        source
            Name of the points, float32 ``(n, inputs)``.
        to
            Name of the sums, float32 ``(n, 1)``.
        """
        from onnx import helper

        columns: dict[str, Any] = self._columns | {"target_weights": weights.tolist()}
        before = [
            helper.make_node("Neg", [source], ["negative_points"]),
            helper.make_node("Concat", [source, "negative_points"], ["both_ways"], axis=1),
        ]
        trees = helper.make_node(
            "TreeEnsembleRegressor", ["both_ways" if self._both else source], [to], domain="ai.onnx.ml",
            n_targets=1, aggregate_function="SUM", post_transform="NONE", **columns,
        )  # fmt: skip
        return [*before, trees] if self._both else [trees]


def at_most(thresholds: Array) -> Array:
    """Return the largest float32 that is no larger: no float32 lies between the two.

    >>> float(at_most(np.array([0.1]))[0]) <= 0.1
    True
    """
    near = thresholds.astype(np.float32)
    return np.where(near > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
