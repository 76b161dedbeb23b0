"""``river``: detectors by name and parameters, refused in one line where they are not, exact for any cut."""

from __future__ import annotations

import pickle
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.detector import Logic
from operators.detectors import detectors
from operators.river_models import River
from tapewatch import stopping
from tapewatch.errors import UserError
from tests.examples import tried

make: Any = import_module("tests.operators.made_bars")
pytest.importorskip("river")

MODELS = {
    "OneClassSVM": {"nu": 0.05},
    "LODA": {"n_bins": 5},
    "LocalOutlierFactor": {"n_neighbors": 4},
    "HalfSpaceTrees": {"n_trees": 5, "window_size": 20},
    "GaussianScorer": {"grace_period": 5},
    "StandardAbsoluteDeviation": {},
    "PredictiveAnomalyDetection": {"warmup_period": 5},
}


def river(model: str = "OneClassSVM", **settings: Any) -> River:
    parameters = settings.pop("parameters", MODELS[model])
    return River(enabled=True, model=model, parameters=parameters, **{"warm_up": 10, **settings})


@pytest.mark.parametrize("model", MODELS)
def test_every_detector_of_river_scores(model: str) -> None:
    bars = make.made_bars(1, rows=2, count=120)
    scores = river(model).build(None).score(make.whole(bars)).score
    known = scores[~np.isnan(scores)]
    assert len(known) > 20
    assert (known >= 0).all()
    assert len(np.unique(known)) > 3


@pytest.mark.parametrize("model", MODELS)
def test_scores_come_from_a_model_of_ones_own(model: str) -> None:
    """Two instruments with the same bars have the same scores, whoever else is there."""
    bars = make.made_bars(1, rows=1, count=120)
    twice = np.concatenate([bars, bars])
    twice["row"][len(bars) :] = 1
    scores = river(model).build(None).score(make.whole(twice)).score
    alone = river(model).build(None).score(make.whole(bars)).score
    assert scores.tobytes() == np.concatenate([alone, alone]).tobytes()


@settings(max_examples=tried(10), deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    at=st.lists(st.integers(0, 2500), max_size=6),
    resume=st.booleans(),
    model=st.sampled_from([model for model in MODELS if model != "LocalOutlierFactor"]),
    delta=st.sampled_from([0.0, 0.9]),
)
def test_any_cut_and_resume_gives_the_same_bits(
    seed: int, at: list[int], resume: bool, model: str, delta: float
) -> None:
    detector, bars = river(model, drift_delta=delta), make.made_bars(seed, rows=2, count=100)

    def build(saved: Any) -> Logic:
        return detector.build(pickle.loads(pickle.dumps(saved)))

    wanted = make.in_parts(build, bars, [], resume=False)
    assert make.in_parts(build, bars, at, resume=resume).tobytes() == wanted.tobytes()


@pytest.mark.parametrize("model", MODELS)
def test_scoring_alone_changes_nothing(model: str) -> None:
    bars = make.made_bars(1, rows=1, count=120)
    logic = river(model).build(None)
    logic.score(make.whole(bars[:-1]))
    before = pickle.dumps(logic.snapshot())
    shown = logic.score(make.whole(bars[-1:]), learn=False).score
    assert pickle.dumps(logic.snapshot()) == before
    assert shown.tobytes() == logic.score(make.whole(bars[-1:])).score.tobytes()


def test_a_snapshot_dumps_only_what_has_changed() -> None:
    bars = make.made_bars(1, rows=2, count=80)
    logic = river().build(None)
    logic.score(make.whole(bars))
    first = logic.snapshot()["instruments"]
    later = bars[bars["row"] == 1][-1:].copy()
    later["ts_start"] += 10**12
    logic.score(make.whole(later))
    second = logic.snapshot()["instruments"]
    assert second[0] is first[0]
    assert second[1] != first[1]


def test_supervised_detectors_watch_the_target() -> None:
    bars = make.made_bars(7, rows=1, count=300)
    bars["volume"][-1] *= 1000
    detector = river("StandardAbsoluteDeviation", target="volume")
    logic = detector.build(None)
    scores = make.told(logic, bars)
    assert scores.score[-1] == np.nanmax(scores.score)
    told = logic.explain(bars[-1], "SYM0", scores, len(bars) - 1, 3.0)
    assert told.contributions == {"volume": 1.0}
    assert "volume" in told.reason
    assert "StandardAbsoluteDeviation" in told.reason


@pytest.mark.parametrize(
    ("section", "line"),
    [
        (
            {"model": "os.system"},
            "`detectors.river.model` must be one of OneClassSVM, LODA, LocalOutlierFactor, HalfSpaceTrees, "
            "GaussianScorer, StandardAbsoluteDeviation, PredictiveAnomalyDetection, was 'os.system'",
        ),
        (
            {"parameters": {"mu": 3}},
            "`detectors.river.parameters` must be parameters of River's OneClassSVM "
            "(OneClassSVM.__init__() got an unexpected keyword argument 'mu'), was {'mu': 3}",
        ),
        ({"target": "colour"}, "`detectors.river.target` must be one of return, range, wick"),
        ({"warm_up": -1}, "`detectors.river.warm_up` must be a whole number from 0 up to 10000, was -1"),
    ],
)
def test_what_river_has_not_is_refused_in_a_line(section: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as refused:
        detectors({"river": {"enabled": True, **section}})
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)


def test_models_of_another_river_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(stopping, "fail", said.append)
    saved = river().build(None).snapshot()
    river().build(saved)
    assert said == []
    logic = river().build(saved | {"made_by": ("0.1", *saved["made_by"][1:])})
    (line,) = said
    assert line.startswith("the recovery store holds models of River 0.1, which River 0.")
    assert logic.snapshot()["instruments"] == ()


@pytest.mark.parametrize(
    "other",
    [river("LODA"), river(parameters={"nu": 0.2}), river(target="volume")],
    ids=lambda r: f"{r.model} {r.target}",
)
def test_a_model_of_other_settings_warms_up_anew(other: River, caplog: pytest.LogCaptureFixture) -> None:
    bars = make.made_bars(1, rows=1, count=120)
    first = river().build(None)
    first.score(make.whole(bars))
    logic = other.build(pickle.loads(pickle.dumps(first.snapshot())))
    assert "warms up anew" in caplog.text
    assert len(logic.snapshot()["instruments"]) == 0
    assert len(river().build(first.snapshot()).snapshot()["instruments"]) == 1


def test_river_is_off_unless_asked_for() -> None:
    assert "river" not in {detector.name for detector in detectors({})}
