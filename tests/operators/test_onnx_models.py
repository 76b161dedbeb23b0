"""Only models that ``tapewatch train`` made are run; everything else is refused in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from operators.detectors import detectors
from operators.features import FEATURES
from operators.onnx_models import FOLDER, load
from operators.pretrained import INPUTS
from tapewatch.errors import UserError

KINDS = ("isolation_forest", "autoencoder")


@pytest.mark.parametrize("kind", KINDS)
def test_the_shipped_models_load_and_have_cards(kind: str) -> None:
    model = load(kind, f"{kind}.onnx", INPUTS[kind])
    assert (FOLDER / f"{kind}.onnx").stat().st_size < 5 << 20
    card = model.card
    assert card["architecture"]
    assert card["threshold"] > 0
    assert 0.5 < card["metrics"]["roc_auc"] <= 1
    assert {"numpy", "onnx", "scikit-learn"} <= set(card["versions"])
    for source in card["data"]:
        assert source["name"]
        assert len(source.get("sha256", "0" * 64)) == 64
        assert "/" not in source["name"]


def copied(kind: str, folder: Path) -> Path:
    for suffix in (".onnx", ".json"):
        shutil.copy(FOLDER / f"{kind}{suffix}", folder / f"mine{suffix}")
    return folder / "mine.onnx"


def _flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _another_card(path: Path, **changes: Any) -> None:
    card = path.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | changes))


def _foreign(path: Path) -> None:
    """Put a model of somebody else's in its place, with a card that names its bytes."""
    import hashlib

    from onnx import TensorProto, helper

    nodes = [helper.make_node("Identity", ["x"], ["y"])]
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", shapes[:1], shapes[1:])
    opsets = [helper.make_opsetid("", 17)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    _another_card(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def _no_onnx(path: Path) -> None:
    import hashlib

    path.write_bytes(b"this is no model")
    _another_card(path, sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def _missing(path: Path) -> None:
    path.unlink()


def _without_card(path: Path) -> None:
    path.with_suffix(".json").unlink()


def _card_of_nonsense(path: Path) -> None:
    path.with_suffix(".json").write_text('["kind"]')


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "flipped": (_flipped, "is damaged, or not the file that its card is of"),
    "cut": (_cut, "is damaged, or not the file that its card is of"),
    "foreign": (_foreign, "its input is x ['N', 2] of tensor(float)"),
    "no_onnx": (_no_onnx, "ONNX Runtime does not take it"),
    "missing": (_missing, "No such file or directory"),
    "without_card": (_without_card, "with its card"),
    "card_of_nonsense": (_card_of_nonsense, "is no card"),
    "another_kind": (lambda path: _another_card(path, kind="autoencoder"), "its card says 'autoencoder'"),
    "another_format": (lambda path: _another_card(path, format=99), "format 99"),
    "other_features": (lambda path: _another_card(path, features=["return"]), "with these features"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_no_model_of_ours_is_refused(damage: str, tmp_path: Path) -> None:
    path = copied("isolation_forest", tmp_path)
    section = {"isolation_forest": {"model": str(path)}}
    detectors(section)
    change, words = DAMAGE[damage]
    change(path)
    with pytest.raises(UserError) as refused:
        detectors(section)
    line = str(refused.value)
    assert line.startswith("`detectors.isolation_forest.model` must be a model that `tapewatch train")
    assert words in line
    assert "\n" not in line


def test_a_bare_name_is_one_of_the_shipped_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copied("isolation_forest", tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="No such file"):
        load("isolation_forest", "mine.onnx", INPUTS["isolation_forest"])
    load("isolation_forest", str(tmp_path / "mine.onnx"), INPUTS["isolation_forest"])


def test_a_model_of_no_use_is_not_looked_at() -> None:
    section = {"isolation_forest": {"enabled": False, "model": "/nowhere/x.onnx"}}
    assert "isolation_forest" not in {detector.name for detector in detectors(section)}


def test_a_damaged_model_ends_the_flow_in_one_line(
    run_market: Any, write: Any, trades: Any, tmp_path: Path
) -> None:
    path = copied("autoencoder", tmp_path)
    _flipped(path)
    tape = write(tmp_path / "tape.dbn", trades(1))
    done = run_market(tmp_path, [tape], detectors__autoencoder__model=str(path))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("tapewatch: `detectors.autoencoder.model` must be a model that `tapewatch train")
    assert not (tmp_path / "results.db").exists()


def test_a_shipped_forest_is_given_one_input() -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(FOLDER / "isolation_forest.onnx"))
    (given,) = session.get_inputs()
    assert given.shape[1:] == [len(FEATURES)]
    scores = session.run(None, {given.name: np.zeros((3, len(FEATURES)), np.float32)})[0]
    assert scores.shape == (3, 1)
