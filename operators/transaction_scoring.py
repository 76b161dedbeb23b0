"""The scores of transactions: detectors, the ensemble, calibration and feedback, without order or batches.

`operators.transaction_judge` runs it over a stream, where every row is learned once it is judged. A
prediction (`TransactionForecast`) runs the same code on what the stream has published, and learns nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.calibrate import Verdicts
from operators.detector import Explanation
from operators.measured import Measured
from operators.population import Population
from operators.transaction_alarms import Explainer, calibration
from operators.transaction_detectors import (
    Classifier,
    ScoringDetector,
    TransactionDetector,
    TransactionEnsemble,
)
from operators.transaction_features import FEATURES, POPULATION, Features, TransactionFeatures
from operators.transaction_feedback import Feedback, FeedbackSettings
from operators.transaction_lessons import Lessons
from tapewatch.log import log
from tapewatch.records import DAY, Array, Floats
from tapewatch.transactions import Transactions


@dataclass(frozen=True, slots=True)
class TransactionJudgeSettings:
    """What the judging step needs of the settings.

    Attributes
    ----------
    budget
        Alarms of each detector a day.
    personal
        Whether the users' profiles are asked.
    feedback
        How reviews are used, None if there are none.
    feedback_step_ns
        A review acts from the next full step of event time on.
    idle_ns
        A user who was away for longer begins anew.
    """

    detectors: tuple[TransactionDetector, ...]
    budget: float
    personal: bool
    keep_scores: bool
    source: str
    feedback: FeedbackSettings | None = None
    feedback_step_ns: int = 60_000_000_000
    idle_ns: int = 180 * DAY


@dataclass(frozen=True, slots=True)
class Measures:
    """What is made of some rows before they are compared with what is usual: scores by detector."""

    features: Features
    score: dict[str, Floats]
    columns: Floats
    members: dict[str, Floats]
    inputs: Array | None


@dataclass(frozen=True, slots=True)
class Scored:
    """Scores, severities and alarms by detector, of some rows."""

    features: Features
    score: dict[str, Floats]
    severity: dict[str, Floats]
    threshold: dict[str, Floats]
    alarm: dict[str, Array]
    members: dict[str, Floats]
    inputs: Array | None


def _scored(found: Measures, told: Mapping[str, Verdicts]) -> Scored:
    return Scored(
        found.features, found.score,
        {name: verdict.severity for name, verdict in told.items()},
        {name: verdict.threshold for name, verdict in told.items()},
        {name: verdict.alarm for name, verdict in told.items()},
        found.members, found.inputs,
    )  # fmt: skip


def measured_without_profiles(batch: Transactions) -> Floats:
    """Return what `Measured` is in standard mode: what the transactions themselves say, ``(n, fields)``."""
    measured = np.full((len(batch), len(Measured._fields)), np.nan)
    measured[:, 0] = batch.number("time_since_last_transaction_minutes")
    measured[:, 1] = batch.number("transaction_count_1h")
    measured[:, 2] = batch.number("total_amount_24h")
    return measured


class TransactionScores:
    """Scores rows by what is known, and explains them; the part that stream and prediction share.

    Parameters
    ----------
    settings
        What to judge with.
    lessons
        What reviews have taught, None if there are none.
    saved
        A snapshot to go on from.
    """

    def __init__(
        self, settings: TransactionJudgeSettings, lessons: Lessons | None, saved: dict[str, Any]
    ) -> None:
        self._settings, self._lessons = settings, lessons
        names = [detector.name for detector in settings.detectors]
        self._features = TransactionFeatures(personal=settings.personal, resume=saved.get("features"))
        self._logics = {
            d.name: d.build(saved["logics"].get(d.name))
            for d in settings.detectors
            if isinstance(d, ScoringDetector)
        }
        self._ensemble = next((d for d in settings.detectors if isinstance(d, TransactionEnsemble)), None)
        self._members = [name for name in names if name != "ensemble"]
        self._spread = Population(np.full(len(self._members), 1e-6), saved.get("spread"))
        self._calibrations = {
            d.name: calibration(d.scale, settings.budget, saved["calibrations"].get(d.name))
            for d in settings.detectors
        }
        self._explainer = Explainer()

    def measure(self, batch: Transactions, measured: Floats, *, learn: bool) -> Measures:
        """Return the scores of rows; only detectors that learn online take note of them, if ``learn``."""
        features = self._features.measure(batch, measured)
        scores = {name: logic.score(features.values, learn=learn) for name, logic in self._logics.items()}
        inputs, lessons = None, self._lessons
        if lessons is not None:
            inputs = lessons.inputs(batch, features.values)
            scores["classifier"] = lessons.score(inputs)
            lenience = lessons.lenience(batch.users)
            if "rules" in scores:
                scores["rules"] = scores["rules"] * lenience
        if not self._features.ready:
            scores = {name: np.full(len(batch), np.nan) for name in scores}
        columns = np.full((len(batch), len(self._members)), np.nan)
        for place, name in enumerate(self._members):
            if name in scores:
                columns[:, place] = np.log(scores[name]) if name == "classifier" else scores[name]
        units = self._spread.units(columns)
        members = {}
        if self._ensemble is not None:
            weights = dict(self._ensemble.weights)
            if self._settings.personal:
                weights.setdefault("rules", self._ensemble.personal)
            if lessons is not None and lessons.labels:
                weights.setdefault("classifier", self._ensemble.reviewed)
            total = np.zeros(len(batch))
            for place, name in enumerate(self._members):
                if weights.get(name) and name in scores:
                    members[name] = weights[name] * units[:, place]
                    total += members[name]
            if lessons is not None:
                total = total * lenience
            if not self._spread.ready or not members:
                total[:] = np.nan
            scores["ensemble"] = np.exp2(total / max(sum(weights.values()), 1e-9) / 2.0)
        return Measures(features, scores, columns, members, inputs)

    def explained(
        self, name: str, batch: Transactions, measured: Floats, scored: Scored, index: int
    ) -> Explanation:
        """Return why a detector's score of one of the rows that were scored last is what it is."""
        point = scored.features.values[index]
        if name == "classifier" and self._lessons is not None and scored.inputs is not None:
            shares = self._lessons.shares(scored.inputs[index])
        elif name == "ensemble":
            strongest = max(scored.members, key=lambda member: (float(scored.members[member][index]), member))
            told = self.explained(strongest, batch, measured, scored, index)
            return self._explainer.together(told, _carried(scored, index))
        else:
            shares = dict(zip(FEATURES, self._logics[name].shares(point, index).tolist(), strict=True))
        return self._explainer.explain(name, batch, index, scored.features, measured[index], shares)


def _carried(scored: Scored, index: int) -> dict[str, float]:
    return {member: max(float(part[index]), 0.0) for member, part in scored.members.items()}


def _shapes(detectors: Sequence[TransactionDetector]) -> dict[str, dict[str, Any]]:
    """Return what the state of each detector that scores by itself is of."""
    return {d.name: d.model_dump(exclude={"enabled"}) for d in detectors if isinstance(d, ScoringDetector)}


def _fitting(saved: dict[str, Any], detectors: Sequence[TransactionDetector]) -> dict[str, Any]:
    """Return a state without that of detectors with other settings now, and without units of other scores."""
    shapes, members = _shapes(detectors), [d.name for d in detectors if d.name != "ensemble"]
    before = saved.get("shapes", shapes)
    others = {name for name, shape in shapes.items() if before.get(name, shape) != shape}
    for name in sorted(others):
        log.warning("%s has other settings than in the recovery store; it warms up anew", name)
    own: dict[str, Any] = {
        part: {name: state for name, state in saved[part].items() if name not in others}
        for part in ("logics", "calibrations")
    }
    if others or saved.get("members", members) != members:
        own["spread"] = None
    return {**saved, **own}


class TransactionScoring(TransactionScores):
    """Scores the rows of a stream in their order, and learns from each of them.

    Parameters
    ----------
    settings
        What to judge with.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, settings: TransactionJudgeSettings, resume: dict[str, Any] | None = None) -> None:
        saved = _fitting(resume, settings.detectors) if resume else {"logics": {}, "calibrations": {}}
        names = [detector.name for detector in settings.detectors]
        self.feedback = None
        if settings.feedback is not None and any(isinstance(d, Classifier) for d in settings.detectors):
            self.feedback = Feedback(settings.feedback, names, saved.get("feedback"))
        super().__init__(settings, self.feedback, saved)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "logics": {name: logic.snapshot() for name, logic in self._logics.items()},
            "calibrations": {name: known.snapshot() for name, known in self._calibrations.items()},
            "features": self._features.snapshot(),
            "spread": self._spread.snapshot(),
            "members": self._members,
            "shapes": _shapes(self._settings.detectors),
            "feedback": None if self.feedback is None else self.feedback.snapshot(),
        }

    @property
    def room(self) -> int:
        """How many rows may be scored at most before something is renewed."""
        return self._features.room

    @property
    def seen(self) -> int:
        """Rows that were scored."""
        return self._features.seen

    def score(self, batch: Transactions, measured: Floats) -> Scored:
        """Score rows and learn from them; at most `room`."""
        found = self.measure(batch, measured, learn=True)
        every = self._settings.keep_scores
        row, starts = np.zeros(1, np.int64), np.array([0, len(batch)])
        told = {
            name: self._calibrations[name].judge(row, starts, score, batch.times, every=every)
            for name, score in found.score.items()
        }
        self._features.learn(found.features)
        self._spread.learn(found.columns)
        if self.feedback is not None and found.inputs is not None:
            bits = np.zeros(len(batch), np.uint32)
            for bit, detector in enumerate(self._settings.detectors):
                if detector.name in told:
                    bits |= told[detector.name].alarm.astype(np.uint32) << np.uint32(bit)
            self.feedback.remember(batch, found.inputs, bits)
        return _scored(found, told)

    def published(self) -> dict[str, Any]:
        """Return what `TransactionForecast` is made of: much smaller than a snapshot, and of plain parts."""
        logics = {name: logic.snapshot() for name, logic in self._logics.items()}
        for saved in logics.values():
            if "now" in saved:  # what is yet to be learned of the window
                saved |= {"seen": 0, "now": saved["now"][:0]}
        return {
            "logics": logics,
            "calibrations": {name: known.published() for name, known in self._calibrations.items()},
            "features": self._features.published(),
            "spread": self._spread.published(),
            "lessons": None if self.feedback is None else self.feedback.published(),
        }


class TransactionForecast(TransactionScores):
    """Scores rows by what a stream has published, each as if it came next; nothing is learned.

    Parameters
    ----------
    settings
        What to judge with.
    published
        What `TransactionScoring.published` has told.
    """

    def __init__(self, settings: TransactionJudgeSettings, published: dict[str, Any]) -> None:
        lessons = None if published["lessons"] is None else Lessons(published["lessons"])
        super().__init__(settings, lessons, published)

    def score(self, batch: Transactions, measured: Floats) -> Scored:
        """Score rows, each for itself; any number of them, in any order."""
        found = self.measure(batch, measured, learn=False)
        return _scored(
            found,
            {
                name: self._calibrations[name].outlook(score, batch.times)
                for name, score in found.score.items()
            },
        )

    def unremarkable(
        self, name: str, batch: Transactions, measured: Floats, scored: Scored, index: int, *, own: bool
    ) -> tuple[str, dict[str, float]]:
        """Return a sentence on a row that is no anomaly, and how much each part carries of its score.

        ``own`` says whether there is a profile that the sentence may speak of.
        """
        features = scored.features
        told = features.values[index] if own else features.values[index, : len(POPULATION)]
        furthest = FEATURES[int(told.argmax())]
        reason = self._explainer.unremarkable(furthest, batch, index, features, measured[index])
        if name == "ensemble":
            return reason, self._explainer.shares(_carried(scored, index))
        return reason, dict(self.explained(name, batch, measured, scored, index).contributions)
