"""What detectors share is computed once a batch, and is what each would compute by itself."""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

import pytest

from operators.bar_statistics import BarStatistics
from operators.features import BarFeatures
from operators.shared_features import SharedFeatures
from tapewatch.records import MINUTE

make: Any = import_module("tests.operators.made_bars")


@pytest.mark.parametrize("resume", [False, True])
def test_features_and_statistics_are_computed_once_a_batch(resume: bool) -> None:
    shared = SharedFeatures({"1m"}, {"1m"})
    features, statistics = BarFeatures(MINUTE), BarStatistics(MINUTE)
    for segments, _ in make.cut_up(make.made_bars(4), [300]):
        first, second = (shared.added(segments, "1m", learn=True) for _ in range(2))
        assert first.features is not None
        assert first.statistics is not None
        assert (first.features, first.statistics) == (second.features, second.statistics)
        assert first.features.values.tobytes() == features.update(segments).values.tobytes()
        told = statistics.update(segments, first.features.values, learn=True)
        assert first.statistics.statistics.tobytes() == told.statistics.tobytes()
        if resume:
            shared = SharedFeatures({"1m"}, {"1m"}, pickle.loads(pickle.dumps(shared.snapshot())))
    kept = shared.snapshot()
    assert pickle.dumps(kept["features"]["1m"]) == pickle.dumps(features.snapshot())
    assert pickle.dumps(kept["statistics"]["1m"]) == pickle.dumps(statistics.snapshot())


def test_statistics_that_nobody_wants_are_not_computed() -> None:
    shared = SharedFeatures({"1m"})
    ((segments, _),) = make.cut_up(make.made_bars(4), [])
    assert shared.added(segments, "1m", learn=True).statistics is None
    assert not shared.snapshot()["statistics"]
