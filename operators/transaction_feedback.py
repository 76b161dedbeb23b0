"""What reviews teach: an online classifier with delayed labels, the risk of merchants, personal thresholds.

A label comes days after its transaction. Until then the features that it had **when it was judged** wait
in a ring of the last transactions; the label is learned with them. Transactions that nobody has reviewed are
taken for legitimate after some days, a quarter of them for all. The classifier is River's logistic regression
with AdaGrad, over steps of the features, so that its answer need not be a straight line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np

from operators.merchant_risk import MerchantRisk
from operators.transaction_lessons import INPUTS, Lessons, name_hash
from tapewatch import stopping
from tapewatch.records import Array, Int64s
from tapewatch.transactions import Review, Transactions

#: Of transactions taken for legitimate one in so many is learned, and counts for all of them.
_ONE_IN = 4
_CLIP = 4.0
#: How many confirmed frauds of a user are remembered, and how many users.
_FRAUDS, _USERS = 8, 100_000


@dataclass(frozen=True, slots=True)
class FeedbackSettings:
    """How reviews are used.

    Attributes
    ----------
    remember
        Transactions whose features are kept until their label comes.
    assume_ns
        After how long a transaction without a review is taken for legitimate.
    learning_rate
        Of AdaGrad.
    """

    remember: int
    assume_ns: int
    learning_rate: float


class Feedback(Lessons):
    """Everything reviews have taught.

    Parameters
    ----------
    settings
        How they are used.
    detectors
        Names of those whose precision is counted.
    resume
        A `snapshot` to go on from.
    """

    def __init__(
        self, settings: FeedbackSettings, detectors: Sequence[str], resume: dict[str, Any] | None = None
    ) -> None:
        self._settings, self._detectors = settings, tuple(detectors)
        super().__init__()
        size = settings.remember
        self._ids, self._times = np.zeros(size, np.uint64), np.zeros(size, np.int64)
        self._inputs = np.zeros((size, INPUTS), np.float32)
        self._merchant, self._users = np.full(size, -1, np.int32), np.zeros(size, np.uint64)
        self._alarmed, self._labels = np.zeros(size, np.uint32), np.full(size, -1, np.int8)
        self._seen, self._settled = 0, 0
        self._model = _model(settings.learning_rate)
        self.counters: dict[str, int] = {}
        #: By anomaly, the transaction it is about.
        self._anomalies: dict[int, int] = {}
        if resume is not None:
            self._risk = MerchantRisk(resume["risk"])
            self._restore(resume)
        self._places = {int(name): place for place, name in enumerate(self._ids.tolist()) if name}

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        kept = slice(min(self._seen, self._settings.remember))
        optimizer = self._model.optimizer
        return {
            "ring": tuple(
                column[kept].copy()
                for column in (self._ids, self._times, self._inputs, self._merchant, self._users,
                               self._alarmed, self._labels)
            ),
            "seen": self._seen, "settled": self._settled, "labels": self.labels,
            "river": version("river"), "weights": tuple(self._model.weights.items()),
            "squares": tuple(optimizer.g2.items()), "steps": optimizer.n_iterations,
            "counters": dict(self.counters), "frauds": dict(self._frauds), "lenience": dict(self._lenience),
            "anomalies": dict(self._anomalies), "detectors": self._detectors,
            "risk": self._risk.snapshot(),
        }  # fmt: skip

    def _renumbered(self, before: Sequence[str]) -> Array:
        """Return who raised an alarm, of the detectors there are now; those before had other bits."""
        found = np.zeros_like(self._alarmed)
        for bit, name in enumerate(before):
            if name in self._detectors:
                raised = self._alarmed >> np.uint32(bit) & np.uint32(1)
                found |= raised << np.uint32(self._detectors.index(name))
        return found

    def _restore(self, saved: dict[str, Any]) -> None:
        from river.utils import VectorDict

        if saved["river"] != version("river"):
            stopping.abort(
                f"the recovery store holds a model of River {saved['river']}, this is {version('river')}; "
                "use that version, or begin with a new recovery store",
                2,
            )
        if len(saved["ring"][0]) > self._settings.remember or (
            saved["seen"] > len(saved["ring"][0]) != self._settings.remember
        ):
            stopping.abort("`transactions.feedback.remember` is not that of the recovery store", 2)
        columns: tuple[Array, ...] = (
            self._ids,
            self._times,
            self._inputs,
            self._merchant,
            self._users,
            self._alarmed,
            self._labels,
        )
        for column, kept in zip(columns, saved["ring"], strict=True):
            column[: len(kept)] = kept
        self._alarmed = self._renumbered(saved.get("detectors", self._detectors))
        self._seen, self._settled, self.labels = saved["seen"], saved["settled"], saved["labels"]
        self._model._weights = VectorDict(dict(saved["weights"]))
        self._model.optimizer.g2.update(dict(saved["squares"]))
        self._model.optimizer.n_iterations = saved["steps"]
        self.counters = dict(saved["counters"])
        self._frauds, self._lenience = dict(saved["frauds"]), dict(saved["lenience"])
        self._anomalies = dict(saved["anomalies"])
        self._renew()

    def remember(self, batch: Transactions, inputs: Array, alarmed: Array) -> None:
        """Keep judged transactions for their labels; ``alarmed`` has a bit for each detector, uint32."""
        rows = self._risk.rows(batch.word("merchant_id"), new=True)
        size = self._settings.remember
        for index, (name, user) in enumerate(zip(batch.ids, batch.users, strict=True)):
            place = self._seen % size
            if self._seen >= size:
                self._places.pop(int(self._ids[place]), None)
                self._settled = max(self._settled, self._seen - size + 1)
            number = name_hash(name)
            self._ids[place], self._users[place] = number, name_hash(user)
            self._times[place], self._merchant[place] = batch.times[index], rows[index]
            self._inputs[place], self._alarmed[place] = inputs[index], alarmed[index]
            self._labels[place] = -1
            self._places[number] = place
            self._seen += 1

    def told(self, anomaly: str, transaction: str) -> None:
        """Remember which transaction an anomaly is about: people review what they see."""
        self._anomalies[name_hash(anomaly)] = name_hash(transaction)
        _bound(self._anomalies)

    def learn(self, review: Review) -> None:
        """Learn one label."""
        number: int | None = name_hash(review.transaction_id)
        if not review.transaction_id:
            number = self._anomalies.get(name_hash(review.anomaly_id))
        place = None if number is None else self._places.get(number)
        if place is None:
            self._add("reviews_unknown")
            return
        self._add("reviews")
        self.labels += 1
        before = int(self._labels[place])
        if before == review.label:
            return
        self._labels[place] = review.label
        self._learn(place, review.label, 1.0)
        self._risk.learn(int(self._merchant[place]), int(self._times[place]), review.label, again=before >= 0)
        self._judge_judges(place, review.label)
        self._renew()

    def _judge_judges(self, place: int, label: int) -> None:
        """Count the review for the detectors that alarmed, and move the user's threshold."""
        user, alarmed = int(self._users[place]), int(self._alarmed[place])
        month = str(self._times[place : place + 1].view("datetime64[ns]").astype("datetime64[M]")[0])
        word = "confirmed" if label else "refuted"
        for bit, name in enumerate(self._detectors):
            if alarmed >> bit & 1:
                self._add(f"{word}.{name}")
                self._add(f"{word}.{name}.{month}")
        if label:
            known = (*self._frauds.pop(user, ()), int(self._times[place]))
            self._frauds[user] = known[-_FRAUDS:]
            _bound(self._frauds)
        if label or alarmed:
            self._lenience[user] = self._lenience.pop(user, 0) + (-1 if label else 1)
            _bound(self._lenience)

    def settle(self, now: int) -> None:
        """Take for legitimate what has waited for a review long enough; without any review nothing is."""
        if not self.labels:
            return
        size, until, learned = self._settings.remember, now - self._settings.assume_ns, False
        while self._settled < self._seen and self._times[self._settled % size] <= until:
            place = self._settled % size
            self._settled += 1
            if self._labels[place] >= 0:
                continue
            self._labels[place] = 0
            self._risk.learn(int(self._merchant[place]), int(self._times[place]), 0, again=False)
            if int(self._ids[place]) >> 1 & (_ONE_IN - 1) == 0:
                self._learn(place, 0, float(_ONE_IN))
                learned = True
        if learned:
            self._renew()

    def _learn(self, place: int, label: int, weight: float) -> None:
        inputs = self._inputs[place]
        shown = {int(i): float(inputs[i]) for i in np.flatnonzero(inputs).tolist()}
        self._model.learn_one(shown, bool(label), weight)

    def _renew(self) -> None:
        for column, weight in self._model.weights.items():
            self._weights[column] = weight

    def _add(self, name: str) -> None:
        self.counters[name] = self.counters.get(name, 0) + 1

    def __len__(self) -> int:
        return min(self._seen, self._settings.remember)


def _bound(known: dict[int, Any]) -> None:
    """Forget who has been reviewed longest ago."""
    if len(known) > _USERS:
        del known[next(iter(known))]


def _model(rate: float) -> Any:  # noqa: ANN401 - River has no types
    # Imported where it is needed: it takes a second.
    from river.linear_model import LogisticRegression
    from river.optim import AdaGrad

    return LogisticRegression(AdaGrad(rate), intercept_lr=0.0, clip_gradient=_CLIP)


def times_of(reviews: Sequence[Review], step_ns: int) -> Int64s:
    """Return from when on each review acts: ``reviewed_at``, rounded up to whole steps."""
    times = np.array([review.reviewed_at for review in reviews], np.int64)
    return -(-times // step_ns) * step_ns
