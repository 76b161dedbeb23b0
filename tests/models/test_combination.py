"""The exported trees say what scikit-learn's say, in whatever batch, and the same data make the same file."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models import combination
from models.bar_series import simulated_series
from models.combination import export
from models.training import train
from operators.bar_statistics import CONTEXT, STATISTICS
from operators.onnx_models import load
from operators.tail_combination import INPUTS, inputs_of, load_combination
from operators.tail_tables import BINS

for module in ("sklearn", "onnx", "matplotlib"):
    pytest.importorskip(module)
training: Any = import_module("tests.models.test_training")
tape = training.tape


def test_the_graph_is_the_trees(tmp_path: Path) -> None:
    import onnxruntime
    from sklearn.ensemble import HistGradientBoostingClassifier

    rng = np.random.default_rng(1)
    points = rng.exponential(size=(3_000, len(INPUTS))).astype(np.float32)
    label = (points[:, 0] + points[:, 3] > 3.5).astype(int)
    boosted = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=6).fit(points, label)
    session = onnxruntime.InferenceSession(export(boosted))
    whole = session.run(["logit"], {"features": points})[0][:, 0]
    assert np.abs(whole - boosted.decision_function(points)).max() < 1e-4
    parts = [session.run(["logit"], {"features": points[at : at + 7]})[0][:, 0] for at in range(0, 700, 7)]
    assert np.concatenate(parts).tobytes() == whole[:700].tobytes()


def test_the_same_seed_makes_the_same_files(tape: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        train(
            "tail_combination", [tape], tmp_path / folder, 5, simulated=(), effort={"trees": 12, "times": 2}
        )
    for suffix in ("onnx", "json", "png"):
        first, second = ((tmp_path / folder / f"tail_combination.{suffix}").read_bytes() for folder in "ab")
        assert first == second
    card = load_combination(str(tmp_path / "a" / "tail_combination.onnx")).card
    assert card["metrics"]["roc_auc"] > 0.55
    assert card["threshold"] > 0


def test_subtle_events_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    (series,) = simulated_series(4, symbols=1, days=3)
    prior = np.tile(np.linspace(1.0, 0.001, BINS), (len(STATISTICS), 1))

    def points() -> combination.Points:
        return combination._points(series.bars, 200, prior, np.random.default_rng(3))

    twice = points()
    monkeypatch.setattr(combination, "_WEIGHTS", {})
    once = points()
    assert twice.label.tobytes() == once.label.tobytes()
    ratio = twice.weight / once.weight
    assert (ratio[once.label == 0] == 1).all()
    assert set(ratio[once.label == 1].tolist()) == {1.0, 2.0}


def test_a_model_of_other_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="with these features"):
        load("tail_combination", "tail_combination.onnx", ("return",))


def test_ranks_and_sums_are_of_the_rarest() -> None:
    decades, around = np.zeros((1, len(STATISTICS)), np.float32), np.ones((1, len(CONTEXT)), np.float32)
    decades[0, [2, 5, 7]] = 1.0, 3.0, 2.0
    told = dict(zip(INPUTS, inputs_of(decades, np.array([999]), around)[0].tolist(), strict=True))
    assert [told[f"rarest_{n}"] for n in (1, 2, 3)] == [3.0, 2.0, 1.0]
    assert (told["sum_of_3"], told["sum_of_5"], told["bars_of_session"]) == (6.0, 6.0, 200.0)
