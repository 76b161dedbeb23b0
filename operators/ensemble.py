"""``ensemble``: what the detectors of one bar width say together.

Severities are tail probabilities on one scale, whatever the detectors' own scales are: each is turned back
into decades of rarity, weighted, and the few largest are added, as in Fisher's method of combining tests
("Statistical Methods for Research Workers", 1925) but deaf to detectors that have nothing to say. Who has
learned what its score is worth, in log odds, is taken at its score: a severity has been through a
calibration, and twice through one blurs what it says. Beside it the others add nothing unless they are given
a weight, and then with what they see less than once a day. How large such a sum usually is, detectors not
being independent, the calibration learns for each instrument.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from operators.detector import BarDetector, Detector, Explanation, Logic, Scores, Segments
from operators.scale import Scale
from operators.tail_combination import TailCombination
from tapewatch.records import MINUTE, Floats
from tapewatch.settings import WIDTHS, from_json

#: How many of the members are added.
_LARGEST = 3
#: Weights unless the settings say otherwise, by evidence (docs/ensemble.md): one member has weighed many
#: statistics already, in log odds, to which the others add nothing; without it they are equals.
_FAVOURED, _FAVOUR, _BESIDE, _EQUAL = TailCombination.name, 1.0, 0.0, 1.0
#: Rarity beyond once a day counts up to as many decades.
_MOST_DECADES = 12.0
_SESSION = 390 * MINUTE
#: Before the names of members whose severities are among the details.
_SEVERITY = "severity "


class Ensemble(BarDetector):
    """Windows that several detectors find rare, though perhaps none of them rare enough.

    Its members are the detectors that read bars of its width.
    """

    name: ClassVar[str] = "ensemble"
    reads: ClassVar[Literal["bars", "records", "severities"]] = "severities"
    scale: ClassVar[Scale] = Scale(
        lowest=-4,
        octaves=10,
        shape=0.0,
        spread=0.25,
        prior_peaks=20,
        warm_up=45,
        usual_threshold=6.5,
        prior_observations=300,
    )
    # What it sees is rarest of five or so, none of them calibrated to the last alarm.
    share: ClassVar[float] = 0.45

    weights: Annotated[dict[str, Annotated[float, Field(ge=0)]], BeforeValidator(from_json)] = Field(
        default_factory=dict
    )

    def weight(self, name: str, others: Collection[str]) -> float:
        """Return the weight of a member among these."""
        alone = _FAVOURED not in others or self.weights.get(_FAVOURED) == 0
        usual = _EQUAL if alone else _FAVOUR if name == _FAVOURED else _BESIDE
        return self.weights.get(name, usual)

    def members(self, others: tuple[Detector, ...]) -> tuple[str, ...]:
        """Return the names of the detectors whose severities it adds."""
        return tuple(
            other.id
            for other in others
            if other.reads == "bars" and other.bar_width == self.width and self.weights.get(other.id, 1.0) > 0
        )

    def among(self, others: tuple[Detector, ...]) -> Ensemble:
        """Return what it is beside these: led by one that scores in log odds, or one of equals."""
        led = _FAVOURED in self.members(others)
        return LedEnsemble.model_validate(self.model_dump()) if led else self

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic; it needs no state beside the calibration's."""
        return _EnsembleLogic(self)


class LedEnsemble(Ensemble):
    """The ensemble where one member leads: while the others see nothing rare, it says what that one says."""

    scale: ClassVar[Scale] = TailCombination.scale
    share: ClassVar[float] = 1.0


class _EnsembleLogic:
    def __init__(self, settings: Ensemble) -> None:
        self._settings = settings
        self._decades_a_day = float(np.log10(max(_SESSION / WIDTHS[settings.width], 2.0)))

    def snapshot(self) -> dict[str, Any]:
        return {}

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        told = segments.severities or {}
        weights = {name: self._settings.weight(name, told) for name in told}
        severities = {name: severity for name, severity in told.items() if weights[name] > 0}
        shares = {name: weights[name] * worth for name, worth in self._worth(severities, segments.scores)}
        count = len(segments.items)
        ranked = np.sort(np.stack([np.zeros(count), *shares.values()]), axis=0)[::-1]
        score = np.zeros(count)
        for largest in ranked[:_LARGEST]:
            score += largest
        silent = [np.isnan(severity) for severity in severities.values()]
        if _FAVOURED in severities:
            # Without the member that weighs most the sum is on another scale, which nothing is to learn.
            silent = [np.isnan((segments.scores or severities)[_FAVOURED])]
        if silent:
            score[np.logical_and.reduce(silent)] = np.nan
        details = {_SEVERITY + name: severity for name, severity in told.items()}
        return Scores(score, None, details | shares)

    def _worth(
        self, severities: Mapping[str, Floats], scores: Mapping[str, Floats] | None
    ) -> Iterator[tuple[str, Floats]]:
        """Yield what each member has to say, none below 0."""
        led = scores is not None and _FAVOURED in severities and _FAVOURED in scores
        for name, severity in severities.items():
            if not led:
                yield name, self._decades(severity)
            elif name == _FAVOURED and scores is not None:
                yield name, np.nan_to_num(scores[name])
            else:
                yield name, np.maximum(self._decades(severity) - self._decades_a_day, 0.0)

    def _decades(self, severity: Floats) -> Floats:
        """Return how rare a severity is, in powers of ten of windows; 0 for none."""
        known = np.nan_to_num(severity)
        below = known / 50.0 * self._decades_a_day
        beyond = -2.0 * np.log2(np.maximum(100.0 - np.maximum(known, 50.0), 1e-9) / 50.0)
        decades: Floats = np.where(
            known < 50.0, below, self._decades_a_day + np.minimum(beyond, _MOST_DECADES)
        )
        return decades

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        members = [name for name in scores.details if not name.startswith(_SEVERITY)]
        shares = {name: float(scores.details[name][index]) for name in members}
        # Of equal shares the first by name counts.
        ranked = sorted((name for name in members if shares[name] > 0), key=lambda n: (-shares[n], n))
        largest = ranked[:_LARGEST]
        total = sum(shares[name] for name in largest)
        said = [
            f"{name} at severity {float(scores.details[_SEVERITY + name][index]):.0f}" for name in largest
        ]
        together = f"several detectors together: {', '.join(said[:-1])} and " if len(said) > 1 else ""
        agreeing = self._agreeing(scores, index, largest)
        also = f"; so it is to {', '.join(agreeing)}" if agreeing else ""
        return Explanation(
            observed=total,
            expected=threshold,
            contributions={name: shares[name] / total for name in largest},
            reason=f"{key} is out of the ordinary to {together}{said[-1]}{also}",
        )

    def _agreeing(self, scores: Scores, index: int, named: Collection[str]) -> list[str]:
        """Return who else sees what is rarer than once a day."""
        told = {n.removeprefix(_SEVERITY): v[index] for n, v in scores.details.items() if _SEVERITY in n}
        return sorted(name for name, severity in told.items() if severity > 50 and name not in named)
