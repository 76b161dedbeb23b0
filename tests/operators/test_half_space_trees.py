"""Our half-space trees are River's, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.half_space_trees import HalfSpaceTrees
from tests.examples import tried


@settings(max_examples=tried(30), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    features=st.integers(1, 6),
    trees=st.integers(1, 12),
    height=st.integers(1, 10),
    window=st.integers(2, 90),
)
def test_scores_are_those_of_river(seed: int, features: int, trees: int, height: int, window: int) -> None:
    from river.anomaly import HalfSpaceTrees as Rivers

    points = np.random.default_rng(seed).beta(2, 5, (3 * window + 3, features))
    points[::7] = np.round(points[::7], 1)
    theirs: Any = Rivers(n_trees=trees, height=height, window_size=window, seed=seed)
    ours = HalfSpaceTrees(features, trees, height, window, seed)
    leaves = ours.leaves(points)
    for begin in range(0, len(points), window):
        part = slice(begin, begin + window)
        scores = [0.0] * len(points[part])
        if begin:
            weights = ours.weights(leaves[begin - window : begin])
            scores = (1 - ours.masses(weights, leaves[part]) / ours.largest_mass).tolist()
        for point, score in zip(points[part].tolist(), scores, strict=True):
            named = {f"{place:02d}": value for place, value in enumerate(point)}
            assert theirs.score_one(named) == score
            theirs.learn_one(named)


def test_leaves_do_not_depend_on_what_is_beside_them() -> None:
    points = np.random.default_rng(0).random((200, 5))
    trees = HalfSpaceTrees(5, 20, 9, 50, 3)
    together = trees.leaves(points)
    assert together.dtype == np.uint16
    assert [trees.leaves(point[None])[0].tolist() for point in points] == together.tolist()
