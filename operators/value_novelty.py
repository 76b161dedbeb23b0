"""``value_novelty``: a value that a series has not been near before.

The novelty of a value is its distance to the nearest value seen so far. It is taken of the value and of the
mean of the last ones, each over its own mean so far, and the larger of the two counts, in natural logarithms:
how many times the usual novelty it is. A value counts only if it is newer than all of the last ones were, so
that what has begun is told once. What is usual is remembered as some hundred values, of which the two nearest
make one when there is no room.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from operators.detector import BarDetector, Explanation, Logic, Scores, Segments, amount
from operators.scale import Scale
from tapewatch.records import PRICE_SCALE, Array, Floats

#: Values that are remembered of each series.
_KEPT = 512
#: Values before the first score.
_LEAST = 50
#: A series that never moved is taken to move by this share of its value.
_LEAST_MEAN = 1e-9
_READS = {"close": "price", "volume": "volume", "trades": "number of trades", "range": "range"}


class ValueNovelty(BarDetector):
    """Windows whose value is far from all that were before."""

    name: ClassVar[str] = "value_novelty"
    shaped_by: ClassVar[tuple[str, ...]] = ("width", "value", "mean_windows", "quiet_windows")
    scale: ClassVar[Scale] = Scale(
        lowest=-4, octaves=10, shape=0.0, spread=0.15, prior_peaks=40, warm_up=100,
        usual_threshold=4.0, prior_observations=200,
    )  # fmt: skip

    enabled: bool = False
    value: Literal["close", "volume", "trades", "range"] = "volume"
    mean_windows: int = Field(16, ge=2, le=200)
    quiet_windows: int = Field(200, ge=1, le=1000)

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic."""
        return _NoveltyLogic(self, resume)


def value_of(bars: Array, value: str) -> Floats:
    """Return a value of each bar, prices in decimals, shape ``(n,)``."""
    if value == "range":
        spans: Floats = (bars["high"] - bars["low"]) / PRICE_SCALE
        return spans
    values: Floats = bars[value] / (PRICE_SCALE if value == "close" else 1)
    return values


class Seen:
    """Values of one series, sorted, at most `_KEPT`: the two nearest make one when there is no room.

    Examples
    --------
    >>> seen = Seen()
    >>> [seen.distance(value, learn=True)[0] for value in (1.0, 5.0, 4.5, 1.0)]
    [0.0, 4.0, 0.5, 0.0]
    """

    def __init__(self, values: Floats | None = None) -> None:
        self.values = np.zeros(0) if values is None else values

    def distance(self, value: float, *, learn: bool) -> tuple[float, float]:
        """Return the distance to the nearest value, and that value; 0 if there is none."""
        place = int(self.values.searchsorted(value))
        near = self.values[max(place - 1, 0) : place + 1]
        nearest = value
        if len(near):
            nearest = float(near[0] if len(near) == 1 or value - near[0] <= near[1] - value else near[1])
        if learn and (nearest != value or not len(near)):
            self.values = np.insert(self.values, place, value)
            if len(self.values) > _KEPT:
                self.values = np.delete(self.values, 1 + int(np.diff(self.values[1:-1]).argmin()))
        return abs(value - nearest), nearest


class _Series:
    """What is known of one series; all sums are taken in the order of its values."""

    def __init__(self, settings: ValueNovelty, resume: dict[str, Any] | None = None) -> None:
        self._settings = settings
        self.seen, self.total, self.count = [Seen(), Seen()], [0.0, 0.0], 0
        self.last: list[float] = []
        self.scores: list[float] = []
        if resume is not None:
            self.seen = [Seen(_unpadded(values)) for values in resume["seen"]]
            self.total, self.count = resume["total"].tolist(), resume["count"]
            self.last, self.scores = (_unpadded(resume[name]).tolist() for name in ("last", "scores"))

    def snapshot(self) -> dict[str, Any]:
        return {
            "seen": tuple(_padded(seen.values, _KEPT + 1) for seen in self.seen),
            "total": np.array(self.total),
            "count": self.count,
            "last": _padded(self.last, self._settings.mean_windows),
            "scores": _padded(self.scores, self._settings.quiet_windows),
        }

    def score(self, value: float, *, learn: bool) -> tuple[float, float, float]:
        """Return score, nearest value seen and the share of the mean in the score."""
        last = [*self.last, value][-self._settings.mean_windows :]
        novelty, nearest = [], []
        for number, seen in enumerate((value, sum(last) / len(last))):
            distance, near = self.seen[number].distance(seen, learn=learn)
            usual = max(self.total[number] / max(self.count, 1), _LEAST_MEAN * abs(seen), 1e-300)
            novelty.append(min(distance / usual, 1e12))
            nearest.append(near)
            if learn:
                self.total[number] += distance
        score = float(np.log1p(max(novelty)))
        told = score if self.count >= _LEAST else np.nan
        if score <= max(self.scores, default=0.0):
            told = told * 0.0
        if learn:
            self.last, self.count = last, self.count + 1
            self.scores = [*self.scores, score][-self._settings.quiet_windows :]
        share = novelty[1] / max(novelty[0] + novelty[1], 1e-300)
        return told, nearest[0], share


def _padded(values: Floats | list[float], count: int) -> Floats:
    """Return values behind which there is room: a state is no larger later than it is at first."""
    held: Floats = np.full(count, np.nan)
    held[: len(values)] = values
    return held


def _unpadded(values: Floats) -> Floats:
    held: Floats = values[~np.isnan(values)]
    return held


class _NoveltyLogic:
    def __init__(self, settings: ValueNovelty, resume: dict[str, Any] | None) -> None:
        self._settings = settings
        saved = {} if resume is None else resume["series"]
        self._series = {row: _Series(settings, one) for row, one in saved.items()}

    def snapshot(self) -> dict[str, Any]:
        return {"series": {row: one.snapshot() for row, one in self._series.items()}}

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        values = value_of(np.asarray(segments.items), self._settings.value)
        told = np.zeros((3, len(values)))
        for row, first, last in zip(
            segments.rows.tolist(), segments.starts[:-1].tolist(), segments.starts[1:].tolist(), strict=True
        ):
            series = self._series.get(row)
            if series is None:
                series = _Series(self._settings)
                if learn:
                    self._series[row] = series
            for at in range(first, last):
                told[:, at] = series.score(float(values[at]), learn=learn)
        return Scores(told[0], None, {"value": values, "nearest": told[1], "of_mean": told[2]})

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        seen, near = (float(scores.details[name][index]) for name in ("value", "nearest"))
        share, what = float(scores.details["of_mean"][index]), _READS[self._settings.value]
        times = float(np.expm1(min(np.nan_to_num(scores.score[index]), 700.0)))
        return Explanation(
            observed=seen,
            expected=near,
            contributions={"novelty": 1.0 - share, "mean_novelty": share},
            reason=(
                f"{key} has a novelty of {amount(times)} times the usual: its {what} is {amount(seen)}, "
                f"the nearest so far was {amount(near)}"
            ),
        )
