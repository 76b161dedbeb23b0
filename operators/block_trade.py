"""``block_trade``: one record's size against the instrument's own distribution of sizes.

The score is the size itself, in the instrument's units. Sizes have fat tails, so what is unusual is left to
the calibration: empirical body, generalised Pareto tail, per instrument. What is as large as the opening and
closing prints of the days before (`operators.crosses`), and comes where these came, has no score. On its
first day an instrument has none to be held against: at the official opening and close of its session
(`operators.official_hours`) only what is severe is told.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import BeforeValidator, Field, field_validator

from operators.crosses import Crosses
from operators.detector import Detector, Explanation, Logic, Scores, Segments, amount
from operators.official_hours import US_STOCKS, Hours, OfficialHours
from operators.scale import Scale
from operators.thin_trading import LEAST_AT_FIRST
from tapewatch.records import SECOND, Floats, Int64s
from tapewatch.settings import from_json

#: A print is like those of the days before from this part of the largest of them up to this many times it.
_ALIKE = 1 / 8, 2.0


class BlockTrade(Detector):
    """Single trades far larger than the instrument's trades are."""

    name: ClassVar[str] = "block_trade"
    reads: ClassVar[Literal["bars", "records"]] = "records"
    scale: ClassVar[Scale] = Scale(
        lowest=0,
        octaves=32,
        shape=0.45,
        spread=0.5,
        prior_peaks=400,
        warm_up=400,
        heaviest=0.6,
        restraint=0.25,
    )

    #: Patterns of datasets by the official hours of these.
    sessions: Annotated[dict[str, list[str]], BeforeValidator(from_json)] = Field(
        default_factory=lambda: {"09:30-16:00 America/New_York": list(US_STOCKS)}
    )

    @field_validator("sessions")
    @classmethod
    def _are_hours(cls, sessions: dict[str, list[str]]) -> dict[str, list[str]]:
        for text in sessions:
            Hours.parsed(text)
        return sessions

    @property
    def gap_ns(self) -> int:
        """Blocks of one instrument within ten seconds are one episode."""
        return 10 * SECOND

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic."""
        return _BlockTradeLogic(self.sessions, resume)


class _BlockTradeLogic:
    """What opening and closing prints were like; all else is the calibration's."""

    def __init__(self, sessions: dict[str, list[str]], resume: dict[str, Any] | None) -> None:
        self._crosses = Crosses(None if resume is None else resume["crosses"])
        self._hours = OfficialHours(sessions, None if resume is None else resume["hours"])

    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        reached = segments.times if segments.reached is None else segments.reached
        sizes = np.ascontiguousarray(segments.items["size"])
        usual, begin = self._crosses.usual(segments.rows, segments.starts, reached, sizes, learn=learn)
        score = sizes.astype(np.float64)
        least, most = _ALIKE
        for i in np.flatnonzero(usual).tolist():
            stretch = score[begin[i] : begin[i + 1] if i + 1 < len(begin) else len(score)]
            stretch[(stretch > least * usual[i]) & (stretch <= most * usual[i])] = np.nan
        return Scores(score, None, {}, told_from=self._told_from(segments, begin, reached))

    def _told_from(self, segments: Segments, begin: Int64s, reached: Int64s) -> Floats | None:
        edges = self._hours.at_first_edges(segments, begin, reached)
        if not len(edges):
            return None
        least = np.zeros(len(reached))
        ends = np.append(begin, len(reached))
        for i in edges.tolist():
            least[ends[i] : ends[i + 1]] = LEAST_AT_FIRST
        return least

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        size, price = int(item["size"]), int(item["price"]) / 1e9
        side = {b"B": "bought ", b"A": "sold "}.get(bytes(item["side"]), "")
        return Explanation(
            observed=float(size),
            expected=threshold,
            contributions={"size": 1.0},
            reason=(
                f"A single trade of {amount(size)} {key} {side}at {price:g}, its size {size / threshold:.3g} "
                f"times the {amount(threshold)} that this instrument's trades rarely reach"
            ),
        )

    def snapshot(self) -> dict[str, Any]:
        return {"crosses": self._crosses.snapshot(), "hours": self._hours.snapshot()}
