"""``transformer``: bars that are not what the hour before them lets expect, to a pre-trained network.

A transformer autoencoder is shown the last sixty bars (`operators.bar_windows`), all but the newest, and
gives back all sixty; the score is how far the newest is from what it is given back as. Each window is a run
of the model by itself: what lies beside it in a batch cannot change a bit of its score.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from operators.bar_windows import COLUMNS, WINDOW, BarWindows, shown
from operators.detector import BarDetector, Explanation, Logic, Scores, Segments, amount
from operators.onnx_models import OnnxModel, load
from operators.scale import Scale
from tapewatch.records import PRICE_SCALE, Array, Floats
from tapewatch.settings import WIDTHS

#: An error is told in these steps, so that the last bits of a float32 do not matter.
_STEPS = 1024.0
#: Columns as people are told of them.
_TOLD = {name: name if name == "volume" else f"{name} price" for name in COLUMNS}


def load_transformer(model: str) -> OnnxModel:
    """Return the model; see `operators.onnx_models.load`."""
    return load("transformer", model, COLUMNS, (WINDOW, len(COLUMNS)), optimised=True)


class Transformer(BarDetector):
    """Bars that the hour before them does not lead to."""

    name: ClassVar[str] = "transformer"
    scale: ClassVar[Scale] = Scale(
        lowest=-4, octaves=8, shape=0.0, spread=0.2, prior_peaks=40, warm_up=45,
        usual_threshold=1.0, prior_observations=150,
    )  # fmt: skip

    enabled: bool = False
    model: str = Field("transformer.onnx", min_length=1, validate_default=True)

    @field_validator("model")
    @classmethod
    def _is_model(cls, model: str, info: ValidationInfo) -> str:
        # What is wrong with a file is told with the settings, before anything runs.
        if info.data.get("enabled"):
            load_transformer(model)
        return model

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic."""
        return _TransformerLogic(self, resume)


def newest_errors(model: OnnxModel, windows: Array) -> Floats:
    """Return the squared errors of the newest bar of each window, float64, shape ``(n, len(COLUMNS))``.

    Parameters
    ----------
    model
        What `load_transformer` returned.
    windows
        Float32, shape ``(n, WINDOW, len(COLUMNS))``.
    """
    errors = np.empty((len(windows), len(COLUMNS)))
    for place in range(len(windows)):
        # One at a time: how a product is added up may depend on how many windows there are.
        errors[place] = model.run("errors", windows[place : place + 1])[0, -1]
    rounded: Floats = np.rint(errors * _STEPS) / _STEPS
    return rounded


def score_of(errors: Floats, known: Array) -> Floats:
    """Return the root mean of the squared errors of what is known, shape ``(n,)``.

    >>> score_of(np.array([[4.0, 4.0, 1.0]]), np.array([[True, True, False]])).tolist()
    [2.0]
    """
    total, number = np.zeros(len(errors)), np.zeros(len(errors))
    for column in range(errors.shape[1]):
        total += np.where(known[:, column], errors[:, column], 0.0)
        number += known[:, column]
    score: Floats = np.sqrt(total / np.maximum(number, 1))
    return score


class _TransformerLogic:
    def __init__(self, settings: Transformer, resume: dict[str, Any] | None) -> None:
        self._model = load_transformer(settings.model)
        self._windows = BarWindows(WIDTHS[settings.width], None if resume is None else resume["windows"])

    def snapshot(self) -> dict[str, Any]:
        return {"windows": self._windows.snapshot()}

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        windows, scale = self._windows.update(segments, learn=learn)
        count = len(segments.items)
        score, errors = np.full(count, np.nan), np.zeros((count, len(COLUMNS)))
        # A window is whole when all its bars have been.
        ready = np.flatnonzero((windows[:, :, 4] >= 0).all(axis=1))
        known = np.ones((count, len(COLUMNS)), bool)
        known[:, 4] = (windows[:, :, 4] > 0).any(axis=1)
        if len(ready):
            errors[ready] = newest_errors(self._model, shown(windows[ready], scale[ready]))
            score[ready] = score_of(errors[ready], known[ready])
        usual = np.sort(windows[:, :-1, 4], axis=1)[:, WINDOW // 2].astype(np.float64)
        details = {"errors": np.where(known, errors, 0.0), "moves": windows[:, -1], "usual volume": usual}
        return Scores(score, None, details | {"scale": scale / PRICE_SCALE})

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        errors = scores.details["errors"][index]
        shares = errors / errors.sum() if errors.sum() > 0 else np.full(len(COLUMNS), 1 / len(COLUMNS))
        first = int(np.argmax(shares))
        name, moved = COLUMNS[first], float(scores.details["moves"][index, first])
        if name == "volume":
            seen, usual = moved, float(scores.details["usual volume"][index])
            what = f"its volume is {amount(seen)} where {amount(usual)} is usual"
        else:
            seen, usual = moved / PRICE_SCALE, float(scores.details["scale"][index])
            what = (
                f"its {_TOLD[name]} is {amount(seen)} from the close before, where bars span {amount(usual)}"
            )
        return Explanation(
            observed=seen,
            expected=usual,
            contributions={_TOLD[n]: float(s) for n, s in zip(COLUMNS, shares, strict=True) if s > 0},
            reason=f"{key} is not what its last hour leads to, to the transformer: {what}",
        )
