"""``block_trade``: one record's size against the instrument's own distribution of sizes.

The score is the size itself, in the instrument's units. Sizes have fat tails, so what is unusual is left to
the calibration: empirical body, generalised Pareto tail, per instrument.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from operators.detector import Detector, Explanation, Logic, Scores, Segments, amount
from operators.scale import Scale
from tapewatch.records import SECOND


class BlockTrade(Detector):
    """Single trades far larger than the instrument's trades are."""

    name: ClassVar[str] = "block_trade"
    reads: ClassVar[Literal["bars", "records"]] = "records"
    scale: ClassVar[Scale] = Scale(
        lowest=0,
        octaves=32,
        shape=0.45,
        spread=0.5,
        prior_peaks=200,
        warm_up=400,
        heaviest=0.6,
        learned=3.0,
    )

    @property
    def gap_ns(self) -> int:
        """Blocks of one instrument within ten seconds are one episode."""
        return 10 * SECOND

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic; it needs no state beside the calibration's."""
        return _BlockTradeLogic()


class _BlockTradeLogic:
    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        return Scores(segments.items["size"].astype(np.float64), None, {})

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
        return {}
