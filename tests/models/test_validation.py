"""Metrics are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.validation import average_precision, curve, roc_auc, youden
from tests.examples import tried


@settings(max_examples=tried(50), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ties=st.booleans())
def test_areas_are_those_of_scikit_learn(seed: int, ties: bool) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    label = rng.integers(-1, 2, 300)
    scores = rng.normal(size=300) + label
    if ties:
        scores = np.round(scores)
    counted = label >= 0
    told = curve(scores, label)
    assert roc_auc(told) == pytest.approx(metrics.roc_auc_score(label[counted] == 1, scores[counted]))
    wanted = metrics.average_precision_score(label[counted] == 1, scores[counted])
    assert average_precision(told) == pytest.approx(wanted)
    threshold, index = youden(told)
    found = (scores[counted] >= threshold)[label[counted] == 1].mean()
    false = (scores[counted] >= threshold)[label[counted] == 0].mean()
    assert index == pytest.approx(found - false)
    assert index >= max((told.found - told.false).max() - 1e-12, 0)


def test_there_must_be_both() -> None:
    with pytest.raises(ValueError, match="anomalies and others"):
        curve(np.ones(3), np.array([0, 0, -1]))
