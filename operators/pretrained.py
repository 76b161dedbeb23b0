"""Pre-trained detectors: ``isolation_forest`` and ``autoencoder``, run by ONNX Runtime in batches.

The models ship with tapewatch and serve every instrument, as features are in the instrument's own standard
deviations. A bar's score must not depend on what else is in its batch, down to the last bit, while a library
may add up in an order that depends on the size of a batch. So the models are made such that no order matters:
the sums in them are of numbers on a grid that is coarse enough for each to be exact (`models.exact`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from operators.bar_shapes import NEED_TRADES
from operators.detector import Logic, Scores, Segments
from operators.feature_detector import FeatureDetector, FeatureLogic, normalised, shares
from operators.features import FEATURES, Features
from operators.onnx_models import OnnxModel, load
from operators.scale import Scale
from tapewatch.records import Array, Floats

_Resume = dict[str, Any] | None
#: Largest size of a feature that the forest is shown.
LARGEST_SEEN = np.float32(20.0)


class _Pretrained(FeatureDetector):
    model: str = ""

    @field_validator("model")
    @classmethod
    def _is_model(cls, model: str, info: ValidationInfo) -> str:
        # What is wrong with a file is told with the settings, before anything runs.
        if info.data.get("enabled"):
            load(cls.name, model)
        return model


class _PretrainedLogic(FeatureLogic):
    """Scores the bars that are ready in one run of the model; there is no state beside the features'."""

    def __init__(self, settings: _Pretrained, resume: _Resume) -> None:
        super().__init__(settings.width, resume)
        self._model = load(settings.name, settings.model)

    def _score(
        self, segments: Segments, features: Features, details: dict[str, Array], *, learn: bool
    ) -> Floats:
        score = np.full(len(segments.items), np.nan)
        ready = np.flatnonzero(~np.isnan(features.values[:, 0]))
        if len(ready):
            score[ready] = self._of(features.values[ready], segments, ready, details)
        return score

    @abstractmethod
    def _of(self, values: Array, segments: Segments, places: Array, details: dict[str, Array]) -> Floats:
        """Score the features ``(m, features)`` of the bars at ``places`` of the segments."""


class IsolationForest(_Pretrained):
    """Bars that random splits tell from the bars of many instruments in few steps."""

    name: ClassVar[str] = "isolation_forest"
    scale: ClassVar[Scale] = Scale(
        lowest=-4,
        octaves=8,
        shape=0.05,
        spread=0.45,
        prior_peaks=40,
        warm_up=45,
        usual_threshold=2.8,
        prior_observations=150,
        restraint=1.0,
    )

    model: str = Field("isolation_forest.onnx", min_length=1, validate_default=True)

    def build(self, resume: _Resume) -> Logic:
        """Return the logic."""
        return _ForestLogic(self, resume)


def forest_score(model: OnnxModel, values: Array) -> Floats:
    """Return ``(2 s)**4`` of features ``(n, features)``, where ``s`` is the usual score of isolation forests.

    It is 1 for a point of average depth, and spreads the scores of what is rare.
    """
    depth = model.run("depth", np.minimum(np.abs(values), LARGEST_SEEN))[:, 0]
    score: Floats = np.exp2(4.0 * (1.0 - depth.astype(np.float64)))
    return score


class _ForestLogic(_PretrainedLogic):
    _title = "the isolation forest"

    def _of(self, values: Array, segments: Segments, places: Array, details: dict[str, Array]) -> Floats:
        return forest_score(self._model, values)

    def _shares(self, scores: Scores, index: int) -> Floats:
        return shares(lambda points: forest_score(self._model, points), scores.details["values"][index])


class Autoencoder(_Pretrained):
    """Bars whose features do not go together as those of the bars of many instruments do."""

    name: ClassVar[str] = "autoencoder"
    scale: ClassVar[Scale] = Scale(
        lowest=-5,
        octaves=13,
        shape=0.15,
        spread=0.22,
        prior_peaks=40,
        warm_up=45,
        usual_threshold=1.5,
        prior_observations=100,
        restraint=0.5,
    )

    model: str = Field("autoencoder.onnx", min_length=1, validate_default=True)

    def build(self, resume: _Resume) -> Logic:
        """Return the logic."""
        return _AutoencoderLogic(self, resume)


def autoencoder_errors(model: OnnxModel, values: Array, known: Array) -> Floats:
    """Return the squared errors of features, 0 where a bar cannot tell, shape ``(n, features)``."""
    return np.where(known, model.run("errors", values), 0.0)


def autoencoder_score(errors: Floats, known: Array) -> Floats:
    """Return the root mean of the squared errors of what is known, shape ``(n,)``."""
    total, number = np.zeros(len(errors)), np.zeros(len(errors))
    # Column by column: a sum along rows may add up in an order that depends on the number of rows.
    for feature in range(errors.shape[1]):
        total += errors[:, feature]
        number += known[:, feature]
    score: Floats = np.sqrt(total / number)
    return score


def known_features(detailed: Array) -> Array:
    """Return which features each bar can tell, bool, shape ``(n, features)``."""
    known = np.ones((len(detailed), len(FEATURES)), bool)
    known[:, NEED_TRADES] &= detailed[:, None]
    return known


class _AutoencoderLogic(_PretrainedLogic):
    _title = "the autoencoder"

    def _of(self, values: Array, segments: Segments, places: Array, details: dict[str, Array]) -> Floats:
        known = known_features(segments.items["detailed"][places])
        errors = autoencoder_errors(self._model, values, known)
        details["errors"], details["at"] = errors, np.zeros(int(places[-1]) + 1, np.intp)
        details["at"][places] = np.arange(len(places))
        return autoencoder_score(errors, known)

    def _shares(self, scores: Scores, index: int) -> Floats:
        return normalised(scores.details["errors"][scores.details["at"][index]])
