"""``tail_combination``: bars of which some statistics are rare for the instrument, weighed together.

Each of four dozen statistics of a bar and of those just before it (`operators.bar_statistics`) is first
calibrated by itself, for its instrument (`operators.tail_tables`). What the tail probabilities mean together,
beside how lively the bars around are, boosted trees have learned from anomalies put into real bars (Friedman,
"Greedy Function Approximation: A Gradient Boosting Machine", 2001), each held to grow with every statistic's
rarity. The score is the logarithm of the odds they give, over those of a bar that is hardly worth a look.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from operators.bar_statistics import CONTEXT, STATISTICS
from operators.detector import Explanation, Logic, Scores, Segments
from operators.feature_detector import StatisticsDetector, StatisticsLogic, normalised, shares
from operators.features import FEATURES, Features
from operators.onnx_models import OnnxModel, load
from operators.scale import Scale
from operators.statistic_words import in_words
from operators.tail_tables import TailTables, bins_of
from tapewatch.records import Array, Floats

#: How many of the rarest are also shown in order, and how many of them are summed.
RANKED, SUMMED = 3, (3, 5)
#: Columns of the model's input.
INPUTS = (
    *STATISTICS,
    *(f"rarest_{n + 1}" for n in range(RANKED)),
    *(f"sum_of_{n}" for n in SUMMED),
    "bars_of_session",
    *CONTEXT,
)
#: How many of them may only raise the score.
RISING = len(STATISTICS) + RANKED + len(SUMMED)
#: A session is no longer young after so many bars.
_OLD = 200
#: Bars of an instrument before its first score.
_WARM_UP = 80
#: Log odds of one in 90, below which scores say little.
_WORTH_A_LOOK = 4.5
_FEATURE_OF = np.array([FEATURES.index(name) for name in STATISTICS.values()])


def load_combination(model: str) -> OnnxModel:
    """Return the model with its prior; see `operators.onnx_models.load`."""
    found = load("tail_combination", model, INPUTS)
    prior = np.array(found.card.get("prior", ()), np.float64)
    if prior.ndim != 2 or len(prior) != len(STATISTICS):
        raise ValueError(
            "must be a model that `tapewatch train tail_combination` made; its card has no prior"
        )
    return found


def inputs_of(decades: Array, age: Array, context: Array) -> Array:
    """Return what the model is shown, float32, C-contiguous, shape ``(n, len(INPUTS))``.

    Parameters
    ----------
    decades
        Rarity of the statistics as ``-log10`` of tail probabilities, float32, ``(n, len(STATISTICS))``.
    age
        Bars of the session before each bar, shape ``(n,)``.
    context
        What is around each bar, float32, ``(n, len(CONTEXT))``.
    """
    ranked = np.sort(decades, axis=1)[:, ::-1]
    out = np.empty((len(decades), len(INPUTS)), np.float32)
    count = len(STATISTICS)
    out[:, :count], out[:, count : count + RANKED] = decades, ranked[:, :RANKED]
    total, column = np.zeros(len(decades), np.float32), count + RANKED
    # One after the other: a sum along rows may add up in an order that depends on the layout.
    for place in range(max(SUMMED)):
        total += ranked[:, place]
        if place + 1 in SUMMED:
            out[:, column] = total
            column += 1
    out[:, column], out[:, column + 1 :] = np.minimum(age, _OLD), context
    return out


def combination_score(logit: Floats) -> Floats:
    """Return scores of the trees' log odds: 0 for the usual bar, then as many as the log odds are beyond.

    >>> combination_score(np.array([-9.0, -4.5, 0.0])).round(2).tolist()
    [0.01, 0.69, 4.51]
    """
    score: Floats = np.log1p(np.exp(np.minimum(logit + _WORTH_A_LOOK, 50.0)))
    return score


class TailCombination(StatisticsDetector):
    """Bars of which statistics are rare together in the way that anomalies are."""

    name: ClassVar[str] = "tail_combination"
    scale: ClassVar[Scale] = Scale(
        lowest=-5,
        octaves=9,
        shape=0.0,
        spread=0.5,
        prior_peaks=40,
        warm_up=45,
        usual_threshold=4.0,
        prior_observations=150,
    )

    model: str = Field("tail_combination.onnx", min_length=1, validate_default=True)

    @field_validator("model")
    @classmethod
    def _is_model(cls, model: str, info: ValidationInfo) -> str:
        # What is wrong with a file is told with the settings, before anything runs.
        if info.data.get("enabled"):
            load_combination(model)
        return model

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic."""
        return _CombinationLogic(self, resume)


class _CombinationLogic(StatisticsLogic):
    """Per instrument: the last bars, and how often each statistic was how large."""

    _title = "the tail combination"

    def __init__(self, settings: TailCombination, resume: dict[str, Any] | None) -> None:
        super().__init__(settings.width, resume)
        self._model = load_combination(settings.model)
        card, saved = self._model.card, resume or {}
        prior = np.array(card["prior"], np.float64)
        self._tables = TailTables(prior, float(card["prior_bars"]), saved.get("tables"))

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return super().snapshot() | {"tables": self._tables.snapshot()}

    def _score(
        self, segments: Segments, features: Features, details: dict[str, Array], *, learn: bool
    ) -> Floats:
        told = self._told(segments, features, learn=learn)
        score = np.full(len(segments.items), np.nan)
        decades = np.zeros(told.statistics.shape, np.float32)
        ready = np.flatnonzero(~np.isnan(features.values[:, 0]))
        if len(ready):
            starts = np.searchsorted(ready, segments.starts)
            some = starts[1:] > starts[:-1]
            bounds = np.append(starts[:-1][some], starts[-1])
            decades[ready] = self._tables.decades(
                segments.rows[some], bounds, bins_of(told.statistics[ready]), learn=learn
            )
            # Features settle as their windows fill; until then they look strange.
            settled = ready[told.before[ready] >= _WARM_UP]
            if len(settled):
                score[settled] = self._odds(decades[settled], told.age[settled], told.context[settled])
        details["decades"], details["age"], details["context"] = decades, told.age, told.context
        return score

    def _odds(self, decades: Array, age: Array, context: Array) -> Floats:
        logit = self._model.run("logit", inputs_of(decades, age, context))[:, 0].astype(np.float64)
        return combination_score(logit)

    def _by_statistic(self, scores: Scores, index: int) -> Floats:
        around = [scores.details[name][index : index + 1] for name in ("age", "context")]
        return shares(
            lambda points: self._odds(points, *(np.repeat(one, len(points), axis=0) for one in around)),
            scores.details["decades"][index],
        )

    def _shares(self, scores: Scores, index: int) -> Floats:
        return _by_feature(self._by_statistic(scores, index))

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        """Name the feature that carries most of the score, and of what that is the rarest statistic."""
        carried = self._by_statistic(scores, index)
        told = self._explained(key, scores, index, _by_feature(carried))
        name = list(STATISTICS)[int(np.argmax(carried))]
        once = 10.0 ** float(scores.details["decades"][index][int(np.argmax(carried))])
        detail = f"; what tells most is {in_words(name)}, as in one bar of {once:,.0f}"
        return Explanation(told.observed, told.expected, told.contributions, told.reason + detail)


def _by_feature(by_statistic: Floats) -> Floats:
    carried = np.zeros(len(FEATURES))
    np.add.at(carried, _FEATURE_OF, by_statistic)
    return normalised(carried)
