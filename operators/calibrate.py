"""Calibration: from a detector's scores to tail probabilities, severities and alarms, per instrument.

Each instrument keeps a histogram of its own scores. Its body is empirical; beyond a high quantile ``u`` the
excesses follow a generalised Pareto distribution (peaks over threshold; Siffer, Fouque, Termier and Largouet,
"Anomaly Detection in Streams with Extreme Value Theory", 2017; see `operators.tails`). The alarm threshold is
the score that is exceeded ``budget`` times on a day of that instrument; who spends more than that is asked
for rarer scores at once.

Fits are renewed only where the instrument's own data says so (a number of observations, a new UTC day, a
further alarm), the counts are integers, and alarms are learned as if at the threshold, so
the result is the same for any cut of the input, and an anomaly does not teach that it is normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.scale import Scale
from operators.severities import FIT, HALVINGS, severities
from operators.spending import SPENDING, observations_a_day, rarity
from operators.stretches import ranges, same_day
from operators.tails import ONE, Histograms
from tapewatch.records import DAY, Array, Floats, Int64s

#: Share of the past that a new UTC day leaves, in sixteenths.
_KEPT = 13
#: From this many observations a row on, each row is counted by itself.
_MANY = 500

#: From this many observations on a fit waits for twice as many, before for half as many more.
_SETTLED = 4_096

#: What is known of one instrument beside its counts.
_ROW = np.dtype(
    [
        ("seen", "i8"),
        ("next_fit", "i8"),  # of ``seen``
        ("day", "i8"),
        *SPENDING,
        ("threshold", "f8"),  # at the last fit
        *FIT,
    ]
)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What calibration makes of each score; shape ``(n,)``. Only alarms have all three, unless asked."""

    alarm: Array
    threshold: Floats
    severity: Floats


class Calibration:
    """Streaming tail models of one detector for the instruments of one shard.

    Parameters
    ----------
    scale
        The detector's scale.
    budget
        Alarms per instrument and UTC day on which it traded.
    gap_ns
        Alarms of one instrument no further apart than this are one to a person, and count once.
    resume
        A `snapshot` to go on from.
    """

    def __init__(
        self, scale: Scale, budget: float, gap_ns: int, resume: dict[str, Any] | None = None
    ) -> None:
        self._scale, self._budget, self._gap = scale, budget, gap_ns
        self._counts = np.zeros((0, scale.bins), np.int32)
        self._rows = np.zeros(0, _ROW)
        self._used = 0
        if resume is not None:
            self._counts, self._rows = resume["counts"].copy(), resume["rows"].copy()
            self._used = len(self._rows)

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "counts": self._counts[: self._used].copy(),
            "rows": self._rows[: self._used].copy(),
        }

    def _grow(self, used: int) -> None:
        if used > len(self._rows):
            more = max(used, 2 * len(self._rows)) - len(self._rows)
            rows = np.zeros(more, _ROW)
            rows["next_fit"], rows["day"], rows["threshold"] = self._scale.warm_up, -1, np.inf
            self._rows = np.concatenate([self._rows, rows])
            self._counts = np.concatenate([self._counts, np.zeros((more, self._scale.bins), np.int32)])
        self._used = max(self._used, used)

    def look(self, rows: Array, scores: Floats, times: Int64s) -> Verdicts:
        """Judge scores (one per row) as `judge` would now, and learn nothing."""
        self._grow(int(rows.max(initial=-1)) + 1)
        known = self._rows[rows]
        again = (known["spent_since"] > 0) & (scores >= known["threshold"])
        again &= times - known["alarmed_at"] > self._gap
        if again.any():
            self._fit(rows[again], times[again])
        threshold = self._rows["threshold"][rows]
        verdicts = Verdicts(scores >= threshold, threshold, self.severity(rows, scores))
        self._rows[rows] = known
        return verdicts

    def judge(
        self, rows: Array, starts: Int64s, scores: Floats, times: Int64s, *, every: bool = False
    ) -> Verdicts:
        """Judge scores in their order, each before it is learned.

        Parameters
        ----------
        rows, starts
            Scores of ``rows[i]`` are ``starts[i]:starts[i + 1]``.
        scores
            Float64; NaN is neither judged nor learned.
        times
            Int64 ns; they decide the UTC day.
        every
            Return a severity for each score, not only for alarms.
        """
        self._grow(int(rows.max(initial=-1)) + 1)
        if np.isnan(scores.min(initial=np.inf)):
            return self._without_nans(rows, starts, scores, times, every=every)
        # Without `every` only the places of alarms are ever written, or read.
        found = Verdicts(np.zeros(len(scores), bool), np.empty(len(scores)), np.empty(len(scores)))
        bins = self._scale.bin_of(scores)
        at, end = starts[:-1].copy(), starts[1:]
        days = times // DAY if len(times) and times.min() // DAY != times.max() // DAY else None
        day = int(times[0]) // DAY if len(times) else 0
        known = self._rows
        while len(left := np.flatnonzero(at < end)):
            row, begin = rows[left], at[left]
            self._new_days(row, np.full(len(left), day) if days is None else days[begin], times[begin])
            room = np.maximum(known["next_fit"][row] - known["seen"][row], 1)
            until = np.minimum(end[left], begin + room)
            if days is not None:
                until = same_day(days, begin, until)
            ended = self._alarms(row, begin, until, scores, bins, times, found)
            self._count(row, begin, until, bins)
            if every:
                place = ranges(begin, until - begin)
                owner = np.repeat(row, until - begin)
                found.threshold[place] = known["threshold"][owner]
                found.severity[place] = self.severity(owner, scores[place])
            known["seen"][row] += until - begin
            known["seen_today"][row] += until - begin
            due = (known["seen"][row] >= known["next_fit"][row]) | ended
            if due.any():
                self._fit(row[due], times[until[due] - np.where(ended[due], 0, 1)])
            at[left] = until
        return found

    def _without_nans(
        self, rows: Array, starts: Int64s, scores: Floats, times: Int64s, *, every: bool
    ) -> Verdicts:
        known = np.flatnonzero(~np.isnan(scores))
        inner = self.judge(rows, np.searchsorted(known, starts), scores[known], times[known], every=every)
        alarm = np.zeros(len(scores), bool)
        threshold, severity = np.full(len(scores), np.inf), np.full(len(scores), np.nan)
        alarm[known], threshold[known], severity[known] = inner.alarm, inner.threshold, inner.severity
        return Verdicts(alarm, threshold, severity)

    def _alarms(
        self,
        row: Array,
        begin: Array,
        until: Array,
        scores: Floats,
        bins: Array,
        times: Int64s,
        found: Verdicts,
    ) -> Array:
        """Write the alarms of one stretch per row into ``found``, and as what they are learned into ``bins``.

        A stretch ends early, in ``until``, before what would be an alarm by a fit that does not know of the
        one before: it is judged by a new fit. Return which do.
        """
        ended = np.zeros(len(row), bool)
        limit = self._rows["threshold"][row]
        for i in np.flatnonzero(_highest(scores, begin, until) >= limit).tolist():
            known, threshold = self._rows[row[i]], float(limit[i])
            at = int(begin[i]) + np.flatnonzero(scores[begin[i] : until[i]] >= threshold)
            reached = np.maximum.accumulate(np.concatenate([[known["alarmed_at"]], times[at]]))
            # What follows an alarm closely is part of it.
            opening = np.flatnonzero(times[at] - reached[:-1] > self._gap)
            allowed = 1 - int(known["spent_since"])
            if len(opening) > allowed:
                until[i], ended[i] = at[opening[allowed]], True
                at, reached = at[: opening[allowed]], reached[: opening[allowed] + 1]
            if len(opening) and allowed:
                known["alarms_today"] += 1
                known["spent_since"] = 1
            known["alarmed_at"] = reached[-1]
            bins[at] = np.minimum(bins[at], self._scale.bin_of(np.full(len(at), threshold)))
            found.alarm[at], found.threshold[at] = True, threshold
            found.severity[at] = self.severity(np.full(len(at), row[i]), scores[at])
        return ended

    def _count(self, row: Array, begin: Array, until: Array, bins: Array) -> None:
        length = until - begin
        if int(length.sum()) > _MANY * len(row):
            for r, first, last in zip(row.tolist(), begin.tolist(), until.tolist(), strict=True):
                counts = np.bincount(bins[first:last], minlength=self._scale.bins)
                counts *= ONE
                self._counts[r] += counts.astype(np.int32)
            return
        index = np.repeat(row, length).astype(np.int64) * self._scale.bins + bins[ranges(begin, length)]
        np.add.at(self._counts.reshape(-1), index, np.int32(ONE))

    def _new_days(self, row: Array, today: Array, first: Int64s) -> None:
        """Begin a UTC day for the rows that come to one: forget a little, and learn from the day before."""
        known = self._rows
        turned = today > known["day"][row]
        if not turned.any():
            return
        row, today, first = row[turned], today[turned], first[turned]
        old = row[known["day"][row] >= 0]
        if len(old):
            self._counts[old] = self._counts[old] * np.int64(_KEPT) // 16
            seen, before = known["seen_today"][old].astype(np.float64), known["usual_day"][old]
            known["usual_day"][old] = np.where(before > 0, (before + seen) / 2, seen)
            spent = known["alarms_today"][old] / self._budget
            known["spent"][old] = np.where(before > 0, (known["spent"][old] + spent) / 2, spent)
        known["day"][row], known["opened"][row], known["paced_at"][row] = today, first, first
        for name in ("seen_today", "alarms_today", "paced_seen"):
            known[name][row] = 0
        ready = old[known["seen"][old] >= self._scale.warm_up]
        if len(ready):
            self._fit(ready, known["opened"][ready])

    def _fit(self, row: Array, now: Int64s) -> None:
        """Renew the tails of some rows, and say when they are renewed next."""
        scale = self._scale
        histograms = Histograms(scale, self._counts[row])
        self._rows["body"][row] = histograms.body(HALVINGS)
        for place, (r, time, tail) in enumerate(
            zip(row.tolist(), now.tolist(), histograms.tails(), strict=True)
        ):
            known = self._rows[r]
            per_day, share = observations_a_day(known, time), tail.share
            rare = rarity(known, per_day, self._budget, scale.restraint)
            threshold = tail.quantile(rare) if rare <= share else histograms.exceeded_by(place, rare)
            if scale.prior_observations:
                trust = tail.total / (tail.total + scale.prior_observations)
                threshold = trust * threshold + (1 - trust) * max(threshold, scale.usual_threshold)
            known["u"], known["spread"], known["shape"] = tail.u, tail.spread, tail.shape
            known["share"], known["total"] = share, tail.total
            known["per_day"], known["threshold"] = per_day, threshold
            seen, known["spent_since"] = int(known["seen"]), 0
            wait = seen // 2 if seen < _SETTLED else seen
            known["next_fit"] = seen + min(max(wait, 30), 65_536)

    def severity(self, rows: Array, scores: Floats) -> Floats:
        """Return severities of 0 to 100 of one score per row, by the latest fits."""
        return severities(self._rows[rows], scores)


def _highest(scores: Floats, begin: Array, until: Array) -> Floats:
    """Return the largest score of each stretch, none of which is empty."""
    length = until - begin
    if int(length.sum()) > _MANY * len(begin):
        spans = zip(begin.tolist(), until.tolist(), strict=True)
        return np.array([scores[first:last].max() for first, last in spans])
    return np.maximum.reduceat(scores[ranges(begin, length)], np.cumsum(length) - length)
