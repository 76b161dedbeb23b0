"""The one judging step of a stream of transactions: detectors, calibration, ensemble and feedback.

Batches come in the order of the source, and what the users' profiles make of their rows in any order: a
batch is judged once all of its rows are there, whichever workers they were with. Everything learned here is
renewed after certain numbers of rows, at midnight and where a review begins to act, so the cut into batches
changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from operators.detector import Explanation
from operators.population import Population
from operators.profiles import Measured
from operators.transaction_alarms import Explainer, calibration
from operators.transaction_detectors import (
    Classifier,
    ScoringDetector,
    TransactionDetector,
    TransactionEnsemble,
)
from operators.transaction_features import FEATURES, Features, TransactionFeatures
from operators.transaction_feedback import Feedback, FeedbackSettings, times_of
from tapewatch.documents import Anomaly, Payment, Results, ScoreTable, anomaly_id
from tapewatch.records import DAY, Array, Floats, Int64s
from tapewatch.risk import risk_level
from tapewatch.transactions import Review, Transactions

STATE_VERSION = 1
_FLOW = "transactions"
_SPREADS = 0.05


class Part(NamedTuple):
    """What a profile makes of rows of a batch; ``profile`` is to be published, ``seq`` -1 at the end."""

    seq: int
    indices: tuple[int, ...]
    measured: tuple[Measured, ...]
    profile: tuple[Any, ...] | None


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
    """

    detectors: tuple[TransactionDetector, ...]
    budget: float
    personal: bool
    keep_scores: bool
    source: str
    feedback: FeedbackSettings | None = None
    feedback_step_ns: int = 60_000_000_000


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


@dataclass(slots=True)
class _Waiting:
    batch: Transactions
    measured: Floats
    left: int
    profiles: list[tuple[Any, ...]]


class TransactionJudge:
    """Judges one source partition.

    Parameters
    ----------
    settings
        What to judge with.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, settings: TransactionJudgeSettings, resume: dict[str, Any] | None = None) -> None:
        self._settings = settings
        saved = resume or {"logics": {}, "calibrations": {}}
        names = [detector.name for detector in settings.detectors]
        self._features = TransactionFeatures(personal=settings.personal, resume=saved.get("features"))
        self._logics = {
            d.name: d.build(saved["logics"].get(d.name))
            for d in settings.detectors
            if isinstance(d, ScoringDetector)
        }
        self._ensemble = next((d for d in settings.detectors if isinstance(d, TransactionEnsemble)), None)
        self._feedback = None
        if settings.feedback is not None and any(isinstance(d, Classifier) for d in settings.detectors):
            self._feedback = Feedback(settings.feedback, names, saved.get("feedback"))
        self._members = [name for name in names if name != "ensemble"]
        self._spread = Population(np.full(len(self._members), 1e-6), saved.get("spread"))
        self._calibrations = {
            d.name: calibration(d.scale, settings.budget, saved["calibrations"].get(d.name))
            for d in settings.detectors
        }
        self._reviews: list[Review] = list(saved.get("reviews", ()))
        self._clock: int = saved.get("clock", 0)
        self._waiting: dict[int, _Waiting] = dict(saved.get("waiting", {}))
        self._explainer = Explainer()
        self._kept: dict[str, Floats] | None = None

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "version": STATE_VERSION,
            "logics": {name: logic.snapshot() for name, logic in self._logics.items()},
            "calibrations": {name: known.snapshot() for name, known in self._calibrations.items()},
            "features": self._features.snapshot(),
            "spread": self._spread.snapshot(),
            "feedback": None if self._feedback is None else self._feedback.snapshot(),
            "reviews": tuple(self._reviews),
            "clock": self._clock,
            "waiting": dict(self._waiting),
        }

    def on_batch(self, batch: Transactions) -> list[Results]:
        """Take a batch; return the results of those that are complete now."""
        measured = np.full((len(batch), len(Measured._fields)), np.nan)
        left = len(batch)
        if not self._settings.personal:
            measured[:, 0] = batch.number("time_since_last_transaction_minutes")
            measured[:, 1] = batch.number("transaction_count_1h")
            measured[:, 2] = batch.number("total_amount_24h")
            left = 0
        known = self._waiting.get(batch.seq)
        waiting = _Waiting(batch, measured, left, [])
        self._waiting[batch.seq] = waiting
        if known is not None:  # its rows were faster
            for part in known.profiles:
                self._fill(waiting, part[0])
        return self._ready()

    def on_part(self, part: Part) -> list[Results]:
        """Take what a profile says of rows; return the results of batches that are complete now."""
        waiting = self._waiting.get(part.seq)
        if waiting is None:
            nothing = Transactions("", part.seq, [], [], np.empty(0, np.int64), np.empty(0), {}, {})
            waiting = self._waiting[part.seq] = _Waiting(nothing, np.empty((0, 0)), -1, [])
        if waiting.left < 0:
            waiting.profiles.append((part,))
            return []
        self._fill(waiting, part)
        return self._ready()

    def _fill(self, waiting: _Waiting, part: Part) -> None:
        for index, measured in zip(part.indices, part.measured, strict=True):
            waiting.measured[index] = measured
        waiting.left -= len(part.indices)
        if part.profile is not None:
            waiting.profiles.append(part.profile)

    def last_profiles(self, profiles: list[tuple[Any, ...]]) -> Results:
        """Return results that only publish profiles."""
        return Results("", 0, "", _FLOW, profiles=profiles)

    def scores(self, batch: Transactions, measured: Floats) -> dict[str, Floats]:
        """Judge a batch of which all is known, and return each detector's score of every row.

        For evaluation: these are the scores that `on_batch` and `on_part` make alarms of.
        """
        self._kept = {detector.name: np.full(len(batch), np.nan) for detector in self._settings.detectors}
        self._judge(_Waiting(batch, measured, 0, []))
        found, self._kept = self._kept, None
        return found

    def _ready(self) -> list[Results]:
        found = []
        while self._waiting:
            first = min(self._waiting)
            if self._waiting[first].left:
                break
            found.append(self._judge(self._waiting.pop(first)))
        return found

    def _judge(self, waiting: _Waiting) -> Results:
        batch = waiting.batch
        clocks = batch.clocks()
        results = Results(
            batch.partition, 0, "", _FLOW, seq=batch.seq, credit=batch.credit,
            counters=dict(batch.counters), profiles=sorted(waiting.profiles, key=lambda row: row[0]),
            clock=int(clocks[-1]) if len(clocks) else self._clock,
        )  # fmt: skip
        self._reviews += batch.reviews
        acts = times_of(self._reviews, self._settings.feedback_step_ns)
        at = 0
        while at < len(batch):
            at = self._part(batch, waiting.measured, clocks, acts, at, results)
            if len(acts) != len(self._reviews):
                acts = times_of(self._reviews, self._settings.feedback_step_ns)
        if self._feedback is not None:
            results.counters.update(self._feedback.counters)
        return results

    def _part(
        self, batch: Transactions, measured: Floats, clocks: Int64s, acts: Int64s, at: int, results: Results
    ) -> int:
        """Judge rows from ``at`` on up to where something is renewed; return where to go on."""
        clock = int(clocks[at])
        if self._feedback is not None:
            due = int(np.searchsorted(acts, clock, "right"))
            for review in self._reviews[:due]:
                self._feedback.learn(review)
            del self._reviews[:due]
            acts = acts[due:]
            if clock // DAY > self._clock // DAY:
                self._feedback.settle(clock // DAY * DAY)
        until = min(at + self._features.room, len(batch))
        ends = [(clock // DAY + 1) * DAY]
        if len(acts):
            ends.append(int(acts[0]))
        until = min(until, at + int(np.searchsorted(clocks[at:], min(ends), "left")))
        self._clock = clock
        rows = np.arange(at, until)
        part = batch if len(rows) == len(batch) else batch.part(rows)
        scored = self.score(part, np.ascontiguousarray(measured[at:until]))
        if self._kept is None:
            self._tell(part, measured[at:until], scored, results)
        else:
            for name, score in scored.score.items():
                self._kept[name][at:until] = score
        return until

    def score(self, batch: Transactions, measured: Floats) -> Scored:
        """Score rows and learn from them; at most as many as until something is renewed."""
        features = self._features.measure(batch, measured)
        scores = {name: logic.score(features.values) for name, logic in self._logics.items()}
        inputs = None
        if self._feedback is not None:
            inputs = self._feedback.inputs(batch, features.values)
            scores["classifier"] = self._feedback.score(inputs)
            lenience = self._feedback.lenience(batch.users)
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
            if self._feedback is not None and self._feedback.labels:
                weights.setdefault("classifier", self._ensemble.reviewed)
            total = np.zeros(len(batch))
            for place, name in enumerate(self._members):
                if weights.get(name) and name in scores:
                    members[name] = weights[name] * units[:, place]
                    total += members[name]
            if self._feedback is not None:
                total = total * lenience
            if not self._spread.ready or not members:
                total[:] = np.nan
            scores["ensemble"] = np.exp2(total / max(sum(weights.values()), 1e-9) / 2.0)
        severity, threshold, alarm = {}, {}, {}
        every = self._settings.keep_scores
        row, starts = np.zeros(1, np.int64), np.array([0, len(batch)])
        for name, score in scores.items():
            verdict = self._calibrations[name].judge(row, starts, score, batch.times, every=every)
            severity[name], threshold[name], alarm[name] = verdict.severity, verdict.threshold, verdict.alarm
        self._features.learn(features)
        self._spread.learn(columns)
        if self._feedback is not None and inputs is not None:
            bits = np.zeros(len(batch), np.uint32)
            for bit, detector in enumerate(self._settings.detectors):
                if detector.name in alarm:
                    bits |= alarm[detector.name].astype(np.uint32) << np.uint32(bit)
            self._feedback.remember(batch, inputs, bits)
        return Scored(features, scores, severity, threshold, alarm, members, inputs)

    def _tell(self, batch: Transactions, measured: Floats, scored: Scored, results: Results) -> None:
        for detector in self._settings.detectors:
            name = detector.name
            if name not in scored.score:
                continue
            for index in np.flatnonzero(scored.alarm[name]).tolist():
                results.anomalies.append(self._anomaly(name, batch, measured, scored, index))
            if self._settings.keep_scores:
                known = np.flatnonzero(np.isfinite(scored.score[name]) & np.isfinite(scored.threshold[name]))
                results.scores.append(
                    ScoreTable(
                        name, [batch.users[i] for i in known.tolist()], np.zeros(len(known), np.int64),
                        batch.times[known], batch.times[known] + 1, scored.score[name][known],
                        scored.threshold[name][known], scored.severity[name][known],
                    )
                )  # fmt: skip

    def _anomaly(
        self, name: str, batch: Transactions, measured: Floats, scored: Scored, index: int
    ) -> Anomaly:
        user, transaction, ts = batch.users[index], batch.ids[index], int(batch.times[index])
        severity = float(scored.severity[name][index])
        severity = 0.0 if np.isnan(severity) else round(severity, 3)
        told = self._explained(name, batch, measured, scored, index)
        source = self._settings.source
        payment = Payment(
            transaction, user, float(batch.amounts[index]), batch.word("merchant_category")[index],
            batch.word("location")[index], batch.word("payment_method")[index], risk_level(severity),
        )  # fmt: skip
        return Anomaly(
            id=anomaly_id(_FLOW, source, name, user, 0, ts, ts, transaction),
            incident=anomaly_id(_FLOW, source, "", user, 0, ts, transaction),
            revision=1, flow=_FLOW, detector=name, dataset="", publisher_id=0, instrument_id=0, key=user,
            symbol=user, ts_event=ts, ts_start=ts, ts_end=ts + 1, severity=severity,
            score=float(scored.score[name][index]), threshold=float(scored.threshold[name][index]),
            observed=told.observed, expected=told.expected, reason=told.reason,
            contributions=told.contributions, payment=payment,
        )  # fmt: skip

    def _explained(
        self, name: str, batch: Transactions, measured: Floats, scored: Scored, index: int
    ) -> Explanation:
        point = scored.features.values[index]
        if name == "classifier" and self._feedback is not None and scored.inputs is not None:
            shares = self._feedback.shares(scored.inputs[index])
        elif name == "ensemble":
            strongest = max(scored.members, key=lambda member: (float(scored.members[member][index]), member))
            told = self._explained(strongest, batch, measured, scored, index)
            carried = {member: max(float(part[index]), 0.0) for member, part in scored.members.items()}
            return self._explainer.together(told, carried)
        else:
            shares = dict(zip(FEATURES, self._logics[name].shares(point, index).tolist(), strict=True))
        return self._explainer.explain(name, batch, index, scored.features, measured[index], shares)
