"""How well a model tells injected anomalies from the bars beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapewatch.records import Array, Floats


@dataclass(frozen=True, slots=True)
class Curve:
    """Receiver operating characteristic: what is found and falsely told at each threshold, falling."""

    thresholds: Floats
    found: Floats
    false: Floats
    precision: Floats


def curve(scores: Floats, label: Array) -> Curve:
    """Return the curve of scores by their labels (1 an anomaly, 0 none); higher scores are stranger.

    Raises
    ------
    ValueError
        If there are not both.

    Examples
    --------
    >>> told = curve(np.array([0.9, 0.8, 0.3]), np.array([1, 0, 0]))
    >>> told.found.tolist(), told.false.tolist()
    ([1.0, 1.0, 1.0], [0.0, 0.5, 1.0])
    """
    positive, negative = int((label == 1).sum()), int((label == 0).sum())
    if not positive or not negative:
        raise ValueError("label must hold anomalies and others")
    counted = label >= 0
    scores, label = scores[counted], label[counted]
    order = np.argsort(-scores, kind="stable")
    scores, hit = scores[order], label[order] == 1
    last = np.flatnonzero(np.append(scores[1:] != scores[:-1], True))
    found, false = np.cumsum(hit)[last], np.cumsum(~hit)[last]
    return Curve(scores[last], found / positive, false / negative, found / (found + false))


def roc_auc(told: Curve) -> float:
    """Return the area under the curve: how likely an anomaly scores higher than another bar.

    >>> roc_auc(curve(np.array([0.9, 0.8, 0.3]), np.array([1, 0, 1])))
    0.5
    """
    return float(np.trapezoid(np.append(0.0, told.found), np.append(0.0, told.false)))


def average_precision(told: Curve) -> float:
    """Return the mean precision over recall.

    >>> average_precision(curve(np.array([0.9, 0.8, 0.3]), np.array([1, 0, 1]))).__round__(3)
    0.833
    """
    return float((np.diff(np.append(0.0, told.found)) * told.precision).sum())


def youden(told: Curve) -> tuple[float, float]:
    """Return the threshold at which what is found exceeds what is falsely told the most, and by how much.

    Youden, "Index for Rating Diagnostic Tests", 1950.

    >>> youden(curve(np.array([0.9, 0.8, 0.3]), np.array([1, 0, 0])))
    (0.9, 1.0)
    """
    index = told.found - told.false
    best = int(index.argmax())
    return float(told.thresholds[best]), float(index[best])
