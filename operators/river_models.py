"""``river``: any anomaly detector of River, by name and parameters, one per instrument.

River's scores have ranges of their own, so a score is told as its distance from the median of the
instrument's last scores in robust standard deviations. Unsupervised detectors see the features bounded to
[0, 1]; supervised ones (which watch one value by means of the others) the features as they are, and `target`.
River is imported only where this detector is switched on.
"""

from __future__ import annotations

import inspect
import math
import pickle
from importlib.metadata import version
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from operators.adwin import Adwin
from operators.detector import Logic, Scores, Segments
from operators.feature_detector import FeatureDetector, FeatureLogic, normalised
from operators.features import FEATURES, Features
from operators.online import bounded
from operators.scale import Scale
from operators.windows import median_and_spread
from tapewatch import stopping
from tapewatch.log import log
from tapewatch.records import Array, Floats

_Resume = dict[str, Any] | None
_UNSUPERVISED = frozenset({"HalfSpaceTrees", "LODA", "LocalOutlierFactor", "OneClassSVM"})
#: Scores a standardisation looks back, and the least it needs.
_WINDOW, _LEAST = 100, 20
_LEAST_SPREAD = 1e-6


class River(FeatureDetector):
    """Bars that one of River's anomaly detectors finds unlike the instrument's others."""

    name: ClassVar[str] = "river"
    scale: ClassVar[Scale] = Scale(
        lowest=-4,
        octaves=12,
        shape=0.1,
        spread=0.25,
        prior_peaks=20,
        warm_up=45,
        usual_threshold=4.0,
        prior_observations=150,
    )

    enabled: bool = False
    model: Literal[
        "OneClassSVM",
        "LODA",
        "LocalOutlierFactor",
        "HalfSpaceTrees",
        "GaussianScorer",
        "StandardAbsoluteDeviation",
        "PredictiveAnomalyDetection",
    ] = "OneClassSVM"
    parameters: dict[str, bool | int | float | str | None] = Field(
        default_factory=dict, validate_default=True
    )
    target: str = "return_given_volume"
    warm_up: int = Field(60, ge=0, le=10_000)
    drift_delta: float = Field(0.002, ge=0, lt=1)

    @field_validator("target")
    @classmethod
    def _is_feature(cls, target: str) -> str:
        if target not in FEATURES:
            raise ValueError(f"must be one of {', '.join(FEATURES)}")
        return target

    @field_validator("parameters")
    @classmethod
    def _make_a_model(cls, parameters: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        model = info.data.get("model")
        if not info.data.get("enabled") or model is None:
            return parameters
        try:
            made(model, parameters)
        except ImportError:
            raise ValueError('need River: pip install "tapewatch[river]"') from None
        except Exception as error:
            raise ValueError(f"must be parameters of River's {model} ({error})") from error
        return parameters

    def build(self, resume: _Resume) -> Logic:
        """Return the logic."""
        return _RiverLogic(self, resume)


def made(model: str, parameters: dict[str, Any]) -> Any:  # noqa: ANN401 - River's detectors share no useful type
    """Return a new detector of River, seeded where it takes a seed.

    Raises
    ------
    ImportError
        Without River.
    TypeError
        For parameters it does not take.
    """
    from river import anomaly

    detector = getattr(anomaly, model)
    if "seed" in inspect.signature(detector).parameters:
        parameters = {"seed": 1, **parameters}
    return detector(**parameters)


class _Instrument:
    """The model of one instrument, its last scores, and how many bars it has learned."""

    def __init__(self, settings: River, saved: bytes | None = None) -> None:
        self._settings = settings
        self._model: Any
        self._past: list[float]
        if saved is None:
            self._begin()
        else:
            # From our own recovery store, which Bytewax unpickles too.
            self._model, self._past, self._seen, drift = pickle.loads(saved)  # noqa: S301
            self._drift = Adwin(settings.drift_delta, drift)
        #: What `dump` said last, None once something has changed.
        self._dumped = saved

    def _begin(self) -> None:
        self._model, self._past, self._seen = made(self._settings.model, self._settings.parameters), [], 0
        self._drift = Adwin(self._settings.drift_delta)

    def dump(self) -> bytes:
        if self._dumped is None:
            self._dumped = pickle.dumps((self._model, self._past, self._seen, self._drift.snapshot()))
        return self._dumped

    def judge(self, values: Array, *, learn: bool) -> float:
        """Return how far the model's score is from its last ones, NaN while it warms up; then learn."""
        if not learn:
            # Some of River's detectors change when they are asked.
            return _Instrument(self._settings, self.dump()).judge(values, learn=True)
        self._dumped = None
        point: tuple[Any, ...]
        if self._settings.model in _UNSUPERVISED:
            point = (dict(zip(FEATURES, bounded(values).tolist(), strict=True)),)
        else:
            known = dict(zip(FEATURES, values.tolist(), strict=True))
            point = (known, known.pop(self._settings.target))
        raw = float(self._model.score_one(*point)) if self._seen >= self._settings.warm_up else math.nan
        self._model.learn_one(*point)
        self._seen += 1
        if not math.isfinite(raw):
            return math.nan
        score = self._standardised(raw)
        self._past = [*self._past[1 - _WINDOW :], raw]
        if self._settings.drift_delta and self._drift.update(raw):
            self._begin()
        return score

    def _standardised(self, raw: float) -> float:
        if len(self._past) < _LEAST:
            return math.nan
        _, middle, spread = median_and_spread(np.array([self._past]))
        return float(max(raw - middle[0], 0.0) / max(spread[0], _LEAST_SPREAD))


class _RiverLogic(FeatureLogic):
    def __init__(self, settings: River, resume: _Resume) -> None:
        super().__init__(settings.width, resume)
        self._settings, self._title = settings, f"River's {settings.model}"
        self._made_by = (
            version("river"),
            settings.model,
            sorted(settings.parameters.items()),
            settings.target,
        )
        saved: tuple[bytes, ...] = ()
        if resume is not None:
            if resume["made_by"] == self._made_by:
                saved = resume["instruments"]
            elif resume["made_by"][0] == self._made_by[0]:
                log.warning("%s is another model than in the recovery store; it warms up anew", settings.name)
            else:
                stopping.fail(
                    f"the recovery store holds models of River {resume['made_by'][0]}, which River "
                    f"{self._made_by[0]} may not read; start with a new recovery store"
                )
        self._instruments = [_Instrument(settings, one) for one in saved]

    def snapshot(self) -> dict[str, Any]:
        instruments = tuple(one.dump() for one in self._instruments)
        return super().snapshot() | {"made_by": self._made_by, "instruments": instruments}

    def _score(
        self, segments: Segments, features: Features, details: dict[str, Array], *, learn: bool
    ) -> Floats:
        missing = int(segments.rows.max(initial=-1)) + 1 - len(self._instruments)
        self._instruments += [_Instrument(self._settings) for _ in range(missing)]
        score = np.full(len(segments.items), np.nan)
        for place in np.flatnonzero(~np.isnan(features.values[:, 0])).tolist():
            row = int(segments.rows[np.searchsorted(segments.starts, place, "right") - 1])
            score[place] = self._instruments[row].judge(features.values[place], learn=learn)
        return score

    def _shares(self, scores: Scores, index: int) -> Floats:
        if self._settings.model not in _UNSUPERVISED:
            return np.array([float(name == self._settings.target) for name in FEATURES])
        # River's detectors do not say what they found strange: the features' squares stand in.
        squares = scores.details["values"][index].astype(np.float64) ** 2
        return normalised(squares + (not squares.any()))
