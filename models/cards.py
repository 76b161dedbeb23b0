"""What training leaves behind: a model, its card, and a picture of how it did on what was held out."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from models.validation import Curve, average_precision, curve, roc_auc, youden
from operators.onnx_models import FORMAT
from tapewatch.records import Array, Floats


def write_model(
    out: Path, kind: str, model: bytes, described: dict[str, Any], libraries: Sequence[str]
) -> dict[str, Any]:
    """Write ``KIND.onnx`` and its card ``KIND.json``; return the card.

    Parameters
    ----------
    out
        An existing folder.
    model
        In ONNX.
    described
        What the card says of this kind of model beside what all cards say.
    libraries
        Distributions whose versions the card names, beside Python's.
    """
    card: dict[str, Any] = {
        "kind": kind,
        "format": FORMAT,
        **described,
        "versions": {"python": platform.python_version(), **{name: version(name) for name in libraries}},
        "bytes": len(model),
        "sha256": hashlib.sha256(model).hexdigest(),
    }
    (out / f"{kind}.onnx").write_bytes(model)
    _write(out, card)
    return card


def write_validation(
    out: Path, card: dict[str, Any], scores: Floats, label: Array, losses: Floats | None
) -> None:
    """Add to a card how well its model tells what was held out, and draw ``KIND.png``.

    Parameters
    ----------
    out
        Where `write_model` wrote it.
    card
        What that returned; changed.
    scores, label
        Of the bars held out, shape ``(n,)``; 1 an anomaly, 0 none, -1 not to be counted.
    losses
        Of training and validation after each epoch, shape ``(epochs, 2)``, if there are some.
    """
    told = curve(scores, label)
    threshold, index = youden(told)
    card["metrics"] = {
        "validation_bars": int((label >= 0).sum()),
        "validation_anomalous_bars": int((label == 1).sum()),
        "roc_auc": round(roc_auc(told), 4),
        "average_precision": round(average_precision(told), 4),
        "youden_j": round(index, 4),
    }
    card["threshold"] = threshold
    if losses is not None:
        card["metrics"]["loss_training"], card["metrics"]["loss_validation"] = (
            round(float(loss), 5) for loss in losses[-1]
        )
    _write(out, card)
    _picture(out / f"{card['kind']}.png", card["kind"], told, losses)


def _write(out: Path, card: dict[str, Any]) -> None:
    (out / f"{card['kind']}.json").write_text(json.dumps(card, indent=2) + "\n")


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
