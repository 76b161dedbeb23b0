"""From scores of transactions to alarms: the calibration of a whole stream, and sentences for people."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from operators.calibrate import Calibration, Verdicts
from operators.detector import Explanation
from operators.detector import amount as figure
from operators.measured import Measured
from operators.scale import Scale
from operators.severities import severities
from operators.transaction_features import CONTRADICTIONS, FEATURES, Features
from tapewatch.records import DAY, Array, Floats, Int64s
from tapewatch.transactions import Transactions

_USUAL = Measured._fields.index("usual_amount")
_TRAVEL = Measured._fields.index("own_travel")
_WORTH_TELLING = 0.15
_WORDS = {
    "own_place": "location", "own_merchant": "merchant_id", "own_merchant_category": "merchant_category",
    "own_method": "payment_method", "own_device": "device",
}  # fmt: skip
_LEARNED = {
    "merchant": "frauds were confirmed at this merchant",
    "user": "frauds of this user were confirmed lately",
}
#: However large the budget, what is commoner than once in so many transactions is no anomaly.
_COMMONEST = 100.0


class StreamCalibration(Calibration):
    """The calibration of one stream, whose severity of 50 is what it shows as often as the budget allows."""

    _next_day: StreamCalibration | None = None

    def severity(self, rows: Array, scores: Floats) -> Floats:
        """Return severities of 0 to 100 of one score per row, by the latest fits."""
        fits = self._rows[rows]
        fits["per_day"] = np.maximum(fits["per_day"] / self._budget, _COMMONEST)
        return severities(fits, scores)

    def published(self) -> dict[str, Any]:
        """Return a `snapshot` of plain arrays: the table of rows column by column."""
        saved = self.snapshot()
        rows = saved["rows"]
        columns = {name: np.ascontiguousarray(rows[name]) for name in rows.dtype.names}
        return saved | {"rows": columns}

    def outlook(self, scores: Floats, times: Int64s) -> Verdicts:
        """Judge scores, each as if it came next in the stream; nothing is learned.

        Parameters
        ----------
        scores
            Float64, shape ``(n,)``; NaN is not judged.
        times
            Int64 ns, shape ``(n,)``.
        """
        alarm = np.zeros(len(scores), bool)
        threshold, severity = np.full(len(scores), np.inf), np.full(len(scores), np.nan)
        known = np.flatnonzero(~np.isnan(scores))
        if self._used and len(known):
            later = times[known] // DAY > self._rows["day"][0]
            for places, begun in ((known[~later], False), (known[later], True)):
                if len(places):
                    told = self._repeated(len(places), begun)
                    verdicts = told.look(np.arange(len(places)), scores[places], times[places])
                    alarm[places], threshold[places] = verdicts.alarm, verdicts.threshold
                    severity[places] = verdicts.severity
        return Verdicts(alarm, threshold, severity)

    def _repeated(self, count: int, begun: bool) -> StreamCalibration:
        """Return copies of what is known side by side, so that each score meets its own; or of a new day."""
        source = self
        if begun:
            if self._next_day is None:
                self._next_day = self._copy(1)
                midnight = (self._rows["day"][:1] + 1) * DAY
                self._next_day._new_days(np.zeros(1, np.intp), midnight // DAY, midnight)
            source = self._next_day
        # One score may meet what is known itself: a look leaves it as it is.
        return source if count == 1 else source._copy(count)

    def blank(self, count: int) -> Array:
        """Return a table of rows, as `snapshot` has it, with nothing in it."""
        return np.zeros(count, self._rows.dtype)

    def _copy(self, count: int) -> StreamCalibration:
        saved = self.snapshot()
        repeated = {name: np.repeat(values[:1], count, axis=0) for name, values in saved.items()}
        return StreamCalibration(self._scale, self._budget, self._gap, repeated)


def calibration(scale: Scale, budget: float, resume: dict[str, Any] | None) -> StreamCalibration:
    """Return the calibration of a detector for a whole stream.

    Parameters
    ----------
    scale
        The detector's.
    budget
        Alarms a day.
    resume
        A snapshot to go on from.
    """
    if resume is not None and isinstance(resume["rows"], dict):  # as published
        columns, counts = resume["rows"], resume["counts"].astype(np.int32)
        rows = StreamCalibration(scale, budget, -1).blank(len(counts))
        for name in rows.dtype.names or ():
            rows[name] = columns[name]
        resume = resume | {"rows": rows, "counts": counts}
    return StreamCalibration(scale, budget, -1, resume)


class Explainer:
    """Says in words and numbers what carries a score."""

    def explain(
        self, detector: str, batch: Transactions, index: int, features: Features, measured: Floats,
        shares: dict[str, float],
    ) -> Explanation:  # fmt: skip
        """Return the explanation of one row, by how much each feature carries of its score."""
        ranked = sorted(shares, key=lambda name: (-shares[name], name))
        first, second = ranked[0], ranked[1]
        observed, expected, said = _said(first, batch, index, features, measured)
        reason = f"{batch.users[index]}: {said}"
        if shares[second] >= _WORTH_TELLING:
            reason += f"; also {_said(second, batch, index, features, measured)[2]}"
        carried = {name: share for name, share in shares.items() if share > 0}
        return Explanation(observed, expected, carried, f"{reason} ({detector.replace('_', ' ')})")

    def together(self, strongest: Explanation, carried: dict[str, float]) -> Explanation:
        """Return the explanation of the ensemble: the strongest member's words, the members' shares."""
        return replace(strongest, contributions=self.shares(carried))

    def shares(self, carried: dict[str, float]) -> dict[str, float]:
        """Return what each member carries of the ensemble's score, in all 1."""
        total = 0.0
        for part in carried.values():
            total += part
        shares = {name: part / total for name, part in carried.items() if part > 0} if total else {}
        return shares or dict.fromkeys(carried, 1.0 / max(len(carried), 1))

    def unremarkable(
        self, feature: str, batch: Transactions, index: int, features: Features, measured: Floats
    ) -> str:
        """Return a sentence on a row that is no anomaly, with the feature that is furthest from usual."""
        reason = f"{batch.users[index]}: nothing out of the ordinary"
        if features.values[index, FEATURES.index(feature)] < 1:
            return reason
        return f"{reason}; furthest from usual: {_said(feature, batch, index, features, measured)[2]}"


def _said(
    feature: str, batch: Transactions, index: int, features: Features, measured: Floats
) -> tuple[float, float, str]:
    """Return what was seen, what is usual, and both in words."""
    amount, usual = float(batch.amounts[index]), float(measured[_USUAL])
    category = batch.word("merchant_category")[index]
    unit = float(features.values[index, FEATURES.index(feature)]) if feature in FEATURES else 0.0
    raw = features.raw[index]
    if feature in ("own_amount", "own_linear", "own_maximum", "own_category") and usual == usual:
        where = f" at {category}" if feature == "own_category" and category else ""
        return (
            amount,
            usual,
            f"an amount of {figure(amount)}{where}, where {figure(usual)} is usual for this user",
        )
    if feature in ("amount", "amount_linear", "own_amount", "own_linear", "own_maximum", "own_category"):
        return (
            amount,
            0.0,
            f"an amount of {figure(amount)}, {abs(unit):.1f} deviations from what all users pay",
        )
    if feature == "night_amount":
        return amount, 0.0, f"an amount of {figure(amount)} in the night"
    if feature == "distance":
        return float(raw[2]), 0.0, f"{figure(float(raw[2]))} km from home"
    if feature == "haste":
        minutes = float(np.exp(-raw[3]))
        return minutes, 0.0, f"{figure(minutes)} minutes after the one before"
    if feature == "transactions_1h":
        count = float(raw[4] ** 2 / 4)
        return count, 1.0, f"{count:.0f} transactions within an hour"
    if feature == "share_24h":
        share = float(np.exp(raw[5]))
        return share, 0.0, f"{share:.0%} of the day's amounts in one transaction"
    if feature == "contradiction":
        broken = [
            text for text, there in zip(CONTRADICTIONS, features.broken[index].tolist(), strict=True) if there
        ]
        return float(len(broken)), 0.0, f"fields contradict each other: {', '.join(broken) or 'none now'}"
    if feature == "own_travel":
        speed = float(np.exp(min(float(measured[_TRAVEL]), 20.0)))
        return speed, 900.0, f"travel at {figure(speed)} km/h since the one before would be needed"
    if feature == "own_hour":
        return unit, 0.0, f"{batch.times[index] // 3_600_000_000_000 % 24}:00 UTC is no hour of this user's"
    if feature in _WORDS:
        name = _WORDS[feature]
        return unit, 0.0, f"{name.replace('_', ' ')} {batch.word(name)[index]} is new or rare for this user"
    if feature == "own_pace":
        return unit, 0.0, "more transactions in a day than this user makes"
    if feature == "own_recent":
        return unit, 0.0, "this user's last amounts were raised, too"
    return unit, 0.0, _LEARNED.get(feature, feature.replace("_", " "))
