"""``tapewatch train``: data in; a model, its card and a picture out."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from models import autoencoder, combination, isolation_forest, transformer_training
from models.training_data import SIMULATED, TRAINED, TrainingData, gather
from models.validation import Curve, average_precision, curve, roc_auc, youden
from operators.features import FEATURES
from operators.onnx_models import FORMAT, load
from operators.pretrained import (
    LARGEST_SEEN,
    autoencoder_errors,
    autoencoder_score,
    forest_score,
)
from operators.tail_combination import combination_score, load_combination
from operators.transformer import load_transformer, newest_errors, score_of
from tapewatch.errors import UserError
from tapewatch.records import Array, Floats

KINDS = ("isolation_forest", "autoencoder", "tail_combination", "transformer")
#: Told of what is going on, how much of it is done and how much there is.
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class _Trained:
    model: bytes
    architecture: dict[str, Any]
    losses: Floats | None


def train(
    kind: str,
    paths: Sequence[Path],
    out: Path,
    seed: int,
    progress: Progress = lambda what, done, total: None,
    simulated: Sequence[int] = SIMULATED,
    effort: Mapping[str, int] = MappingProxyType({}),
) -> dict[str, Any]:
    """Train a model and write ``KIND.onnx``, its card ``KIND.json`` and a picture ``KIND.png``.

    Parameters
    ----------
    kind
        One of `KINDS`.
    paths
        What `models.training_data.gather` reads.
    out
        An existing folder.
    seed
        The same seed, data and versions give the same bytes.
    progress
        Told how far it is.
    simulated
        Seeds of the simulated sessions that are there too.
    effort
        ``trees`` and ``samples`` of the forest, ``epochs`` of the autoencoder, if not the usual.

    Returns
    -------
    dict
        The card.

    Raises
    ------
    UserError
        For data that cannot be used, or if the extra ``train`` is not installed.
    """
    if kind in _OF_BARS:
        return _of_bars(kind, paths, out, seed, progress, simulated, effort)
    progress("reading", 0, 1)
    data = gather(paths, seed, simulated)
    progress("reading", 1, 1)
    try:
        make = _forest if kind == "isolation_forest" else _autoencoder
        trained = make(data, seed, progress, effort)
    except ImportError as error:
        raise UserError(f'training needs {error.name}: pip install "tapewatch[train]"') from None
    card: dict[str, Any] = {
        "kind": kind,
        "format": FORMAT,
        "features": list(FEATURES),
        "architecture": trained.architecture,
        "seed": seed,
        "data": list(data.sources),
        "training_bars": len(data.training.label),
        "held_out": f"the last {1 - TRAINED:.0%} of each instrument's bars, with injected anomalies",
        "versions": _versions(),
        "bytes": len(trained.model),
        "sha256": hashlib.sha256(trained.model).hexdigest(),
    }
    (out / f"{kind}.onnx").write_bytes(trained.model)
    _write(out / f"{kind}.json", card)
    told = _validated(kind, out, data)
    threshold, index = youden(told)
    card["metrics"] = {
        "validation_bars": int((data.validation.label >= 0).sum()),
        "validation_anomalous_bars": int((data.validation.label == 1).sum()),
        "roc_auc": round(roc_auc(told), 4),
        "average_precision": round(average_precision(told), 4),
        "youden_j": round(index, 4),
    }
    card["threshold"] = threshold
    if trained.losses is not None:
        card["metrics"]["loss_training"], card["metrics"]["loss_validation"] = (
            round(float(loss), 5) for loss in trained.losses[-1]
        )
    _write(out / f"{kind}.json", card)
    _picture(out / f"{kind}.png", kind, told, trained.losses)
    return card


def _of_bars(
    kind: str,
    paths: Sequence[Path],
    out: Path,
    seed: int,
    progress: Progress,
    simulated: Sequence[int],
    effort: Mapping[str, int],
) -> dict[str, Any]:
    """Train what is made of series of bars by itself, not of the common features."""
    try:
        model, made, losses, told_by = _OF_BARS[kind](paths, seed, progress, simulated, effort)
    except ImportError as error:
        raise UserError(f'training needs {error.name}: pip install "tapewatch[train]"') from None
    card: dict[str, Any] = {
        "kind": kind,
        "format": FORMAT,
        **made,
        "seed": seed,
        "held_out": f"the last {1 - TRAINED:.0%} of each instrument's bars, with injected anomalies",
        "versions": _versions(*_MADE_WITH[kind]),
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
    }
    (out / f"{kind}.onnx").write_bytes(model)
    _write(out / f"{kind}.json", card)
    scores, label = told_by(str((out / f"{kind}.onnx").absolute()))
    told = curve(scores, label)
    threshold, index = youden(told)
    card["metrics"] = {
        "validation_bars": len(label),
        "validation_anomalous_bars": int(label.sum()),
        "roc_auc": round(roc_auc(told), 4),
        "average_precision": round(average_precision(told), 4),
        "youden_j": round(index, 4),
    }
    card["threshold"] = threshold
    if losses is not None:
        card["metrics"]["loss_training"], card["metrics"]["loss_validation"] = (
            round(float(loss), 5) for loss in losses[-1]
        )
    _write(out / f"{kind}.json", card)
    _picture(out / f"{kind}.png", kind, told, losses)
    return card


#: Scores and labels of what was held out, by the model in a file.
_ToldBy = Callable[[str], tuple[Floats, Array]]
_Made = tuple[bytes, dict[str, Any], Floats | None, _ToldBy]


def _combination(
    paths: Sequence[Path], seed: int, progress: Progress, simulated: Sequence[int], effort: Mapping[str, int]
) -> _Made:
    model, made, held = combination.train(paths, seed, progress, simulated, effort)

    def told_by(path: str) -> tuple[Floats, Array]:
        logit = load_combination(path).run("logit", held.inputs)[:, 0]
        return combination_score(logit.astype(np.float64)), held.label

    return model, made, None, told_by


def _transformer(
    paths: Sequence[Path], seed: int, progress: Progress, simulated: Sequence[int], effort: Mapping[str, int]
) -> _Made:
    model, made, losses, held = transformer_training.train(paths, seed, progress, simulated, effort)

    def told_by(path: str) -> tuple[Floats, Array]:
        windows, known, label = held
        return score_of(newest_errors(load_transformer(path), windows), known), label

    return model, made, losses[:, 1:], told_by


_OF_BARS = {"tail_combination": _combination, "transformer": _transformer}
_MADE_WITH = {"tail_combination": ("scikit-learn",), "transformer": ("jax", "flax", "optax", "jax2onnx")}


def _forest(data: TrainingData, seed: int, progress: Progress, effort: Mapping[str, int]) -> _Trained:
    trees = effort.get("trees", isolation_forest.TREES)
    samples = effort.get("samples", isolation_forest.SAMPLES)
    points = np.minimum(np.abs(data.training.values), LARGEST_SEEN)
    forest = isolation_forest.train(points, seed, trees, samples, lambda done: progress("trees", done, trees))
    architecture = {
        "trees": trees,
        "samples_per_tree": samples,
        "nodes": sum(tree.tree_.node_count for tree in forest.estimators_),
        "input": f"absolute values of the features, at most {LARGEST_SEEN:g}",
        "score": "(2 s)**4, s = 2**-depth",
    }
    return _Trained(isolation_forest.export(forest), architecture, None)


def _autoencoder(data: TrainingData, seed: int, progress: Progress, effort: Mapping[str, int]) -> _Trained:
    epochs = effort.get("epochs", autoencoder.EPOCHS)
    usual = data.validation.label == 0
    network = autoencoder.train(
        data.training.values.astype(np.float64),
        data.training.known,
        (data.validation.values[usual].astype(np.float64), data.validation.known[usual]),
        seed,
        epochs,
        lambda epoch, loss: progress(f"epochs (loss {loss:.4f})", epoch + 1, epochs),
    )
    architecture = {
        "layers": [len(FEATURES), *autoencoder.HIDDEN, len(FEATURES)],
        "activation": "softsign",
        "optimiser": "Adam",
        "epochs": epochs,
        "score": "root mean of the squared errors of the features that the bar can tell",
    }
    return _Trained(autoencoder.export(network), architecture, network.losses)


def _validated(kind: str, out: Path, data: TrainingData) -> Curve:
    """Return the curve of the very model that was written, as the detector runs it."""
    try:
        model = load(kind, str((out / f"{kind}.onnx").absolute()))
    except ValueError as error:
        raise UserError(f"the model just written cannot be loaded: it {error}") from error
    held = data.validation
    if kind == "isolation_forest":
        return curve(forest_score(model, held.values), held.label)
    errors = autoencoder_errors(model, held.values, held.known)
    return curve(autoencoder_score(errors, held.known), held.label)


def _versions(*makers: str) -> dict[str, str]:
    names = ("tapewatch", "numpy", *(makers or ("scikit-learn",)), "onnx", "onnxruntime")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def _write(path: Path, card: dict[str, Any]) -> None:
    path.write_text(json.dumps(card, indent=2) + "\n")


def _picture(path: Path, kind: str, told: Curve, losses: Floats | None) -> None:
    """Draw the receiver operating characteristic, and the losses where there are some."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    panels = 1 if losses is None else 2
    figure, axes = plt.subplots(1, panels, figsize=(4.6 * panels, 3.4), squeeze=False)
    if losses is not None:
        for column, name in enumerate(("training", "validation")):
            axes[0, 0].plot(np.arange(1, len(losses) + 1), losses[:, column], label=name)
        axes[0, 0].set(xlabel="epoch", ylabel="mean squared error", yscale="log", title="loss")
        axes[0, 0].legend(frameon=False)
    last = axes[0, -1]
    last.plot(told.false, told.found)
    last.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    last.set(xlabel="falsely told", ylabel="found", title=f"{kind}: bars of injected anomalies")
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
