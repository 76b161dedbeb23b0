"""``tapewatch train``: data in; a model, its card and a picture out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from models import autoencoder, combination, isolation_forest, transformer_training
from models.cards import write_model, write_validation
from models.training_data import SIMULATED, TRAINED, TrainingData, gather
from operators.bar_statistics import STATISTICS
from operators.onnx_models import OnnxModel, load
from operators.pretrained import (
    FEATURE_OF,
    INPUTS,
    LARGEST_SEEN,
    autoencoder_errors,
    autoencoder_score,
    forest_score,
    strongest,
)
from operators.tail_combination import combination_score, load_combination
from operators.transformer import load_transformer, newest_errors, score_of
from tapewatch.errors import UserError
from tapewatch.records import Array, Floats

KINDS = ("isolation_forest", "autoencoder", "tail_combination", "transformer")
#: Told of what is going on, how much of it is done and how much there is.
Progress = Callable[[str, int, int], None]


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
    try:
        model, made, losses, told_by = _MAKERS[kind](paths, seed, progress, simulated, effort)
    except ImportError as error:
        raise UserError(f'training needs {error.name}: pip install "tapewatch[train]"') from None
    described = {
        **made,
        "seed": seed,
        "held_out": f"the last {1 - TRAINED:.0%} of each instrument's bars, with injected anomalies",
    }
    libraries = ("tapewatch", "numpy", *_MADE_WITH.get(kind, ("scikit-learn",)), "onnx", "onnxruntime")
    card = write_model(out, kind, model, described, libraries)
    scores, label = told_by(str((out / f"{kind}.onnx").absolute()))
    write_validation(out, card, scores, label, losses)
    return card


#: Scores and labels of what was held out, by the model in a file.
_ToldBy = Callable[[str], tuple[Floats, Array]]
#: A model, what its card says of it, its losses, and how it tells what was held out.
_Made = tuple[bytes, dict[str, Any], Floats | None, _ToldBy]
#: A model, its architecture and its losses.
_Trained = tuple[bytes, dict[str, Any], Floats | None]


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


def _of_features(
    kind: str,
    make: Callable[[TrainingData, int, Progress, Mapping[str, int]], _Trained],
    scores: Callable[[OnnxModel, TrainingData], Floats],
    paths: Sequence[Path],
    seed: int,
    progress: Progress,
    simulated: Sequence[int],
    effort: Mapping[str, int],
) -> _Made:
    """Train what judges the common statistics of bars."""
    progress("reading", 0, 1)
    data = gather(paths, seed, simulated)
    progress("reading", 1, 1)
    model, architecture, losses = make(data, seed, progress, effort)
    made = {
        "features": list(INPUTS[kind]),
        "architecture": architecture,
        "seed": seed,
        "data": list(data.sources),
        "training_bars": len(data.training.label),
    }

    def told_by(path: str) -> tuple[Floats, Array]:
        try:
            written = load(kind, path, INPUTS[kind])
        except ValueError as error:
            raise UserError(f"the model just written cannot be loaded: it {error}") from error
        return scores(written, data), data.validation.label

    return model, made, losses, told_by


def _forest(data: TrainingData, seed: int, progress: Progress, effort: Mapping[str, int]) -> _Trained:
    trees = effort.get("trees", isolation_forest.TREES)
    samples = effort.get("samples", isolation_forest.SAMPLES)
    largest = LARGEST_SEEN["isolation_forest"]
    points = np.minimum(strongest(data.training.values), largest)
    forest = isolation_forest.train(points, seed, trees, samples, lambda done: progress("trees", done, trees))
    architecture = {
        "trees": trees,
        "samples_per_tree": samples,
        "nodes": sum(tree.tree_.node_count for tree in forest.estimators_),
        "input": f"the largest of each feature's statistics, at most {largest:g}",
        "score": "(2 s)**4, s = 2**-depth",
    }
    return isolation_forest.export(forest), architecture, None


def _autoencoder(data: TrainingData, seed: int, progress: Progress, effort: Mapping[str, int]) -> _Trained:
    epochs = effort.get("epochs", autoencoder.EPOCHS)
    usual = data.validation.label == 0
    network = autoencoder.train(
        data.training.values.astype(np.float64),
        data.training.known[:, FEATURE_OF],
        (data.validation.values[usual].astype(np.float64), data.validation.known[usual][:, FEATURE_OF]),
        seed,
        epochs,
        lambda epoch, loss: progress(f"epochs (loss {loss:.4f})", epoch + 1, epochs),
    )
    architecture = {
        "layers": [len(STATISTICS), *autoencoder.HIDDEN, len(STATISTICS)],
        "activation": "softsign",
        "optimiser": "Adam",
        "epochs": epochs,
        "score": "root mean, over the features that the bar can tell, of each one's largest squared error",
    }
    return autoencoder.export(network, above=True), architecture, network.losses


def _forest_scores(model: OnnxModel, data: TrainingData) -> Floats:
    return forest_score(model, strongest(data.validation.values))


def _autoencoder_scores(model: OnnxModel, data: TrainingData) -> Floats:
    held = data.validation
    return autoencoder_score(autoencoder_errors(model, held.values, held.known), held.known)


_MAKERS: dict[str, Callable[[Sequence[Path], int, Progress, Sequence[int], Mapping[str, int]], _Made]] = {
    "isolation_forest": partial(_of_features, "isolation_forest", _forest, _forest_scores),
    "autoencoder": partial(_of_features, "autoencoder", _autoencoder, _autoencoder_scores),
    "tail_combination": _combination,
    "transformer": _transformer,
}
_MADE_WITH = {"transformer": ("jax", "flax", "optax", "jax2onnx")}
