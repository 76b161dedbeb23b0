"""``price_jump``: a window's price change against the instrument's current volatility, and bad ticks.

The score of a window is the absolute change from the close before to its own, divided by the square root
of the windows from one to the other and by the mean of the same quantity over the last windows, as a standard
deviation (E|x| = sigma * sqrt(2 / pi) for a normal x; the mean absolute change is less shaken by one jump
than the root mean square). After a pause that is long for the instrument nothing is compared. Changes are
differences of prices, not logarithms, so that negative prices are prices like others. Prints that are far off
and back at once are the other part, `operators.bad_ticks`.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import BeforeValidator, Field

from operators.bad_ticks import BadTicks, moved
from operators.detector import (
    BarDetector,
    Detector,
    Explanation,
    Logic,
    Scores,
    Segments,
    grown,
    limits,
    within_percent,
)
from operators.recent import Joined
from operators.scale import Scale
from tapewatch.records import PRICE_SCALE
from tapewatch.settings import WIDTHS, from_json

Percents = Annotated[dict[str, Annotated[float, Field(gt=0)]], BeforeValidator(from_json)]

_MEAN_TO_SIGMA = 1.2533141373155001
#: Pauses up to this many times the usual one, in windows, are compared across; of what is usual, no pause
#: counts for more than the longest.
_PAUSES, _LONGEST_PAUSE = 3, 30
#: Volatility is at least a step of the price, and this part of it.
_FINEST = 5e-5
_NO_STEP = 2**62
_NEVER = -(2**62)
#: A change beyond this, in units of 1e-9, counts as this.
_LARGEST_CHANGE = 2**50


class PriceJump(BarDetector):
    """Windows whose price moves far more than it does these minutes, and prints far off the others."""

    name: ClassVar[str] = "price_jump"
    shaped_by: ClassVar[tuple[str, ...]] = ("width", "volatility_windows")
    scale: ClassVar[Scale] = Scale(
        lowest=-4,
        octaves=14,
        shape=0.1,
        spread=0.25,
        prior_peaks=20,
        warm_up=45,
        usual_threshold=4.5,
        prior_observations=150,
        restraint=0.5,
    )
    share: ClassVar[float] = 0.7

    volatility_windows: int = Field(30, ge=5, le=500)
    limits: Percents = Field(default_factory=dict)
    bad_ticks: bool = True
    bad_tick_limits: Percents = Field(default_factory=dict)

    @property
    def parts(self) -> tuple[Detector, ...]:
        """The windows, and the prints."""
        return (self, BadTicks(limits=self.bad_tick_limits)) if self.bad_ticks else (self,)

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic."""
        return _PriceJumpLogic(self, resume)


class _PriceJumpLogic:
    """Arrays of one row per instrument: the last window, and the last windows' changes and pauses."""

    def __init__(self, settings: PriceJump, resume: dict[str, Any] | None) -> None:
        self._limits = settings.limits
        self._width = WIDTHS[settings.width]
        self._length = settings.volatility_windows
        self._least = max(5, settings.volatility_windows // 3)
        #: Start and close of the last window.
        self._last = np.zeros((0, 2), np.int64)
        #: Changes per square root of a window, in units of 1e-9, -1 where nothing was compared.
        self._changes = np.zeros((0, self._length), np.int64)
        #: Windows from one to the next, 0 where there was none.
        self._pauses = np.zeros((0, self._length), np.int64)
        #: Smallest change of the price so far.
        self._steps = np.zeros(0, np.int64)
        if resume is not None:
            self._last, self._changes, self._pauses, self._steps = (
                resume[name].copy() for name in ("last", "changes", "pauses", "steps")
            )

    def snapshot(self) -> dict[str, Any]:
        return {
            "last": self._last.copy(), "changes": self._changes.copy(), "pauses": self._pauses.copy(),
            "steps": self._steps.copy(),
        }  # fmt: skip

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        bars, rows, starts = segments.items, segments.rows, segments.starts
        self._grow(int(rows.max(initial=-1)) + 1)
        one, many = Joined(starts, 1), Joined(starts, self._length)
        close, start = np.ascontiguousarray(bars["close"]), np.ascontiguousarray(bars["ts_start"])
        previous = one.pick(one.join(self._last[rows, 1:], close), 1)
        elapsed = (start - one.pick(one.join(self._last[rows, :1], start), 1)) // self._width
        pause = np.clip(elapsed, 1, _LONGEST_PAUSE)
        pauses = many.join(self._pauses[rows], pause)
        usual, known = many.sums(pauses), many.sums((pauses > 0).astype(np.int64))
        compared = (known > 0) & (elapsed * known <= _PAUSES * usual)
        if segments.after_break is not None:
            compared &= ~segments.after_break
        size = np.minimum(np.abs(close - previous), _LARGEST_CHANGE)
        root = np.sqrt(pause.astype(np.float64))
        change = np.where(compared, np.rint(size / root).astype(np.int64), -1)
        changes = many.join(self._changes[rows], change)
        known = many.sums((changes >= 0).astype(np.int64))
        mean = many.sums(np.maximum(changes, 0)) / np.maximum(known, 1)
        steps = one.join(self._steps[rows, None], np.where(compared & (size > 0), size, _NO_STEP))
        for i, (begin, end) in enumerate(pairwise(starts.tolist())):
            np.minimum.accumulate(steps[begin + i : end + i + 1], out=steps[begin + i : end + i + 1])
        step = one.pick(steps, 1)
        finest = np.maximum(np.where(step < _NO_STEP, step, 0), _FINEST * np.abs(previous) + 1.0)
        sigma = np.maximum(_MEAN_TO_SIGMA * mean, finest)
        score = np.where(compared, size / (sigma * root), 0.0)
        score[known < self._least] = np.nan
        forced = None
        if self._limits:
            limit = limits(self._limits, segments.names)[segments.row_of]
            forced = compared & (size > within_percent(limit, previous))
        if learn:
            last = starts[1:] - 1
            self._last[rows, 0], self._last[rows, 1] = start[last], close[last]
            self._changes[rows], self._pauses[rows] = many.last(changes), many.last(pauses)
            self._steps[rows] = one.last(steps)[:, 0]
        return Scores(score, forced, {"previous": previous, "usual": sigma * root})

    def _grow(self, rows: int) -> None:
        self._last, self._steps = grown(self._last, rows, _NEVER), grown(self._steps, rows, _NO_STEP)
        self._changes, self._pauses = grown(self._changes, rows, -1), grown(self._pauses, rows)

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        close, opened = int(item["close"]), int(item["open"])
        previous = int(scores.details["previous"][index])
        usual = float(scores.details["usual"][index])
        total = close - previous
        within = (close - opened) / total
        moves = "mostly within the window" if within >= 0.5 else "mostly between two windows"
        direction = "up" if total > 0 else "down"
        reason = (
            f"{key} moved {direction} {moved(close, previous)} to {close / PRICE_SCALE:g}, "
            f"{abs(total) / usual:.3g} times its current volatility, {moves}"
        )
        limit = self._limits.get(key, self._limits.get("*"))
        if limit is not None and abs(total) > limit / 100 * abs(previous):
            reason += f", and over the limit of {limit:g} %"
        return Explanation(
            observed=close / PRICE_SCALE,
            expected=previous / PRICE_SCALE,
            contributions={"within_window": within, "between_windows": 1.0 - within},
            reason=reason,
        )
