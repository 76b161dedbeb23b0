"""``high_volume``: a window's volume against the instrument's own baseline.

The baseline is the median of the logarithm of the volume over the last windows, relative to a profile of
the time of day (five-minute slots of the UTC day, learned from whole days before). The score is the distance
from it in robust standard deviations (the median absolute deviation of the same windows, shrunk towards a
prior; Rousseeuw and Croux, 1993), so that a quiet pre-market and a busy close are measured alike. Windows
without trades do not exist; the baseline is that of windows with trades.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field

from operators.detector import BarDetector, Explanation, Logic, Scores, Segments, amount, grown
from operators.scale import Scale
from tapewatch.records import DAY, MINUTE, Array, Floats
from tapewatch.settings import WIDTHS, from_json

_SLOT = 5 * MINUTE
_SLOTS = DAY // _SLOT
#: Windows a slot must have before its level outweighs the day's; its neighbours count with these weights.
_SLOT_PRIOR = 2.0
_NEIGHBOURS = (1.0, 2.0, 3.0, 2.0, 1.0)
#: A window teaches a profile no more than this many standard deviations above what was expected.
_LEARNED_SIGMAS = 2.0
_MAD_TO_SIGMA = 1.4826
_PRIOR_SIGMA, _PRIOR_WINDOWS = 0.55, 60


class HighVolume(BarDetector):
    """Windows with far more volume than the instrument has at this time."""

    name: ClassVar[str] = "high_volume"
    shaped_by: ClassVar[tuple[str, ...]] = ("width", "baseline_windows")
    scale: ClassVar[Scale] = Scale(
        lowest=-4,
        octaves=12,
        shape=0.0,
        spread=0.2,
        # Deviations of logarithms have light tails: a few days' peaks say less of that.
        prior_peaks=150,
        warm_up=45,
        usual_threshold=3.0,
        prior_observations=150,
    )

    limits: Annotated[dict[str, Annotated[float, Field(gt=0)]], BeforeValidator(from_json)] = Field(
        default_factory=dict
    )
    baseline_windows: int = Field(30, ge=5, le=500)

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic."""
        return _HighVolumeLogic(self, resume)


class _HighVolumeLogic:
    """Arrays of one row per instrument: the last windows, the profile, and today's sums for it."""

    def __init__(self, settings: HighVolume, resume: dict[str, Any] | None) -> None:
        self._limits = settings.limits
        self._width = WIDTHS[settings.width]
        self._length = settings.baseline_windows
        self._least = max(5, settings.baseline_windows // 3)
        #: Windows with trades that make a slot a busy one.
        self._dense = max(_SLOT // self._width, 1) / 2
        #: Of each of the last windows: log volume, log trades, slot; NaN where there was none yet.
        self._past = np.full((0, self._length, 3), np.nan)
        self._profile = np.zeros((0, _SLOTS), np.float32)
        self._today = np.zeros((0, _SLOTS, 2), np.float32)
        self._day = np.zeros(0, np.int64)
        if resume is not None:
            self._past, self._profile, self._today, self._day = (
                resume[name].copy() for name in ("past", "profile", "today", "day")
            )

    def snapshot(self) -> dict[str, Any]:
        return {
            "past": self._past.copy(), "profile": self._profile.copy(),
            "today": self._today.copy(), "day": self._day.copy(),
        }  # fmt: skip

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        bars, rows, starts = segments.items, segments.rows, segments.starts
        count = int(rows.max(initial=-1)) + 1
        self._past, self._profile = grown(self._past, count, np.nan), grown(self._profile, count)
        self._today, self._day = grown(self._today, count), grown(self._day, count, -1)
        features = np.empty((len(bars), 3))
        features[:, 0] = np.log(np.maximum(bars["volume"], 1).astype(np.float64))
        features[:, 1] = np.log(np.maximum(bars["trades"], 1).astype(np.float64))
        features[:, 2] = bars["ts_start"] % DAY // _SLOT
        score, expected = np.full(len(bars), np.nan), np.full(len(bars), np.nan)
        trades = np.full((len(bars), self._length + 1), np.nan)
        days = bars["ts_start"] // DAY
        at, end = starts[:-1].copy(), starts[1:]
        while len(left := np.flatnonzero(at < end)):
            row, begin = rows[left], at[left]
            if learn:
                self._turn(row, days[begin])
            until = end[left].copy()
            for i, (first, last) in enumerate(zip(begin, until, strict=True)):
                if days[last - 1] != days[first]:
                    until[i] = first + int((days[first:last] != days[first]).argmax())
            self._stretch(row, begin, until, features, (score, expected, trades), learn=learn)
            at[left] = until
        forced = None
        if self._limits:
            limit = np.array(
                [self._limits.get(name, self._limits.get("*", np.inf)) for name in segments.names]
            )
            forced = bars["volume"] > limit[segments.row_of]
        return Scores(score, forced, {"expected": expected, "trades": trades})

    def _stretch(
        self,
        row: Array,
        begin: Array,
        until: Array,
        features: Floats,
        out: tuple[Floats, Floats, Floats],
        *,
        learn: bool,
    ) -> None:
        """Score windows of one day per row, and learn them: every one sees only the windows before it."""
        score, expected, trades = out
        length, span = until - begin, self._length
        # Each row's past and its new windows side by side, so that a window's past is a slice.
        offset = np.concatenate([[0], np.cumsum(length + span)[:-1]])
        joined = np.empty((int((length + span).sum()), 3))
        joined[(offset[:, None] + np.arange(span)).ravel()] = self._past[row].reshape(-1, 3)
        fresh = np.repeat(offset + span - np.concatenate([[0], np.cumsum(length)[:-1]]), length) + np.arange(
            int(length.sum())
        )
        place = np.repeat(begin - np.concatenate([[0], np.cumsum(length)[:-1]]), length) + np.arange(
            int(length.sum())
        )
        new = features[place]
        joined[fresh] = new
        owner = np.repeat(row, length + span)
        slot = np.nan_to_num(joined[:, 2]).astype(np.int64)
        level = joined[:, 0] - self._profile[owner, slot]
        windows = fresh[:, None] + np.arange(-span, 0)
        past = level[windows]
        known = span - np.isnan(past).sum(axis=1)
        ready = known >= self._least
        learned = new[:, 0].copy()
        if ready.any():
            past, weight = past[ready], known[ready]
            centre = _medians(past, weight)
            mad = _MAD_TO_SIGMA * _medians(np.abs(past - centre[:, None]), weight)
            sigma = np.sqrt((weight * mad**2 + _PRIOR_WINDOWS * _PRIOR_SIGMA**2) / (weight + _PRIOR_WINDOWS))
            distance = level[fresh][ready] - centre
            score[place[ready]] = distance / sigma
            expected[place[ready]] = np.exp(new[ready, 0] - distance)
            # Before there is a profile what seems too much may be the opening.
            profiled = np.repeat(self._profile[row].any(axis=1), length)[ready]
            learned[ready] -= np.where(profiled, np.maximum(distance - _LEARNED_SIGMAS * sigma, 0.0), 0.0)
        # What only those that become alarms are asked for is worked out then.
        trades[place, :-1], trades[place, -1] = joined[:, 1][windows], new[:, 1]
        if learn:
            last = offset + length
            self._past[row] = joined[last[:, None] + np.arange(span)]
            taught = np.stack([learned, np.ones(len(new))], axis=1).astype(np.float32)
            np.add.at(self._today, (np.repeat(row, length), new[:, 2].astype(np.int64)), taught)

    def _turn(self, row: Array, today: Array) -> None:
        """On an instrument's new day, take the day before into its profile."""
        turned = today > self._day[row]
        for r in row[turned & (self._day[row] >= 0)]:
            sums, counts = self._today[r, :, 0].astype(np.float64), self._today[r, :, 1].astype(np.float64)
            seen = counts > 0
            if seen.sum() >= 6:
                slots = _levels(sums, counts, self._dense)
                had = self._profile[r].any()
                old = self._profile[r].astype(np.float64)
                self._profile[r] = np.where(seen, 0.6 * old + 0.4 * slots, old) if had else slots
            self._today[r] = 0
        self._day[row[turned]] = today[turned]

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        volume, expected = int(item["volume"]), float(scores.details["expected"][index])
        limit = self._limits.get(key, self._limits.get("*"))
        if np.isnan(expected):
            reason = f"Volume {amount(volume)} {key}, over the limit of {amount(limit or 0)}"
            return Explanation(float(volume), float(limit or 0), {"volume": 1.0}, reason)
        total = float(np.log(max(volume, 1)) - np.log(expected))
        times = f"{volume / expected:.3g} times the {amount(expected)}"
        reason = f"Volume {amount(volume)} {key}, {times} expected at this time"
        contributions = {"volume": 1.0}
        if item["detailed"] and total > 0:
            trades = _above_median(scores.details["trades"][index]) / total
            contributions = {"trades": trades, "average_size": 1.0 - trades}
            reason += ", mostly by more trades" if trades >= 0.5 else ", mostly by a larger average size"
        if limit is not None and volume > limit:
            reason += f", and over the limit of {amount(limit)}"
        return Explanation(float(volume), expected, contributions, reason)


def _medians(values: Floats, known: Array) -> Floats:
    """Return the median of the ``known[i]`` numbers of each row, the others being NaN (which sort last).

    >>> _medians(np.array([[3.0, 1.0, 2.0], [4.0, np.nan, 2.0]]), np.array([3, 2])).tolist()
    [2.0, 3.0]
    """
    ordered = np.sort(values, axis=1)
    row = np.arange(len(ordered))
    middle: Floats = (ordered[row, (known - 1) // 2] + ordered[row, known // 2]) / 2
    return middle


def _above_median(values: Floats) -> float:
    """Return how far the last number is above the median of those before it, NaN aside.

    >>> _above_median(np.array([np.nan, 3.0, 1.0, 2.0, 9.0]))
    7.0
    """
    past = values[None, :-1]
    return float(values[-1] - _medians(past, (~np.isnan(past)).sum(axis=1))[0])


def _levels(sums: Floats, counts: Floats, dense: float) -> Floats:
    """Return the mean of each slot, smoothed, and shrunk towards the day's while its windows are few.

    Hours with trades in most windows and hours with few are told apart: nothing is smoothed across an opening
    or a close, and slots without trades are like those with few.
    """
    levels = np.full(len(sums), sums.sum() / counts.sum())
    busy = counts >= dense
    for group in (busy, ~busy):
        if not (group & (counts > 0)).any():
            continue
        own, windows = np.where(group, sums, 0.0), np.where(group, counts, 0.0)
        level = own.sum() / windows.sum()
        smooth, weight = _smoothed(own), _smoothed(windows)
        levels[group] = ((smooth + _SLOT_PRIOR * level) / (weight + _SLOT_PRIOR))[group]
    return levels


def _smoothed(slots: Floats) -> Floats:
    """Return each slot with its neighbours; the day is not a circle."""
    half = len(_NEIGHBOURS) // 2
    padded = np.pad(slots, half)
    total = np.zeros_like(slots)
    for offset, weight in enumerate(_NEIGHBOURS):
        total += weight * padded[offset : offset + len(slots)]
    return total / sum(_NEIGHBOURS)
