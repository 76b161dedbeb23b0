"""Silences: pauses in an instrument's tape that its own rhythm does not explain.

The score of a record is how many trades should have come in the pause before it: the pause, divided by the
time that usually passes between trades now. Records that follow another at once, as one order fills many,
are one trade: how many they are says nothing of when the next order comes. The usual time is a mean of what
passes shortly before, shortly after and over the last blocks of records: each alone is of few records, and
the longest of three is too long most of the time. Yet it is no less than a part of what passes after, which
lets an instrument fall asleep: the first trade after the close is a long way from the last before it, but so
is the next.

Nights, weekends and lunches are no silences. Without history a pause of more than half an hour is none; once
the instrument has had a day, only those five-minute slots of the UTC day count in which it traded on a day of
the week before, and pauses of more than three hours are none.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.detector import Explanation, Scores, Segments, grown, limits
from operators.recent import BlockSums, Joined, at_places, latest
from operators.thin_trading import RECORDS, Rhythm, told_from
from tapewatch.records import DAY, HOUR, MINUTE, SECOND, TRADE, Array, Floats, Int64s

#: Gaps between records just before and just after a pause that make the near rhythm.
_BEFORE, _AFTER = 64, 16
_BLOCKS = 4
#: Weights of the mean gaps before, after and of the last blocks: few gaps say what the pace is now, many
#: say it with less noise.
_WEIGHTS = (8.0, 6.0, 24.0)
#: No rhythm is faster than this part of that after the pause, which says whether the instrument has fallen
#: asleep.
_OF_AFTER = 0.4
#: A record that comes no later than this after another, ns, belongs to the same trade.
_AT_ONCE = SECOND // 50
#: Pauses of less than this many times the usual gap, or that before, are not looked at.
_LEAST = 2
#: No pause counts for more than this in a rhythm, and no rhythm is faster than that.
_LONGEST_BEAT, _FASTEST_BEAT = 10 * MINUTE, SECOND / 10
_SLOT = 5 * MINUTE
_SLOTS = DAY // _SLOT
#: Days for which a slot in which the instrument traded counts as one in which it trades.
_REMEMBERED_DAYS = 7
#: Longest silences without and with history, and those for which the time of day matters.
_WITHOUT_HISTORY, _LONGEST, _LONG = 30 * MINUTE, 3 * HOUR, 10 * MINUTE
_LAST_DAY, _DAY_BEFORE = 0, 1
_NO_DAY = -(2**31)


class SilenceLogic:
    """Each instrument's last times, what waits for the records after it, and when it trades.

    Parameters
    ----------
    limits_s
        Longest pause allowed, in seconds, by symbol, ``"*"`` for all others.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, limits_s: dict[str, float], resume: dict[str, Any] | None) -> None:
        self._limits = limits_s
        self._times = np.zeros((0, _BEFORE + _AFTER + 1), np.int64)
        self._waiting = np.zeros((0, _AFTER), TRADE)
        self._pauses = np.zeros((0, _AFTER), np.int64)
        self._seen = np.zeros(0, np.int64)
        self._rhythm = Rhythm(None if resume is None else resume["rhythm"])
        self._trades = BlockSums(RECORDS, _BLOCKS, None if resume is None else resume["trades"])
        #: Of each slot (and, at the end, of the whole day) the last day with trades, and the one before it.
        self._days = np.zeros((0, 2, _SLOTS + 1), np.int32)
        if resume is not None:
            self._times, self._waiting, self._pauses, self._seen, self._days = (
                resume[name].copy() for name in ("times", "waiting", "pauses", "seen", "days")
            )

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "times": self._times.copy(), "waiting": self._waiting.copy(), "pauses": self._pauses.copy(),
            "seen": self._seen.copy(), "rhythm": self._rhythm.snapshot(), "trades": self._trades.snapshot(),
            "days": self._days.copy(),
        }  # fmt: skip

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        """Score the records that sixteen others have followed."""
        rows, starts, records = segments.rows, segments.starts, segments.items
        self._grow(int(rows.max(initial=-1)) + 1)
        reached = segments.times if segments.reached is None else segments.reached
        joined, waiting = Joined(starts, _BEFORE + _AFTER + 1), Joined(starts, _AFTER)
        times = joined.join(self._times[rows], reached)
        gaps = np.diff(times)
        # The record judged is the sixteenth before each new one: that many gaps lie behind its own.
        before, after = _around(joined, np.minimum(gaps, _LONGEST_BEAT))
        trades_before, trades_after = _around(joined, gaps > _AT_ONCE)
        beat = np.minimum(joined.pick(gaps, _AFTER + 1), _LONGEST_BEAT)
        beat[joined.early(self._seen[rows], _AFTER + 1)] = 0
        beats, slow, stretch = self._rhythm.before(rows, starts, beat, learn=learn)
        trades, known, _ = self._trades.before(rows, starts, (beat > _AT_ONCE).astype(np.int64), learn=learn)
        pauses = waiting.join(self._pauses[rows], self._in_session(segments, joined, gaps, learn=learn))
        pause = waiting.pick(pauses, _AFTER)

        limit = limits(self._limits, segments.names)
        long = pause * np.maximum(trades_before, 1) >= _LEAST * before
        if self._limits:
            long |= pause > limit[segments.row_of] * SECOND
        at = np.flatnonzero(long)
        around = np.searchsorted(stretch, at, "right") - 1
        blocks = _mean(beats[:, -_BLOCKS:].sum(axis=1), trades.sum(axis=1))[around]
        thin = before[at] + after[at] > (_BEFORE + _AFTER) * slow[around]
        pause, near = pause[at], _mean(before[at], trades_before[at])
        soon = _mean(after[at], trades_after[at])
        usual = _usual(near, soon, blocks)
        segment = np.searchsorted(starts, at, "right") - 1
        over, unknown = pause > limit[rows[segment]] * SECOND, known[around] == 0
        fit = over | (~unknown & (pause >= _LEAST * usual))
        at, segment, pause, near, soon, usual, over, unknown, thin = (
            a[fit] for a in (at, segment, pause, near, soon, usual, over, unknown, thin)
        )
        place = at - starts[segment] - _AFTER
        due = at_places(records, self._waiting[rows], starts, segment, place)
        judged = Segments(
            rows,
            np.searchsorted(at, starts),
            due,
            at_places(reached, self._times[rows], starts, segment, place),
            segments.names,
        )
        if learn:
            self._times[rows], self._pauses[rows] = joined.last(times), waiting.last(pauses)
            self._waiting[rows] = latest(records, self._waiting[rows], starts)
            self._seen[rows] += np.diff(starts)
        details = {"pause": pause, "before": near, "after": soon, "usual": usual}
        since = due["ts_event"].astype(np.int64) - pause
        score = pause / usual
        score[unknown] = np.nan
        return Scores(
            score, over if self._limits else None, details, judged, at, since, told_from=told_from(thin)
        )

    def _grow(self, rows: int) -> None:
        self._times, self._pauses = grown(self._times, rows), grown(self._pauses, rows)
        self._waiting, self._seen = grown(self._waiting, rows), grown(self._seen, rows)
        self._days = grown(self._days, rows, _NO_DAY)

    def _in_session(self, segments: Segments, joined: Joined, gaps: Int64s, *, learn: bool) -> Int64s:
        """Return how much of the pause before each new record lies where its instrument trades, ns."""
        starts = segments.starts
        reached = segments.times if segments.reached is None else segments.reached
        pause = np.array(joined.pick(gaps, 1))
        pause[joined.early(self._seen[segments.rows], 1)] = 0
        slot = reached // _SLOT
        entered = np.flatnonzero(slot[1:] != slot[:-1]) + 1
        entered = np.union1d(entered, starts[:-1])
        long = np.flatnonzero(pause > _LONG)
        entered_day, long_day = slot[entered] // _SLOTS, slot[long] // _SLOTS
        row_of = segments.row_of
        days = self._days if learn else self._days.copy()
        for day in np.unique(entered_day):
            late = long[long_day == day]
            if len(late):
                pause[late] = _while_open(days[row_of[late]], int(day), reached[late], pause[late])
            new = entered[entered_day == day]
            for place in (slot[new] % _SLOTS, np.full(len(new), _SLOTS)):
                row = row_of[new]
                fresh = days[row, _LAST_DAY, place] < day
                row, place = row[fresh], place[fresh]
                days[row, _DAY_BEFORE, place] = days[row, _LAST_DAY, place]
                days[row, _LAST_DAY, place] = day
        return pause

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        """Say how long nothing came, and what that is held against."""
        pause, before, after, usual = (
            float(scores.details[name][index]) / SECOND for name in ("pause", "before", "after", "usual")
        )
        against = {name: np.log(max(pause / max(mean, 1e-9), 1.0 + 1e-9)) for name, mean in
                   (("rhythm_before", before), ("rhythm_after", after))}  # fmt: skip
        limit = self._limits.get(key, self._limits.get("*"))
        if limit is not None and np.isnan(scores.score[index]):
            reason = f"No trade of {key} for {seconds(pause)}, over the limit of {seconds(limit)}"
            return Explanation(pause, limit, {"limit": 1.0}, reason)
        share = float(against["rhythm_before"] / sum(against.values()))
        clearest = "before" if share >= 0.5 else "after"
        reason = (
            f"No trade of {key} for {seconds(pause)}, {pause / usual:.3g} times the {seconds(usual)} that "
            f"pass between its trades now; it stands out most from its rhythm {clearest} the silence"
        )
        if limit is not None and pause > limit:
            reason += f", and is over the limit of {seconds(limit)}"
        shares = {"rhythm_before": share, "rhythm_after": 1.0 - share}
        return Explanation(observed=pause, expected=usual, contributions=shares, reason=reason)


def seconds(value: float) -> str:
    """Return a duration as people read it.

    >>> seconds(0.0421), seconds(75), seconds(600)
    ('42.1 ms', '75 s', '10 min')
    """
    if value >= 180:
        return f"{value / 60:.3g} min"
    return f"{value:.3g} s" if value >= 1 else f"{value * 1e3:.3g} ms"


def _around(joined: Joined, values: Array) -> tuple[Int64s, Int64s]:
    """Return the sums of the values of the gaps before and after that of each record judged."""
    total = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
    return (
        joined.pick(total[_BEFORE:] - total[:-_BEFORE], _BEFORE + _AFTER + 1),
        joined.pick(total[_AFTER:] - total[:-_AFTER], _AFTER),
    )


def _mean(time: Int64s, trades: Int64s) -> Floats:
    """Return the mean time between trades, ns."""
    mean: Floats = time / np.maximum(trades, 1)
    return mean


def _usual(before: Floats, after: Floats, blocks: Floats) -> Floats:
    """Return the gap that is usual now, of the mean gaps before, after and of the last blocks, ns."""
    of_before, of_after, of_blocks = _WEIGHTS
    mean = (of_before * before + of_after * after + of_blocks * blocks) / sum(_WEIGHTS)
    return np.maximum(np.maximum(mean, _OF_AFTER * after), _FASTEST_BEAT)


def _while_open(days: Array, day: int, ends: Int64s, pauses: Int64s) -> Int64s:
    """Return how much of long pauses counts.

    Parameters
    ----------
    days
        Of the instruments, one row for each pause; see ``SilenceLogic``.
    day
        The UTC day on which the pauses end.
    ends, pauses
        Their ends and lengths, int64 ns.
    """
    # What the instrument does today says nothing of today: the batch may already know more of it.
    last = np.where(days[:, _LAST_DAY] < day, days[:, _LAST_DAY], days[:, _DAY_BEFORE])
    usual = last >= day - _REMEMBERED_DAYS
    begins = ends - pauses
    slots = begins[:, None] // _SLOT + np.arange(_LONGEST // _SLOT + 1)
    low, high = np.maximum(slots * _SLOT, begins[:, None]), np.minimum((slots + 1) * _SLOT, ends[:, None])
    counts = np.where(np.take_along_axis(usual, slots % _SLOTS, axis=1), np.maximum(high - low, 0), 0)
    with_history = np.where(pauses <= _LONGEST, counts.sum(axis=1), 0)
    return np.where(usual[:, _SLOTS], with_history, np.where(pauses <= _WITHOUT_HISTORY, pauses, 0))
