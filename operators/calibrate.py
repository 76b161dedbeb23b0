"""Calibration: from a detector's scores to tail probabilities, severities and alarms, per instrument.

Each instrument keeps a histogram of its own scores. Its body is empirical; beyond a high quantile ``u`` the
excesses follow a generalised Pareto distribution (peaks over threshold; Siffer, Fouque, Termier and Largouet,
"Anomaly Detection in Streams with Extreme Value Theory", 2017), fitted by probability-weighted moments
(Hosking and Wallis, 1987) that are shrunk towards a prior while peaks are few. The alarm threshold is the
score that is exceeded ``budget`` times on a day of that instrument.

Fits are renewed only where the instrument's own data says so (a number of observations, a new UTC day), the
counts are integers, and alarms are learned no larger than the threshold, so the result is the same for any
cut of the input, and an anomaly does not teach that it is normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from operators.scale import Scale, stretched
from operators.stretches import ranges, same_day
from tapewatch.records import DAY, MINUTE, Array, Floats, Int64s

STATE_VERSION = 1
#: Counts are kept in sixteenths, so that forgetting stays exact.
_ONE = 16
#: Share of the past that a new UTC day leaves, in sixteenths.
_KEPT = 13
#: No alarm is made of what is not at least this rare, however quiet the instrument.
_COMMONEST_ALARM = 0.01
_SESSION = 390 * MINUTE
_LARGEST_SHAPE = 0.7
#: From this many observations a row on, each row is counted by itself.
_MANY = 500
#: Peaks are this many times the square root of the observations.
_PEAKS = 1.25
#: How much further away few peaks keep the threshold.
_CAUTION = 0.1
#: The same for a history that is shorter than a day, by the logarithm of how much.
_CAUTION_OF_REACH = 0.03
#: Spending up to this many times the budget is taken for chance, or for real events.
_TOLERATED = 3.0
_LARGEST_PRESSURE = 50.0
#: Steps in which the body of a distribution is told, each half as common as the one before.
_HALVINGS = 10
#: Observations at which half of a score's rarity beyond once a day is believed.
_SHORT_HISTORY = 200.0


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
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, scale: Scale, budget: float, resume: dict[str, Any] | None = None) -> None:
        self._scale, self._budget = scale, budget
        self._edges = scale.edges()
        self._centres = (self._edges[1:] + self._edges[:-1]) / 2
        self._rows = 0
        self._counts = np.zeros((0, scale.bins), np.int32)
        #: seen in all, next fit at, day, first time of the day, seen on the day, its minutes with alarms,
        #: the last such minute
        self._integers = np.zeros((0, 7), np.int64)
        #: observations on its days so far, u, scale, shape, share of peaks, threshold, observations a day,
        #: alarms on its days so far as a multiple of the budget, observations at the last fit
        self._fits = np.zeros((0, 9))
        #: scores that a half, a quarter, ... of the observations reached at the last fit
        self._body = np.zeros((0, _HALVINGS))
        if resume is not None:
            self._rows = len(resume["integers"])
            self._counts, self._integers, self._fits, self._body = (
                resume[name].copy() for name in ("counts", "integers", "fits", "body")
            )

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        kept = slice(self._rows)
        return {
            "version": STATE_VERSION,
            "counts": self._counts[kept].copy(),
            "integers": self._integers[kept].copy(),
            "fits": self._fits[kept].copy(),
            "body": self._body[kept].copy(),
        }

    def _grow(self, rows: int) -> None:
        if rows > len(self._integers):
            more = max(rows, 2 * len(self._integers)) - len(self._integers)
            self._counts = np.concatenate([self._counts, np.zeros((more, self._scale.bins), np.int32)])
            integers = np.zeros((more, 7), np.int64)
            integers[:, 1], integers[:, 2] = self._scale.warm_up, -1
            self._body = np.concatenate([self._body, np.zeros((more, _HALVINGS))])
            fits = np.zeros((more, 9))
            fits[:, 5] = np.inf
            self._integers = np.concatenate([self._integers, integers])
            self._fits = np.concatenate([self._fits, fits])
        self._rows = max(self._rows, rows)

    def look(self, rows: Array, scores: Floats) -> Verdicts:
        """Judge scores (one per row) and learn nothing."""
        self._grow(int(rows.max(initial=-1)) + 1)
        threshold = self._fits[rows, 5]
        return Verdicts(scores >= threshold, threshold, self.severity(rows, scores))

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
        if np.isnan(scores).any():
            return self._without_nans(rows, starts, scores, times, every=every)
        alarm = np.zeros(len(scores), bool)
        # Without `every` only the places of alarms are ever written, or read.
        threshold, severity = np.empty(len(scores)), np.empty(len(scores))
        bins = self._scale.bin_of(scores)
        at, end = starts[:-1].copy(), starts[1:]
        days = times // DAY if len(times) and times.min() // DAY != times.max() // DAY else None
        day = int(times[0]) // DAY if len(times) else 0
        while True:
            left = np.flatnonzero(at < end)
            if not len(left):
                return Verdicts(alarm, threshold, severity)
            row, begin = rows[left], at[left]
            today = np.full(len(left), day) if days is None else days[begin]
            self._new_days(row, today, times[begin])
            until = np.minimum(
                end[left], begin + np.maximum(self._integers[row, 1] - self._integers[row, 0], 1)
            )
            if days is not None:
                until = same_day(days, begin, until)
            self._take(row, begin, until, scores, bins, times, (alarm, threshold, severity), every=every)
            self._integers[row, 0] += until - begin
            self._integers[row, 4] += until - begin
            due = self._integers[row, 0] >= self._integers[row, 1]
            if due.any():
                self._fit(row[due], times[until[due] - 1])
            at[left] = until

    def _without_nans(
        self, rows: Array, starts: Int64s, scores: Floats, times: Int64s, *, every: bool
    ) -> Verdicts:
        known = np.flatnonzero(~np.isnan(scores))
        inner = self.judge(rows, np.searchsorted(known, starts), scores[known], times[known], every=every)
        alarm = np.zeros(len(scores), bool)
        threshold, severity = np.full(len(scores), np.inf), np.full(len(scores), np.nan)
        alarm[known], threshold[known], severity[known] = inner.alarm, inner.threshold, inner.severity
        return Verdicts(alarm, threshold, severity)

    def _take(
        self,
        row: Array,
        begin: Array,
        until: Array,
        scores: Floats,
        bins: Array,
        times: Int64s,
        out: tuple[Array, Floats, Floats],
        *,
        every: bool,
    ) -> None:
        """Judge and count one stretch per row, within which no fit changes."""
        alarm, threshold, severity = out
        length = until - begin
        whole = bool((begin[1:] == until[:-1]).all())
        place: Any = slice(int(begin[0]), int(until[-1])) if whole else ranges(begin, length)
        limit = np.repeat(self._fits[row, 5], length)
        part = scores[place]
        over = part >= limit
        alarm[place] = over
        counted = bins[place]
        found = np.flatnonzero(over)
        if len(found):
            rows = np.repeat(row, length)
            counted = counted.copy()
            counted[found] = np.minimum(counted[found], self._scale.bin_of(limit[found]))
            where = np.arange(place.start, place.stop)[found] if whole else place[found]
            # A burst of alarms is one to a person: what counts against the budget is minutes with alarms.
            for r, minute in zip(rows[found].tolist(), (times[where] // MINUTE).tolist(), strict=True):
                self._integers[r, 5] += minute != self._integers[r, 6]
                self._integers[r, 6] = minute
            threshold[where] = limit[found]
            if not every:
                severity[where] = self.severity(rows[found], part[found])
        if every:
            threshold[place] = limit
            severity[place] = self.severity(np.repeat(row, length), part)
        self._count(row, length, counted)

    def _count(self, row: Array, length: Array, counted: Array) -> None:
        if len(counted) > _MANY * len(row):
            ends = np.cumsum(length)
            for r, first, last in zip(row, ends - length, ends, strict=True):
                counts = np.bincount(counted[first:last], minlength=self._scale.bins)
                self._counts[r] += counts.astype(np.int32) * np.int32(_ONE)
            return
        index = np.repeat(row, length).astype(np.int64) * self._scale.bins + counted
        np.add.at(self._counts.reshape(-1), index, np.int32(_ONE))

    def _new_days(self, row: Array, today: Array, first: Int64s) -> None:
        """Begin a UTC day for the rows that come to one: forget a little, and learn from the day before."""
        known = self._integers[row, 2]
        turned = today > known
        if not turned.any():
            return
        row, known, today, first = row[turned], known[turned], today[turned], first[turned]
        old = row[known >= 0]
        if len(old):
            self._counts[old] = self._counts[old] * np.int64(_KEPT) // 16
            seen, before = self._integers[old, 4].astype(np.float64), self._fits[old, 0]
            self._fits[old, 0] = np.where(before > 0, (before + seen) / 2, seen)
            pressure = self._integers[old, 5] / self._budget
            self._fits[old, 7] = np.where(before > 0, (self._fits[old, 7] + pressure) / 2, pressure)
        self._integers[row, 2], self._integers[row, 3] = today, first
        self._integers[row, 4:6] = 0
        ready = old[self._integers[old, 0] >= self._scale.warm_up]
        if len(ready):
            self._fit(ready, self._integers[ready, 3])

    def _per_day(self, row: Array, now: Int64s) -> Floats:
        """Return observations a day of each instrument: what its days had, or this one is going to have."""
        seen = self._integers[row, 4].astype(np.float64)
        passed = np.clip((now - self._integers[row, 3]) / _SESSION, 1 / 13, 1.0)
        before = self._fits[row, 0]
        going: Floats = np.where(before > 0, np.maximum(before, seen), seen / passed)
        return np.maximum(going, 1.0)

    def _fit(self, row: Array, now: Int64s) -> None:
        """Renew the tails of some rows, and say when they are renewed next."""
        scale = self._scale
        counts = self._counts[row].astype(np.int64)
        above = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1]
        total = above[:, 0] / _ONE
        wanted = np.clip(_PEAKS * np.sqrt(total), 12, 4000) * _ONE
        first = (above >= wanted[:, None]).sum(axis=1) - 1
        first = np.maximum(first, 0)
        u = self._edges[first]
        peaks = above[np.arange(len(row)), first] / _ONE
        excess = np.maximum(self._centres - u[:, None], 0.0)
        weight = np.where(np.arange(scale.bins) >= first[:, None], counts, 0) / _ONE
        rank = (above / _ONE - weight / 2) / np.maximum(peaks, 1)[:, None]
        mean = (weight * excess).sum(axis=1) / np.maximum(peaks, 1)
        second = (weight * excess * rank).sum(axis=1) / np.maximum(peaks, 1)
        apart = np.maximum(mean - 2 * second, 1e-12 * (mean + 1e-300))
        shape = np.clip(2 - mean / apart, -0.5, 1.0)
        trust = peaks / (peaks + scale.prior_peaks)
        shape = np.clip(trust * shape + (1 - trust) * scale.shape, 0.0, _LARGEST_SHAPE)
        spread = trust * mean * (1 - shape) + (1 - trust) * scale.spread * u
        spread = np.maximum(spread, 1e-6 * u + 1e-12)
        per_day = self._per_day(row, now)
        share = peaks / np.maximum(total, 1)
        # An instrument whose tail is heavier than fitted spends more than its budget: ask for more of it.
        pressure = np.maximum(self._fits[row, 7], self._integers[row, 5] / self._budget)
        rare = np.minimum(self._budget / per_day, _COMMONEST_ALARM) / np.clip(
            pressure / _TOLERATED, 1.0, _LARGEST_PRESSURE
        )
        depth = np.maximum(np.log(np.maximum(share / rare, 1.0)), 0.0)
        # Few peaks say little of what lies far beyond them: keep further away from it.
        reach = np.log(np.maximum(per_day / np.maximum(total, 1), 1.0))
        depth *= 1 + _CAUTION / np.sqrt(np.maximum(peaks, 1)) + _CAUTION_OF_REACH * reach
        threshold = u + spread * stretched(shape, depth)
        body = rare > share
        if body.any():
            deep = (above[body] / _ONE > (rare * total)[body][:, None]).sum(axis=1)
            threshold[body] = self._edges[np.minimum(deep, scale.bins)]
        if scale.prior_observations:
            known = total / (total + scale.prior_observations)
            threshold = known * threshold + (1 - known) * np.maximum(threshold, scale.usual_threshold)
        self._fits[row, 1:7] = np.stack([u, spread, shape, share, threshold, per_day], axis=1)
        self._fits[row, 8] = total
        halves = above[:, :1] >> np.arange(1, _HALVINGS + 1)
        self._body[row] = self._edges[(above[:, None, :] >= halves[:, :, None]).sum(axis=2)]
        seen = self._integers[row, 0]
        self._integers[row, 1] = seen + np.clip(seen // 2, 30, 65_536)

    def severity(self, rows: Array, scores: Floats) -> Floats:
        """Return severities of 0 to 100: 50 is what one instrument shows once a day, 75 once in 100 days.

        Below, severity falls with the logarithm of the tail probability to 0 at its likeliest.
        """
        _, u, spread, shape, share, _, per_day, _, seen = self._fits[rows].T
        fitted = share > 0
        excess = np.maximum(scores - u, 0.0) / np.where(fitted, spread, 1.0)
        flat = shape < 1e-9
        safe = np.where(flat, 1.0, shape)
        depth = np.where(flat, excess, np.log1p(safe * excess) / safe)
        body = np.log(2.0) * (self._body[rows] <= scores[:, None]).sum(axis=1)
        log_rarity = np.where(scores > u, np.log(1 / np.where(fitted, share, 1.0)) + depth, body)
        log_day = np.log(np.maximum(per_day, 2.0))
        # A short history says little of how much rarer than once a day a score is.
        trust = seen / (seen + np.maximum(_SHORT_HISTORY, 0.1 * per_day))
        decades = (log_rarity - log_day) / np.log(10.0) * trust
        tail = 100.0 - 50.0 * np.exp2(-np.maximum(decades, 0.0) / 2.0)
        below = 50.0 * np.clip(log_rarity / log_day, 0.0, 1.0)
        return np.where(fitted, np.where(decades > 0, tail, below), np.nan)
