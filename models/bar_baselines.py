"""What a user would reach for: detectors of other makers, and chance, on the very same bars.

Each is fitted to the first part of the same instrument where it has to be fitted, and scores every bar before
it learns it where it learns on the way. Higher scores are stranger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from tapewatch.records import Array, Floats

_WINDOW = 240
_LEAST = 30
_HELD = 30
#: Bars of the first part that scikit-learn's forests are fitted to.
_MOST_FITTED = 20_000

#: Scores bars ``(n,)`` whose first ``cut`` are for fitting, with a seed.
Baseline = Callable[[Array, int, int], Floats]


def derived(bars: Array) -> Floats:
    """Return the usual features: return, its size, span and body over price, log volume against its mean.

    Shape ``(n, 6)``; everything is of this bar and those before it.
    """
    close, high, low = (bars[name].astype(np.float64) for name in ("close", "high", "low"))
    before = np.concatenate([close[:1], close[:-1]])
    price = np.maximum(np.abs(before), 1.0)
    move = (close - before) / price
    volume = np.log1p(bars["volume"].astype(np.float64))
    return np.stack(
        [
            move,
            np.abs(move),
            (high - low) / price,
            (close - bars["open"]) / price,
            volume - _rolling(volume, 20)[0],
            np.abs(move) / np.maximum(_rolling(move, 20)[1], 1e-9),
        ],
        axis=1,
    )


def _rolling(values: Floats, window: int) -> tuple[Floats, Floats]:
    """Return mean and standard deviation of the ``window`` values before each, of fewer at the beginning."""
    ends = np.arange(len(values))
    if not len(values):
        return values, values
    first = np.maximum(ends - window, 0)
    count = np.maximum(ends - first, 1)
    centred = values - values[0]
    sums, squares = (np.concatenate([[0.0], np.cumsum(part)]) for part in (centred, centred**2))
    mean = (sums[ends] - sums[first]) / count
    variance = (squares[ends] - squares[first]) / count - mean**2
    return mean + values[0], np.sqrt(np.maximum(variance, 0.0))


def windowed_gaussian(bars: Array, cut: int, seed: int) -> Floats:
    """Return how many standard deviations return, span or log volume are from their last 240 bars' mean."""
    move, _, span, _, _, _ = derived(bars).T
    score = np.zeros(len(bars))
    for values in (move, np.log1p(span * 1e4), np.log1p(bars["volume"].astype(np.float64))):
        mean, deviation = _rolling(values, _WINDOW)
        score = np.maximum(score, np.abs(values - mean) / np.maximum(deviation, 1e-6))
    score[:_LEAST] = np.nan
    return score


def _forest(points: Floats, cut: int, seed: int) -> Floats:
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=100, random_state=seed)
    forest.fit(points[max(cut - _MOST_FITTED, 0) : cut])
    told: Floats = -forest.score_samples(points)
    return told


def forest_raw(bars: Array, cut: int, seed: int) -> Floats:
    """Return the scores of scikit-learn's isolation forest on open, high, low, close and volume."""
    names = ("open", "high", "low", "close", "volume")
    return _forest(np.stack([bars[name].astype(np.float64) for name in names], axis=1), cut, seed)


def forest_derived(bars: Array, cut: int, seed: int) -> Floats:
    """Return the scores of scikit-learn's isolation forest on derived features."""
    return _forest(derived(bars), cut, seed)


def river_trees(bars: Array, cut: int, seed: int) -> Floats:
    """Return the scores of River's HalfSpaceTrees behind its MinMaxScaler, on derived features."""
    from river import anomaly, preprocessing

    model: Any = preprocessing.MinMaxScaler() | anomaly.HalfSpaceTrees(seed=seed)
    score = np.zeros(len(bars))
    for place, point in enumerate(derived(bars).tolist()):
        one = dict(enumerate(point))
        score[place] = model.score_one(one)
        model.learn_one(one)
    return score


def random(bars: Array, cut: int, seed: int) -> Floats:
    """Return chance."""
    return np.random.default_rng([seed, len(bars)]).random(len(bars))


def random_held(bars: Array, cut: int, seed: int) -> Floats:
    """Return chance that stays for 30 bars."""
    return np.repeat(random(bars, cut, seed)[::_HELD], _HELD)[: len(bars)]


#: By the name that tables have.
BASELINES: dict[str, Baseline] = {
    "windowed Gaussian": windowed_gaussian,
    "scikit-learn isolation forest, OHLCV": forest_raw,
    "scikit-learn isolation forest, derived": forest_derived,
    "River HalfSpaceTrees with scaler": river_trees,
    "random": random,
    "random, held for 30 bars": random_held,
}
