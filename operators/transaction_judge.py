"""The one judging step of a stream of transactions: detectors, calibration, ensemble and feedback.

Batches come in the order of the source, and what the users' profiles make of their rows in any order: a
batch is judged once all of its rows are there, whichever workers they were with. Everything learned here is
renewed after certain numbers of rows, at midnight and where a review begins to act, so the cut into batches
changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from operators.measured import Measured
from operators.transaction_feedback import times_of
from operators.transaction_published import published
from operators.transaction_scoring import (
    Scored,
    TransactionJudgeSettings,
    TransactionScoring,
    measured_without_profiles,
)
from tapewatch.documents import Anomaly, Payment, PublishedJudge, Results, ScoreTable, anomaly_id
from tapewatch.records import DAY, Floats, Int64s
from tapewatch.risk import risk_level
from tapewatch.transactions import Review, Transactions, in_order

STATE_VERSION = 1
_FLOW = "transactions"
#: After so many rows, a multiple of those after which features are renewed, a judge is published.
PUBLISHED_ROWS = 4_096


class Part(NamedTuple):
    """What a profile makes of rows of a batch; ``profile`` is to be published.

    At the end of a run ``seq`` is -1, and ``profile`` a user with the profile packed.
    """

    seq: int
    indices: tuple[int, ...]
    measured: tuple[Measured, ...]
    profile: tuple[Any, ...] | None


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
        saved = resume or {}
        self._scoring = TransactionScoring(settings, resume)
        self._reviews: list[Review] = list(saved.get("reviews", ()))
        #: At the last stretch of rows, and after it.
        self._clock: int = saved.get("clock", 0)
        self._until: int = saved.get("until", 0)
        self._partition: str = saved.get("partition", "")
        self._waiting: dict[int, _Waiting] = dict(saved.get("waiting", {}))
        self._kept: dict[str, Floats] | None = None

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "version": STATE_VERSION,
            **self._scoring.snapshot(),
            "reviews": tuple(self._reviews),
            "clock": self._clock,
            "until": self._until,
            "partition": self._partition,
            "waiting": dict(self._waiting),
        }

    def on_batch(self, batch: Transactions) -> list[Results]:
        """Take a batch; return the results of those that are complete now."""
        measured, left = np.full((len(batch), len(Measured._fields)), np.nan), len(batch)
        if not self._settings.personal:
            measured, left = measured_without_profiles(batch), 0
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

    def last_profiles(self, profiles: Sequence[tuple[Any, ...]]) -> Results:
        """Return results that only publish profiles."""
        return Results("", 0, "", _FLOW, profiles=profiles)

    def last(self) -> Results:
        """Return results that only publish what is known at the end of the stream, for now."""
        known = [self.published()] if self._scoring.seen else []
        return Results("", 0, "", _FLOW, judges=known)

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
        self._partition = batch.partition
        clocks = batch.clocks()
        results = Results(
            batch.partition, 0, "", _FLOW, seq=batch.seq, credit=batch.credit,
            counters=dict(batch.counters), profiles=sorted(waiting.profiles, key=lambda row: row[0]),
            clock=int(clocks[-1]) if len(clocks) else self._clock,
        )  # fmt: skip
        if batch.reviews:
            # Those of a store or a topic come when they come; they act in the order of their times.
            self._reviews = in_order([*self._reviews, *batch.reviews])
        acts = times_of(self._reviews, self._settings.feedback_step_ns)
        at = 0
        while at < len(batch):
            at = self._part(batch, waiting.measured, clocks, acts, at, results)
            if len(acts) != len(self._reviews):
                acts = times_of(self._reviews, self._settings.feedback_step_ns)
        if self._scoring.feedback is not None:
            results.counters.update(self._scoring.feedback.counters)
        return results

    def _part(
        self, batch: Transactions, measured: Floats, clocks: Int64s, acts: Int64s, at: int, results: Results
    ) -> int:
        """Judge rows from ``at`` on up to where something is renewed; return where to go on."""
        clock = int(clocks[at])
        feedback = self._scoring.feedback
        if feedback is not None:
            due = int(np.searchsorted(acts, clock, "right"))
            for review in self._reviews[:due]:
                feedback.learn(review)
            del self._reviews[:due]
            acts = acts[due:]
            if clock // DAY > self._clock // DAY:
                feedback.settle(clock // DAY * DAY)
        until = min(at + self._scoring.room, len(batch))
        ends = [(clock // DAY + 1) * DAY]
        if len(acts):
            ends.append(int(acts[0]))
        until = min(until, at + int(np.searchsorted(clocks[at:], min(ends), "left")))
        self._clock = clock
        rows = np.arange(at, until)
        part = batch if len(rows) == len(batch) else batch.part(rows)
        scored = self._scoring.score(part, np.ascontiguousarray(measured[at:until]))
        self._until = int(clocks[until - 1])
        if self._kept is None:
            self._tell(part, measured[at:until], scored, results)
        else:
            for name, score in scored.score.items():
                self._kept[name][at:until] = score
        if self._scoring.seen % PUBLISHED_ROWS == 0:
            results.judges.append(self.published())
        return until

    def published(self) -> PublishedJudge:
        """Return what predictions need of what is known now."""
        return published(self._settings, self._scoring, self._partition, self._until)

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
        told = self._scoring.explained(name, batch, measured, scored, index)
        source = self._settings.source
        payment = Payment(
            transaction, user, float(batch.amounts[index]), batch.word("merchant_category")[index],
            batch.word("location")[index], batch.word("payment_method")[index], risk_level(severity),
        )  # fmt: skip
        number = anomaly_id(_FLOW, source, name, user, 0, ts, ts, transaction)
        if self._scoring.feedback is not None:
            self._scoring.feedback.told(number, transaction)
        return Anomaly(
            id=number,
            incident=anomaly_id(_FLOW, source, "", user, 0, ts, transaction),
            revision=1, flow=_FLOW, detector=name, dataset="", publisher_id=0, instrument_id=0, key=user,
            symbol=user, ts_event=ts, ts_start=ts, ts_end=ts + 1, severity=severity,
            score=float(scored.score[name][index]), threshold=float(scored.threshold[name][index]),
            observed=told.observed, expected=told.expected, reason=told.reason,
            contributions=told.contributions, payment=payment,
        )  # fmt: skip
