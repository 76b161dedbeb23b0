"""Pre-trained detectors: ``isolation_forest`` and ``autoencoder``, run by ONNX Runtime in batches.

They judge the statistics of a bar and those just before it (`operators.bar_statistics`). The models ship with
tapewatch and serve every instrument, as statistics are in the instrument's own standard deviations. A bar's
score must not depend on what else is in its batch, down to the last bit, while a library may add up in an
order that depends on the size of a batch. So the models are made such that no order matters: the sums in them
are of numbers on a grid that is coarse enough for each to be exact (`models.exact`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from operators.bar_shapes import NEED_TRADES
from operators.bar_statistics import STATISTICS
from operators.detector import Explanation, Logic, Scores, Segments
from operators.feature_detector import StatisticsDetector, StatisticsLogic, normalised, shares
from operators.features import FEATURES, LARGEST, Features
from operators.onnx_models import OnnxModel, load
from operators.scale import Scale
from operators.statistic_words import in_words
from tapewatch.records import Array, Floats

_Resume = dict[str, Any] | None
#: Columns that each model is shown, by the detector's name.
INPUTS = {
    "isolation_forest": tuple(f"strongest_{name}" for name in FEATURES),
    "autoencoder": tuple(STATISTICS),
}
#: Largest statistics that the models are shown.
LARGEST_SEEN = {"isolation_forest": np.float32(20.0), "autoencoder": np.float32(LARGEST)}
#: Feature that carries each statistic, shape ``(len(STATISTICS),)``.
FEATURE_OF = np.array([FEATURES.index(name) for name in STATISTICS.values()])
#: Columns of the statistics, those of a feature side by side, and where each feature's begin.
_BY_FEATURE = np.argsort(FEATURE_OF, kind="stable")
_BEGINS = np.searchsorted(FEATURE_OF[_BY_FEATURE], np.arange(len(FEATURES)))


def strongest(values: Array) -> Array:
    """Return the largest of each feature's statistics.

    Parameters
    ----------
    values
        Something of each statistic, shape ``(n, len(STATISTICS))``.

    Returns
    -------
    Array
        Shape ``(n, len(FEATURES))``, of the same dtype.

    Examples
    --------
    >>> values = np.zeros((1, len(STATISTICS)))
    >>> values[0, list(STATISTICS).index("drift_10")] = 3.0
    >>> told = strongest(values)[0]
    >>> float(told[FEATURES.index("trend")]), float(told.sum())
    (3.0, 3.0)
    """
    largest: Array = np.maximum.reduceat(values.take(_BY_FEATURE, axis=1), _BEGINS, axis=1)
    return largest


class _Pretrained(StatisticsDetector):
    model: str = ""

    @field_validator("model")
    @classmethod
    def _is_model(cls, model: str, info: ValidationInfo) -> str:
        # What is wrong with a file is told with the settings, before anything runs.
        if info.data.get("enabled"):
            load(cls.name, model, INPUTS[cls.name])
        return model


class _PretrainedLogic(StatisticsLogic):
    """Scores the bars that are ready in one run of the model; there is no state beside what it is shown."""

    def __init__(self, settings: _Pretrained, resume: _Resume) -> None:
        super().__init__(settings.width, resume)
        self._model = load(settings.name, settings.model, INPUTS[settings.name])

    def _score(
        self, segments: Segments, features: Features, details: dict[str, Array], *, learn: bool
    ) -> Floats:
        told = self._told(segments, features, learn=learn)
        details["statistics"] = told.statistics
        score = np.full(len(segments.items), np.nan)
        ready = np.flatnonzero(~np.isnan(features.values[:, 0]))
        if len(ready):
            score[ready] = self._of(told.statistics[ready], segments, ready, details)
        return score

    @abstractmethod
    def _of(self, statistics: Array, segments: Segments, places: Array, details: dict[str, Array]) -> Floats:
        """Score the statistics ``(m, len(STATISTICS))`` of the bars at ``places`` of the segments."""

    @abstractmethod
    def _by_statistic(self, scores: Scores, index: int) -> Floats:
        """Return what of each statistic of one bar counts, shape ``(len(STATISTICS),)``."""

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        """Name the feature that carries most of the score, and its statistic if that is of several bars."""
        carried = self._shares(scores, index)
        feature = int(np.argsort(-carried, kind="stable")[0])
        own = np.where(feature == FEATURE_OF, self._by_statistic(scores, index), -1.0)
        name, size = _NAMES[int(own.argmax())], float(scores.details["statistics"][index, own.argmax()])
        if name == FEATURES[feature]:
            return self._explained(key, scores, index, carried)
        of_several = f"{in_words(name)} ({size:.1f} standard deviations)"
        return self._explained(key, scores, index, carried, of_several)


_NAMES = tuple(STATISTICS)


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
        usual_threshold=3.2,
        prior_observations=150,
        restraint=1.0,
    )

    model: str = Field("isolation_forest.onnx", min_length=1, validate_default=True)

    def build(self, resume: _Resume) -> Logic:
        """Return the logic."""
        return _ForestLogic(self, resume)


def forest_score(model: OnnxModel, strong: Array) -> Floats:
    """Return ``(2 s)**4`` of what `strongest` says of bars, where ``s`` is the usual score of such forests.

    It is 1 for a point of average depth, and spreads the scores of what is rare.
    """
    seen = np.minimum(strong, LARGEST_SEEN["isolation_forest"])
    depth = model.run("depth", seen)[:, 0]
    score: Floats = np.exp2(4.0 * (1.0 - depth.astype(np.float64)))
    return score


class _ForestLogic(_PretrainedLogic):
    _title = "the isolation forest"

    def _of(self, statistics: Array, segments: Segments, places: Array, details: dict[str, Array]) -> Floats:
        return forest_score(self._model, strongest(statistics))

    def _shares(self, scores: Scores, index: int) -> Floats:
        (strong,) = strongest(scores.details["statistics"][index : index + 1])
        return shares(lambda points: forest_score(self._model, points), strong)

    def _by_statistic(self, scores: Scores, index: int) -> Floats:
        told: Floats = scores.details["statistics"][index].astype(np.float64)
        return told


class Autoencoder(_Pretrained):
    """Bars whose statistics do not go together as those of the bars of many instruments do."""

    name: ClassVar[str] = "autoencoder"
    scale: ClassVar[Scale] = Scale(
        lowest=-3,
        octaves=13,
        shape=0.15,
        spread=0.22,
        prior_peaks=40,
        warm_up=45,
        usual_threshold=6.0,
        prior_observations=100,
        restraint=0.5,
    )

    model: str = Field("autoencoder.onnx", min_length=1, validate_default=True)

    def build(self, resume: _Resume) -> Logic:
        """Return the logic."""
        return _AutoencoderLogic(self, resume)


def autoencoder_errors(model: OnnxModel, statistics: Array, known: Array) -> Floats:
    """Return the squared errors of statistics, 0 where a bar cannot tell, shape ``(n, len(STATISTICS))``.

    Parameters
    ----------
    statistics
        Float32, shape ``(n, len(STATISTICS))``.
    known
        Which features each bar can tell, bool, shape ``(n, len(FEATURES))``.
    """
    errors = model.run("errors", np.minimum(statistics, LARGEST_SEEN["autoencoder"]))
    return np.where(known[:, FEATURE_OF], errors, 0.0)


def autoencoder_score(errors: Floats, known: Array) -> Floats:
    """Return the root mean, over the features that are known, of each one's largest error, ``(n,)``."""
    total, number = np.zeros(len(errors)), np.zeros(len(errors))
    largest = strongest(errors)
    # Column by column: a sum along rows may add up in an order that depends on the number of rows.
    for feature in range(len(FEATURES)):
        total += largest[:, feature]
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

    def _of(self, statistics: Array, segments: Segments, places: Array, details: dict[str, Array]) -> Floats:
        known = known_features(segments.items["detailed"][places])
        errors = autoencoder_errors(self._model, statistics, known)
        details["errors"], details["at"] = errors, np.zeros(int(places[-1]) + 1, np.intp)
        details["at"][places] = np.arange(len(places))
        return autoencoder_score(errors, known)

    def _by_statistic(self, scores: Scores, index: int) -> Floats:
        errors: Floats = scores.details["errors"][scores.details["at"][index]]
        return errors

    def _shares(self, scores: Scores, index: int) -> Floats:
        return normalised(strongest(self._by_statistic(scores, index)[None])[0])
