"""Training from files: what is held out is not trained on, and the card says what was done."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from models.training import train
from models.training_data import TRAINED, gather
from operators.detectors import detectors
from operators.features import FEATURES
from operators.pretrained import INPUTS
from tapewatch.errors import UserError

make: Any = import_module("tests.operators.made_bars")
for module in ("sklearn", "onnx", "pyarrow", "matplotlib"):
    pytest.importorskip(module)

EFFORT: dict[str, dict[str, int]] = {
    "isolation_forest": {"trees": 20, "samples": 256},
    "autoencoder": {"epochs": 3},
}


@pytest.fixture(scope="module")
def tape(tmp_path_factory: pytest.TempPathFactory) -> Path:
    session = simulate(MarketSimulation(symbols=4, minutes=780, seed=77, anomalies=()))
    path = tmp_path_factory.mktemp("tape") / "day.dbn.zst"
    write_dbn(path, session.records, session.symbols)
    return path


def parquet(path: Path, count: int = 900, **columns: Any) -> Path:
    import pyarrow as pa
    from pyarrow import parquet as pq

    bars = make.made_bars(3, rows=1, count=2 * count)[:count]
    table: dict[str, Any] = {"ts_event": bars["ts_start"].astype("datetime64[ns]")}
    table |= {name: bars[name] / 1e9 for name in ("open", "high", "low", "close")}
    pq.write_table(pa.table({k: v for k, v in {**table, **columns}.items() if v is not None}), path)
    return path


@pytest.mark.parametrize("kind", EFFORT)
def test_a_trained_model_runs_and_its_card_is_true(kind: str, tape: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    card = train(kind, [tape], tmp_path, 5, lambda *step: told.append(step), (), EFFORT[kind])
    assert card == json.loads((tmp_path / f"{kind}.json").read_text())
    model = (tmp_path / f"{kind}.onnx").read_bytes()
    assert card["sha256"] == hashlib.sha256(model).hexdigest()
    assert card["bytes"] == len(model)
    assert card["features"] == list(INPUTS[kind])
    named = {source["name"]: source for source in card["data"]}
    assert named["day.dbn.zst"]["sha256"] == hashlib.sha256(tape.read_bytes()).hexdigest()
    assert card["training_bars"] == sum(source["training_bars"] for source in card["data"])
    assert 0.6 < card["metrics"]["roc_auc"] <= 1
    assert card["threshold"] > 0
    assert (tmp_path / f"{kind}.png").read_bytes().startswith(b"\x89PNG")
    assert told[:2] == [("reading", 0, 1), ("reading", 1, 1)]
    assert len(told) > 3
    assert told[-1][1] == told[-1][2]
    section = {kind: {"model": str(tmp_path / f"{kind}.onnx")}}
    assert kind in {detector.name for detector in detectors(section)}


@pytest.mark.parametrize("kind", EFFORT)
def test_the_same_seed_makes_the_same_files(kind: str, tape: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        train(kind, [tape], tmp_path / folder, 5, simulated=(), effort=EFFORT[kind])
    for suffix in ("onnx", "json", "png"):
        first, second = ((tmp_path / folder / f"{kind}.{suffix}").read_bytes() for folder in ("a", "b"))
        assert first == second


def test_what_is_held_out_comes_later_and_changes_nothing_in_training(tape: Path, tmp_path: Path) -> None:
    session = simulate(MarketSimulation(symbols=4, minutes=780, seed=77, anomalies=()))
    times = session.records["ts_recv"].astype(np.int64)
    last = times > np.quantile(times, TRAINED + 0.15)
    other = session.records.copy()
    other["size"][last] = 7
    write_dbn(tmp_path / "other.dbn.zst", other, session.symbols)
    first, second = (gather([path], 5, simulated=()) for path in (tape, tmp_path / "other.dbn.zst"))
    assert first.training.values.tobytes() == second.training.values.tobytes()
    assert first.validation.values.tobytes() != second.validation.values.tobytes()
    assert (first.training.label == 0).all()
    assert set(np.unique(first.validation.label)) == {-1, 0, 1}


def test_parquet_bars_are_read(tmp_path: Path) -> None:
    data = gather([parquet(tmp_path / "index.parquet")], 5, simulated=(1,))
    (index, _) = data.sources
    assert index["name"] == "index.parquet"
    assert index["training_bars"] > 500
    known = data.training.known[: index["training_bars"]]
    assert not known[:, FEATURES.index("trades")].any()


@pytest.mark.parametrize(
    ("name", "columns", "words"),
    [("x.parquet", {"close": None}, "has no column close"), ("bad.parquet", {}, "cannot be read as parquet")],
)
def test_what_is_no_table_of_bars_is_refused(
    name: str, columns: dict[str, Any], words: str, tmp_path: Path
) -> None:
    path = parquet(tmp_path / name, **columns)
    if name.startswith("bad"):
        path.write_bytes(b"PAR1 and then nothing")
    with pytest.raises(UserError, match=words):
        gather([path], 5)


def test_too_few_bars_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="too few bars"):
        gather([parquet(tmp_path / "few.parquet", count=60)], 5, simulated=())
