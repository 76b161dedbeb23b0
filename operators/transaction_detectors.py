"""The detectors of transactions: frozen descriptions that build their logic, which scores features.

They have what detectors of tapes have (`operators.detector`): a section of the settings, a scale, a logic
that scores before it learns, explains itself, and can be resumed. What they see is one row of features a
transaction (`operators.transaction_features`), so there is nothing for them to keep for each user.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Protocol

import numpy as np
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from operators.feature_detector import normalised, shares
from operators.half_space_trees import HalfSpaceTrees as Trees
from operators.online import bounded
from operators.onnx_models import OnnxModel, load
from operators.scale import Scale
from operators.transaction_features import FEATURES
from tapewatch.errors import UserError
from tapewatch.records import Array, Floats
from tapewatch.settings import explain, from_json


class TransactionLogic(Protocol):
    """A detector at work."""

    def score(self, values: Array, *, learn: bool = True) -> Floats:
        """Score features ``(n, len(FEATURES))`` row by row, each before it is learned; higher is stranger."""

    def shares(self, point: Array, index: int) -> Floats:
        """Return how much of the score of a row each feature carries, none below 0, in all 1.

        ``index`` is the row's place among those that were scored last.
        """

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""


class TransactionDetector(BaseModel):
    """What every section of ``transactions.detectors`` has."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]
    scale: ClassVar[Scale]

    enabled: bool = True


class ScoringDetector(TransactionDetector):
    """A detector that scores features by itself."""

    @abstractmethod
    def build(self, resume: dict[str, Any] | None) -> TransactionLogic:
        """Make the logic, new or from a snapshot."""


#: From which deviation on a rule looks at a feature, and how much it counts.
_RULES = {
    "amount": (1.0, 1.0), "amount_linear": (1.0, 1.0), "own_amount": (1.0, 1.0), "own_linear": (0.0, 0.5),
    "own_category": (1.0, 1.0), "distance": (1.0, 4.0), "haste": (1.5, 1.0), "transactions_1h": (1.5, 12.0),
    "contradiction": (1.0, 6.0), "night_amount": (1.0, 0.7), "own_place": (1.0, 1.0),
    "own_merchant": (1.0, 0.3), "own_merchant_category": (1.0, 0.2), "own_method": (1.0, 0.6),
    "own_device": (1.0, 0.4), "own_hour": (1.0, 0.4), "own_pace": (1.0, 0.3), "own_travel": (1.0, 2.0),
    "own_recent": (0.0, 0.5),
}  # fmt: skip
_FROM = np.array([_RULES.get(name, (np.inf, 0.0))[0] for name in FEATURES])
_WEIGHT = np.array([_RULES.get(name, (np.inf, 0.0))[1] for name in FEATURES])
#: What lies further beyond counts no more: amounts have tails so long that deviations of the amounts
#: themselves, unlike those of their logarithms, soon say nothing.
_LIMITS = {"amount_linear": 4.0, "own_linear": 4.0, "own_recent": 3.0}
_MOST = np.array([_LIMITS.get(name, np.inf) for name in FEATURES])
_EACH = tuple(zip(_FROM.tolist(), _WEIGHT.tolist(), _MOST.tolist(), strict=True))


class Rules(ScoringDetector):
    """Amounts over profile, new places, merchants and hours, velocity, impossible travel, contradictions."""

    name: ClassVar[str] = "rules"
    scale: ClassVar[Scale] = Scale(lowest=-4, octaves=12, shape=0.05, spread=0.3, prior_peaks=40, warm_up=256)

    def build(self, resume: dict[str, Any] | None) -> TransactionLogic:
        """Return the logic, which has no state."""
        return _RulesLogic()


class _RulesLogic:
    def score(self, values: Array, *, learn: bool = True) -> Floats:
        total = np.zeros(len(values))
        for feature, (least, weight, most) in enumerate(_EACH):
            if weight:
                excess = np.minimum(np.maximum(values[:, feature].astype(np.float64) - least, 0.0), most)
                total += weight * excess * excess
        return np.sqrt(total)

    def shares(self, point: Array, index: int) -> Floats:
        excess = np.maximum(point.astype(np.float64) - np.where(_WEIGHT > 0, _FROM, 0.0), 0.0)
        carried = _WEIGHT * np.minimum(excess, _MOST) ** 2
        return normalised(carried if carried.any() else np.ones(len(point)))

    def snapshot(self) -> dict[str, Any]:
        return {}


class _Pretrained(ScoringDetector):
    model: str = ""

    @field_validator("model")
    @classmethod
    def _is_model(cls, model: str, info: ValidationInfo) -> str:
        if info.data.get("enabled"):
            load(cls.kind(), model, FEATURES)
        return model

    @classmethod
    def kind(cls) -> str:
        """Return the name under which the model is trained."""
        return f"transactions_{cls.name}"


class TransactionForest(_Pretrained):
    """Transactions that random splits tell from others in few steps (Liu, Ting and Zhou, 2008)."""

    name: ClassVar[str] = "isolation_forest"
    scale: ClassVar[Scale] = Scale(lowest=-4, octaves=8, shape=0.05, spread=0.45, prior_peaks=40, warm_up=256)

    model: str = Field("transactions_isolation_forest.onnx", min_length=1, validate_default=True)

    def build(self, resume: dict[str, Any] | None) -> TransactionLogic:
        """Return the logic, which has no state."""
        return _ForestLogic(load(self.kind(), self.model, FEATURES))


def folded(values: Array) -> Array:
    """Return features as the forest sees them: what is below usual is half as strange as what is above.

    >>> folded(np.array([[2.0, -2.0]], np.float32)).tolist()
    [[2.0, 1.0]]
    """
    return np.maximum(values, -values / 2)


class _ForestLogic:
    def __init__(self, model: OnnxModel) -> None:
        self._model = model

    def score(self, values: Array, *, learn: bool = True) -> Floats:
        depth = self._model.run("depth", np.ascontiguousarray(folded(values)))[:, 0]
        score: Floats = np.exp2(4.0 * (1.0 - depth.astype(np.float64)))
        return score

    def shares(self, point: Array, index: int) -> Floats:
        return shares(self.score, point)

    def snapshot(self) -> dict[str, Any]:
        return {}


class TransactionAutoencoder(_Pretrained):
    """Transactions whose features do not go together as usual: what 32-16-8 units cannot give back."""

    name: ClassVar[str] = "autoencoder"
    scale: ClassVar[Scale] = Scale(lowest=-5, octaves=13, shape=0.15, spread=0.3, prior_peaks=40, warm_up=256)

    model: str = Field("transactions_autoencoder.onnx", min_length=1, validate_default=True)

    def build(self, resume: dict[str, Any] | None) -> TransactionLogic:
        """Return the logic, which has no state."""
        return _AutoencoderLogic(load(self.kind(), self.model, FEATURES))


class _AutoencoderLogic:
    def __init__(self, model: OnnxModel) -> None:
        self._model = model

    def score(self, values: Array, *, learn: bool = True) -> Floats:
        errors = self._model.run("errors", np.ascontiguousarray(values))
        total = np.zeros(len(values))
        # Column by column: a sum along rows may add up in an order that depends on the number of rows.
        for feature in range(errors.shape[1]):
            total += errors[:, feature]
        return np.sqrt(total / len(FEATURES))

    def shares(self, point: Array, index: int) -> Floats:
        errors = self._model.run("errors", np.ascontiguousarray(point[None]))[0].astype(np.float64)
        return normalised(errors if errors.any() else np.ones(len(point)))

    def snapshot(self) -> dict[str, Any]:
        return {}


class TransactionTrees(ScoringDetector):
    """Transactions that lie where few of the stream's last ones lay; learns online (River's trees)."""

    name: ClassVar[str] = "half_space_trees"
    scale: ClassVar[Scale] = Scale(lowest=-3, octaves=7, shape=0.0, spread=0.18, prior_peaks=30, warm_up=256)

    n_trees: int = Field(25, ge=1, le=100)
    height: int = Field(8, ge=1, le=10)
    window_size: int = Field(512, ge=20, le=8192)
    seed: int = Field(1, ge=0, le=2**32 - 1)

    def build(self, resume: dict[str, Any] | None) -> TransactionLogic:
        """Return the logic."""
        return _TreesLogic(_trees(self.n_trees, self.height, self.window_size, self.seed), resume)


@lru_cache(maxsize=4)
def _trees(trees: int, height: int, window: int, seed: int) -> Trees:
    return Trees(len(FEATURES), trees, height, window, seed)


class _TreesLogic:
    def __init__(self, trees: Trees, resume: dict[str, Any] | None) -> None:
        self._trees = trees
        self._now = np.zeros((trees.window, trees.trees), trees.leaf_dtype)
        self._seen = 0
        self._weights: Array | None = None if resume is None else resume["weights"]
        #: What judged the rows that were scored last, up to which of them.
        self._judged: list[tuple[int, Array | None]] = []
        if resume is not None:
            self._seen = resume["seen"]
            self._now[: self._seen] = resume["now"]

    def snapshot(self) -> dict[str, Any]:
        weights = None if self._weights is None else self._weights.copy()
        return {"seen": self._seen, "now": self._now[: self._seen].copy(), "weights": weights}

    def score(self, values: Array, *, learn: bool = True) -> Floats:
        leaves = self._trees.leaves(bounded(values))
        found = np.full(len(values), np.nan)
        at = 0
        self._judged = []
        while at < len(values):
            until = min(len(values), at + self._trees.window - self._seen) if learn else len(values)
            self._judged.append((until, self._weights))
            if self._weights is not None:
                found[at:until] = self._bits(self._weights, leaves[at:until])
            if learn:
                self._now[self._seen : self._seen + until - at] = leaves[at:until]
                self._seen += until - at
                if self._seen == self._trees.window:
                    self._weights, self._seen = self._trees.weights(self._now), 0
            at = until
        return found

    def _bits(self, weights: Array, leaves: Array) -> Floats:
        return np.log2(self._trees.largest_mass / np.maximum(self._trees.masses(weights, leaves), 1))

    def shares(self, point: Array, index: int) -> Floats:
        weights = next((weights for until, weights in self._judged if index < until), None)
        if weights is None:
            return normalised(np.ones(len(point)))
        return shares(lambda points: self._bits(weights, self._trees.leaves(bounded(points))), point)


class Classifier(TransactionDetector):
    """What reviews have taught: silent until there are some; `operators.transaction_feedback` scores."""

    name: ClassVar[str] = "classifier"
    scale: ClassVar[Scale] = Scale(lowest=-8, octaves=14, shape=0.1, spread=0.3, prior_peaks=40, warm_up=256)

    learning_rate: float = Field(0.1, gt=0, le=10)


class TransactionEnsemble(TransactionDetector):
    """What the others say together: the judging step's weighted sum, each in units of its own spread."""

    name: ClassVar[str] = "ensemble"
    scale: ClassVar[Scale] = Scale(lowest=-4, octaves=12, shape=0.1, spread=0.3, prior_peaks=40, warm_up=256)

    weights: Annotated[dict[str, Annotated[float, Field(ge=0, le=1000)]], BeforeValidator(from_json)] = Field(
        default_factory=lambda: {"isolation_forest": 0.5, "autoencoder": 0.5}
    )
    #: Weights of the rules and of the classifier beside those, in personal mode and once there are reviews.
    personal: float = Field(4.0, ge=0, le=1000)
    reviewed: float = Field(20.0, ge=0, le=1000)


KNOWN: tuple[type[TransactionDetector], ...] = (
    Rules, TransactionForest, TransactionAutoencoder, TransactionTrees, Classifier, TransactionEnsemble,
)  # fmt: skip


def transaction_detectors(sections: Mapping[str, Mapping[str, Any]]) -> tuple[TransactionDetector, ...]:
    """Return the enabled detectors as ``transactions.detectors`` describes them.

    Raises
    ------
    UserError
        For a detector there is not, or a setting it does not have or allow.
    """
    by_name = {detector.name: detector for detector in KNOWN}
    for name in sections:
        if name not in by_name:
            raise UserError(f"unknown key `transactions.detectors.{name}`; there are {', '.join(by_name)}")
    found = []
    for name, detector in by_name.items():
        try:
            found.append(detector.model_validate(dict(sections.get(name, {}))))
        except ValidationError as error:
            raise UserError(explain(error, f"transactions.detectors.{name}", detector)) from error
    for section in found:
        if isinstance(section, TransactionEnsemble):
            allowed = [name for name in by_name if name != "ensemble"]
            for name in section.weights:
                if name not in allowed:
                    raise UserError(
                        f"`transactions.detectors.ensemble.weights` must name some of {', '.join(allowed)}, "
                        f"has {name!r}"
                    )
    return tuple(section for section in found if section.enabled)
