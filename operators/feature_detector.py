"""What detectors that judge the features of bars share: settings, where features come from, explanations."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from operators.bar_statistics import BarStatistics, Told
from operators.detector import BarDetector, Explanation, Scores, Segments, amount
from operators.features import FEATURES, BarFeatures, Features
from tapewatch.records import Array, Floats
from tapewatch.settings import WIDTHS, Width


class FeatureDetector(BarDetector):
    """A detector of bars that are unlike their instrument's other bars, by their features."""

    uses_features: ClassVar[bool] = True


class StatisticsDetector(FeatureDetector):
    """One that judges what the features of a bar and those just before it amount to."""

    uses_statistics: ClassVar[bool] = True


class FeatureLogic:
    """A detector at work: features in, scores out, and sentences that name the strongest of them.

    Who runs several of them on the same bars computes the features once (`Segments.features`); by
    itself a logic keeps its own.
    """

    #: Name of the detector in sentences.
    _title: str

    def __init__(self, width: Width, resume: dict[str, Any] | None) -> None:
        self._width_ns = WIDTHS[width]
        own = None if resume is None else resume.get("features")
        self._features = None if own is None else BarFeatures(self._width_ns, own)

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        """Score bars by their features; NaN while these warm up."""
        features = segments.features or self._own(segments, learn=learn)
        details: dict[str, Array] = {
            "values": features.values, "observed": features.observed, "expected": features.expected,
        }  # fmt: skip
        score = self._score(segments, features, details, learn=learn)
        return Scores(score, None, details)

    def _own(self, segments: Segments, *, learn: bool) -> Features:
        if self._features is None:
            self._features = BarFeatures(self._width_ns)
        return self._features.update(segments, learn=learn)

    @abstractmethod
    def _score(
        self, segments: Segments, features: Features, details: dict[str, Array], *, learn: bool
    ) -> Floats:
        """Return a score per bar, and leave in ``details`` what `_shares` needs."""

    @abstractmethod
    def _shares(self, scores: Scores, index: int) -> Floats:
        """Return how much of the score of one bar each feature carries, none below 0, in all 1."""

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        """Name the feature that carries most of the score, and what was usual instead."""
        return self._explained(key, scores, index, self._shares(scores, index))

    def _explained(
        self, key: str, scores: Scores, index: int, shares: Floats, of_several: str | None = None
    ) -> Explanation:
        """Explain by the feature that carries most, or by what several bars of it amount to, in words."""
        values = scores.details["values"][index]
        first, second = np.argsort(-shares, kind="stable")[:2]
        seen, usual = (float(scores.details[name][index, first]) for name in ("observed", "expected"))
        here = f"{amount(seen)} where {amount(usual)} is usual"
        reason = f"{key} is unlike itself to {self._title}, mostly by "
        if of_several is None:
            reason += f"its {_told(first, values)}: {here}"
        else:
            reason += f"{of_several}; its {FEATURES[first].replace('_', ' ')} now is {here}"
        if shares[second] >= _WORTH_TELLING:
            reason += f"; then by its {_told(second, values)}"
        contributions = {
            name: float(share) for name, share in zip(FEATURES, shares, strict=True) if share > 0
        }
        return Explanation(seen, usual, contributions, reason)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {} if self._features is None else {"features": self._features.snapshot()}


class StatisticsLogic(FeatureLogic):
    """One whose scores are of the statistics; they too are shared, or its own."""

    def __init__(self, width: Width, resume: dict[str, Any] | None) -> None:
        super().__init__(width, resume)
        own = None if resume is None else resume.get("statistics")
        self._statistics = None if own is None else BarStatistics(self._width_ns, own)

    def _told(self, segments: Segments, features: Features, *, learn: bool) -> Told:
        """Return the statistics of bars with these features."""
        if segments.statistics is not None:
            return segments.statistics
        if self._statistics is None:
            self._statistics = BarStatistics(self._width_ns)
        return self._statistics.update(segments, features.values, learn=learn)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        own = {} if self._statistics is None else {"statistics": self._statistics.snapshot()}
        return super().snapshot() | own


_WORTH_TELLING = 0.15


def _told(feature: int, values: Array) -> str:
    name, value = FEATURES[feature].replace("_", " "), float(values[feature])
    return f"{name} ({abs(value):.1f} standard deviations {'above' if value >= 0 else 'below'} usual)"


def shares(score: Callable[[Array], Floats], point: Array) -> Floats:
    """Return how much each feature of a point carries of its score, none below 0, in all 1.

    The mean of what the score loses when the feature alone becomes usual, and of what it gains when
    all others are: the first and last terms of the Shapley value (Shapley, 1953), exact where no more than
    two features act together.

    Parameters
    ----------
    score
        Scores points, shape ``(n, features)``, to shape ``(n,)``; higher is stranger.
    point
        Shape ``(features,)``; 0 is usual.

    Examples
    --------
    >>> shares(lambda points: points[:, 0] * points[:, 1] + points[:, 2], np.array([2.0, 1.0, 2.0]))
    array([0.25, 0.25, 0.5 ])
    """
    count = len(point)
    without, alone = np.tile(point, (count, 1)), np.zeros((count, count), point.dtype)
    np.fill_diagonal(without, 0)
    np.fill_diagonal(alone, point)
    told = score(np.concatenate([point[None], np.zeros((1, count), point.dtype), without, alone]))
    carried = np.maximum((told[0] - told[2 : 2 + count] + told[2 + count :] - told[1]) / 2, 0.0)
    if not carried.sum() > 0:
        carried = np.abs(point).astype(np.float64) + (not point.any())
    return normalised(carried)


def normalised(parts: Floats) -> Floats:
    """Return shares of what is not below 0 and not all 0.

    >>> normalised(np.array([1.0, 3.0]))
    array([0.25, 0.75])
    """
    shared: Floats = parts / parts.sum()
    return shared
