"""What predictions begin with is made again by its command, and is what the store would hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from connectors.store_judges import judge_of
from models.transaction_cold_start import KIND, make, probe
from operators.onnx_models import FOLDER
from operators.transaction_published import VERSION, forecast
from operators.transaction_settings import judging
from scoring import cold_start
from tapewatch.errors import UserError
from tapewatch.settings import Settings


def test_the_same_payments_give_the_same_file(tmp_path: Path) -> None:
    found = make(tmp_path, users=12)
    before = (tmp_path / f"{KIND}.json").read_bytes()
    assert make(tmp_path, users=12) == found
    assert (tmp_path / f"{KIND}.json").read_bytes() == before
    assert found["transactions"] > 1_000
    told = judge_of({**found, "partition": "", "version": VERSION, "state": orjson.dumps(found["state"])})
    settings, _ = forecast(told)
    assert settings.personal
    assert {d.name for d in settings.detectors} == {
        "rules", "isolation_forest", "autoencoder", "half_space_trees", "classifier", "ensemble"
    }  # fmt: skip


def test_the_file_that_is_shipped_is_of_these_models() -> None:
    told = cold_start.cold_start()
    assert told.version == VERSION
    assert told.transactions > 50_000
    settings, _ = forecast(told)
    again = "the detectors have changed: run `tapewatch train transactions_cold_start`"
    assert settings == replace(judging(Settings.model_construct()), source=settings.source), again
    shipped = orjson.loads((FOLDER / f"{KIND}.json").read_bytes())
    for name, scores in probe().items():
        assert shipped["probe"][name] == pytest.approx(scores, abs=2e-4), again
    assert shipped["data"] == {"simulated": "transactions", "seed": 103, "users": 400, "minutes": 86_400}


def test_without_the_file_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "_FILE", tmp_path / "none.json")
    cold_start.cold_start.cache_clear()
    with pytest.raises(UserError, match="is missing or damaged; install tapewatch again"):
        cold_start.cold_start()
    cold_start.cold_start.cache_clear()
