"""Measuring how well frauds are ranked, and training what ranks them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from models.transaction_quality import cards_per_day, ranking, stream
from models.transaction_training import KINDS, train
from operators.onnx_models import load
from operators.transaction_features import FEATURES
from tests.connectors.made_payments import payments, simulated


def test_rankings_are_those_of_scikit_learn() -> None:
    chance = np.random.default_rng(3)
    labels = (chance.random(500) < 0.1).astype(np.int64)
    scores = np.round(labels + chance.normal(size=500), 1)
    found = ranking(scores, labels)
    assert found.roc_auc == pytest.approx(roc_auc_score(labels, scores))
    assert found.average_precision == pytest.approx(average_precision_score(labels, scores))


def test_known_cards_are_not_counted_again() -> None:
    users, days = ["a", "b", "a", "b"], np.array([0, 0, 9, 9])
    labels, scores = np.array([1, 0, 1, 0]), np.array([9.0, 1.0, 9.0, 1.0])
    assert cards_per_day(scores, labels, users, days) == pytest.approx(0.005)
    assert cards_per_day(scores, labels, users, days, delay=10) == pytest.approx(0.01)


def test_frauds_rank_above_the_rest() -> None:
    labels = np.array([int(bool(kind)) for kind in simulated().kinds])
    scores = stream(payments())["ensemble"]
    half = slice(len(labels) // 2, None)
    assert ranking(scores[half], labels[half]).roc_auc > 0.85
    assert ranking(-scores[half], labels[half]).roc_auc < 0.15


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_is_trained_with_its_card(kind: str, tmp_path: Path) -> None:
    first = train(kind, [], tmp_path, 1, simulated=(3,), effort=(25, 1))
    card = json.loads((tmp_path / f"{kind}.json").read_text())
    assert card == json.loads(json.dumps(first))
    assert card["data"][0]["seed"] == 3
    model = load(kind, str(tmp_path / f"{kind}.onnx"), FEATURES)
    output = "depth" if "forest" in kind else "errors"
    assert len(model.run(output, np.zeros((3, len(FEATURES)), np.float32))) == 3
    assert train(kind, [], tmp_path, 1, simulated=(3,), effort=(25, 1))["sha256"] == card["sha256"]
