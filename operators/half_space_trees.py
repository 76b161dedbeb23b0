"""Half-space trees as arrays: how much of the last window lay where a point lies.

The trees halve a space of random features at random places, once and for all; each instrument counts, window
by window, how many of its points each node holds (Tan, Ting and Liu, "Fast Anomaly Detection for Streaming
Data", 2011). Splits and masses are those of River's ``HalfSpaceTrees`` with the same parameters, bit for bit.
What a point weighs depends only on the leaf it falls into, so a window is a list of leaves, and the weights
of all leaves are told once a window.
"""

from __future__ import annotations

import random

import numpy as np

from tapewatch.records import Array, Floats, Int64s

#: Share of a range that a split keeps from either of its ends.
_PADDING = 0.15
#: A node with less than this share of the window is not looked into (River's, and the paper's, constant).
_TOO_LIGHT = 0.1


class HalfSpaceTrees:
    """The splits of some trees over features in [0, 1], and what they make of points and windows.

    Parameters
    ----------
    features
        How many features a point has.
    trees, height
        How many trees, and how many splits from root to leaf.
    window
        Points of a window.
    seed
        The same seed gives the same splits.

    Examples
    --------
    >>> trees = HalfSpaceTrees(features=1, trees=5, height=3, window=3, seed=42)
    >>> seen = trees.leaves(np.array([[0.5], [0.45], [0.43]]))
    >>> weights = trees.weights(seen)
    >>> masses = trees.masses(weights, trees.leaves(np.array([[0.5], [0.0]])))
    >>> (1 - masses / trees.largest_mass).round(3).tolist()
    [0.107, 0.853]
    """

    def __init__(self, features: int, trees: int, height: int, window: int, seed: int) -> None:
        self.trees, self.height, self.window = trees, height, window
        #: Split feature and threshold of node ``i``, whose children are ``2 * i + 1`` and ``2 * i + 2``.
        self._feature = np.zeros((trees, (1 << height) - 1), np.intp)
        self._threshold = np.zeros((trees, (1 << height) - 1))
        chance = random.Random(seed)  # noqa: S311 - River's own source of splits
        for tree in range(trees):
            self._split(tree, 0, [(0.0, 1.0)] * features, chance)

    def _split(self, tree: int, node: int, limits: list[tuple[float, float]], chance: random.Random) -> None:
        if node >= self._feature.shape[1]:
            return
        # A feature is chosen by how much of it is left.
        (feature,) = chance.choices(range(len(limits)), weights=[high - low for low, high in limits])
        low, high = limits[feature]
        padding = _PADDING * (high - low)
        at = chance.uniform(low + padding, high - padding)
        self._feature[tree, node], self._threshold[tree, node] = feature, at
        for child, part in ((2 * node + 1, (low, at)), (2 * node + 2, (at, high))):
            self._split(tree, child, [*limits[:feature], part, *limits[feature + 1 :]], chance)

    @property
    def largest_mass(self) -> int:
        """The mass of a point in whose leaf, in every tree, the whole window lies."""
        return self.trees * self.window * ((2 << self.height) - 1)

    @property
    def leaf_dtype(self) -> np.dtype[np.unsignedinteger]:
        """The smallest type that holds a leaf."""
        return np.dtype(np.uint8 if self.height <= 8 else np.uint16)

    def leaves(self, points: Floats) -> Array:
        """Return the leaf of each point ``(n, features)`` in each tree, shape ``(n, trees)``."""
        node = np.zeros((len(points), self.trees), np.intp)
        tree, point = np.arange(self.trees), np.arange(len(points))[:, None]
        for _ in range(self.height):
            right = points[point, self._feature[tree, node]] >= self._threshold[tree, node]
            node = 2 * node + 1 + right
        return (node - self._feature.shape[1]).astype(self.leaf_dtype)

    def weights(self, leaves: Array) -> Array:
        """Return the mass of each leaf after a window of points: those of its nodes, the deeper the heavier.

        Parameters
        ----------
        leaves
            What `leaves` said of the window's points, shape ``(window, trees)``.

        Returns
        -------
        Array
            Int32, shape ``(trees, 2**height)``.
        """
        count = 1 << self.height
        place = leaves + np.arange(self.trees) * count
        held = [np.bincount(place.ravel(), minlength=self.trees * count).astype(np.int32)]
        for _ in range(self.height):
            held.append(held[-1][::2] + held[-1][1::2])
        total, light = held[-1], held[-1] < _TOO_LIGHT * self.window
        for depth in range(1, self.height + 1):
            number = held[self.height - depth]
            total, light = np.repeat(total, 2), np.repeat(light, 2)
            total += np.where(light, 0, number << depth)
            light |= number < _TOO_LIGHT * self.window
        return total.reshape(self.trees, count)

    def masses(self, weights: Array, leaves: Array) -> Int64s:
        """Return the mass of points by their leaves, summed over the trees, shape ``(n,)``."""
        total: Int64s = weights[np.arange(self.trees), leaves].sum(axis=1, dtype=np.int64)
        return total
