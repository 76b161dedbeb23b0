"""The page of models, as Streamlit runs it: evaluations, cards and drift, whole, missing and wrong."""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dashboard.drift import drifts
from dashboard.evaluation import SHIPPED, InjectedBars, Nab, RealDays, evaluations
from dashboard.model_cards import cards
from operators.onnx_models import FOLDER
from tapewatch.errors import UserError
from tapewatch.settings import Settings

app: Any = import_module("tests.dashboard.test_app")
make: Any = import_module("tests.connectors.made_results")
database = app.database


def names_evaluations(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    monkeypatch.setenv("TAPEWATCH_DASHBOARD__EVALUATIONS", json.dumps([str(path) for path in paths]))


def test_what_comes_along_is_of_all_studies_and_whole() -> None:
    injected, real, nab = (study for _, study in evaluations([]))
    assert isinstance(injected, InjectedBars)
    assert isinstance(real, RealDays)
    assert isinstance(nab, Nab)
    assert {"value_novelty", "ensemble"} <= set(nab.detectors)
    assert {"ensemble", "tail_combination", "windowed Gaussian"} <= set(injected.scorers)
    for scorer in injected.scorers.values():
        for lines in scorer.curves.values():
            if lines is not None:
                assert len(lines.precision) == len(injected.curves.recall)
                assert len(lines.true_positive_rate) == len(injected.curves.false_positive_rate)
    assert "tail_combination" in real.alarms_per_instrument_day
    assert len(real.worst) == 20


def test_views_have_their_pictures_without_any_results(database: Path) -> None:
    page = app.shown("models")
    assert app.charts(page) == 2
    measured = page.dataframe[0].value
    assert "ensemble" in set(measured[""])
    assert page.multiselect(key="scorers").value[0] == "ensemble"
    page = app.shown("models", view="Curves", curve="mixed")
    assert app.charts(page) == 2
    app.checked(page.multiselect(key="scorers").set_value([]).run())
    assert (app.charts(page), page.info[0].value) == (0, "Choose what to look at.")
    page = app.shown("models", view="Confusion", of="autoencoder", beside="random")
    assert app.charts(page) == 2
    assert {"**autoencoder**", "**random**"} <= {text.value for text in page.markdown}


def test_real_days_tell_the_rates_and_the_worst(database: Path) -> None:
    page = app.shown("models", view="Real days")
    assert {"detector", "first days", "later days", "all"} == set(page.dataframe[0].value.columns)
    assert sum("on the tape" in caption.value for caption in page.caption) > 10


def test_the_benchmark_is_a_table_with_the_best_first(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, bare = tmp_path / "mine.json", tmp_path / "bare.json"
    told = {
        "study": "nab",
        "series": 3,
        "detectors": {
            name: {
                "standard": {"score": score, "threshold": 0.5},
                "reward_low_FP_rate": {"score": score - 9, "threshold": None},
            }
            for name, score in (("ensemble", 20.0), ("value_novelty", 70.5), ("price_jump", 0.0))
        },
        "robustness": {"mean_windows=8": 71.4},
    }
    mine.write_text(json.dumps(told))
    names_evaluations(monkeypatch, mine)
    page = app.shown("models", view="Numenta")
    scores, robust = (table.value for table in page.dataframe)
    assert list(scores["detector"]) == ["value_novelty", "ensemble", "price_jump"]
    assert list(scores["low FP rate"]) == [61.5, 11.0, -9.0]
    assert robust.iloc[0].tolist() == ["mean_windows=8", 71.4]
    assert page.caption[0].value.startswith("3 series")
    bare.write_text(json.dumps(told | {"detectors": {}, "robustness": {}}))
    names_evaluations(monkeypatch, bare)
    page = app.shown("models", view="Numenta")
    assert "nothing was scored" in page.info[0].value
    assert "evaluate injected --bars --json" in app.shown("models").info[0].value
    monkeypatch.delenv("TAPEWATCH_DASHBOARD__EVALUATIONS")
    assert app.shown("models", view="Numenta").dataframe[0].value["detector"][0] == "value_novelty"


def test_an_evaluation_of_ones_own_takes_the_place_of_what_comes_along(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = json.loads(SHIPPED[0].read_text())
    told["scorers"] = {"**mine**": told["scorers"]["random"] | {"curves": {}, "confusion": {}}}
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(told))
    names_evaluations(monkeypatch, mine)
    page = app.shown("models")
    assert list(page.dataframe[0].value[""]) == ["**mine**"]
    page = app.shown("models", view="Confusion", of="ensemble")
    assert r"**\*\*mine\*\***" in page.markdown[1].value
    assert "No evaluation of this kind" in app.shown("models", view="Real days").info[0].value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "No such file"),
        ("{}", "study"),
        ('{"study": "payments"}', "injected --bars`, `real` or `nab`"),
        ('{"study": "real days", "instrument_days": -1}', "instrument_days"),
        ("[1, 2", "JSON"),
    ],
)
def test_what_is_no_evaluation_is_told_in_one_line(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    mine = tmp_path / "mine.json"
    if text is not None:
        mine.write_text(text)
    with pytest.raises(UserError, match=r"dashboard\.evaluations") as raised:
        evaluations([str(mine)])
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)
    names_evaluations(monkeypatch, mine)
    assert "mine.json" in app.shown("models").error[0].value


def test_cards_are_of_the_files_beside_them(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for suffix in (".onnx", ".json"):
        shutil.copy(FOLDER / f"autoencoder{suffix}", tmp_path / f"mine{suffix}")
    section = {"autoencoder": {"model": str(tmp_path / "mine.onnx")}}
    found, wrong = cards(Settings(detectors=section))
    assert not wrong
    assert {path.stem for path in FOLDER.glob("*.onnx")} | {"mine"} == {card.name for card in found}
    assert all(card.intact for card in found)
    (tmp_path / "mine.onnx").write_bytes(b"another")
    (changed,) = (card for card in cards(Settings(detectors=section))[0] if card.name == "mine")
    assert not changed.intact
    monkeypatch.setenv("TAPEWATCH_DETECTORS__AUTOENCODER__MODEL", str(tmp_path / "mine.onnx"))
    page = app.shown("models", view="Cards", model="mine")
    assert "would refuse it" in page.error[0].value
    assert set(page.dataframe[0].value["model"]) == {card.name for card in found}
    (tmp_path / "mine.json").unlink()
    assert "mine" in app.shown("models", view="Cards").warning[0].value


def test_drift_is_of_the_scores_that_are_kept(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "un the flow first" in app.shown("models", view="Drift").info[0].value
    app.write(database, bars=[make.bars(1, 2)], anomalies=[make.anomaly()])
    page = app.shown("models", view="Drift")
    assert "Scores are not kept" in page.info[0].value
    assert app.charts(page) == 1
    usual, shifted = [float(n % 4) for n in range(600)], [float(4 + n % 4) for n in range(600)]
    app.write(
        database,
        scores=[make.scores(*usual, *shifted), make.scores(*usual, *usual, detector="price_jump")],
        bars=[make.bars(1, first=1199)],
    )
    page = app.shown("models", view="Drift", detector="price_jump")
    assert app.charts(page) == 3
    assert page.selectbox(key="detector").value == "price_jump"


def test_drift_is_none_where_nothing_changes_and_one_where_all_does() -> None:
    rng = np.random.default_rng(1)
    rows = [
        {
            "detector": name,
            "ts_start": step,
            "bin": int(place) + shift * (name == "moved") * (step > 5),
            "count": 90,
        }
        for name in ("same", "moved")
        for step in range(8)
        for shift in (10,)
        for place in rng.permutation(5)
    ]
    told = {(row["detector"], row["ts_start"]): row["drift"] for row in drifts(rows)}
    assert all(told["same", step] == 0.0 for step in range(1, 8))
    assert [told["moved", step] for step in (5, 6)] == [0.0, 1.0]
    assert ("same", 0) not in told
