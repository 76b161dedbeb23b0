"""``feed_integrity``: whether what arrives is all there is, in its order, and possible.

Two parts: `operators.silence` holds each pause against the instrument's own rhythm; `operators.faults` tells
of what a record itself, its number or its source shows to be wrong.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from operators.detector import Detector, Logic
from operators.faults import Faults
from operators.scale import Scale
from operators.silence import SilenceLogic
from tapewatch.records import MINUTE
from tapewatch.settings import from_json


class FeedIntegrity(Detector):
    """Silences, lost and unusable records, time that runs backwards, impossible books."""

    name: ClassVar[str] = "feed_integrity"
    reads: ClassVar[Literal["bars", "records", "severities"]] = "records"
    scale: ClassVar[Scale] = Scale(
        lowest=-1,
        octaves=12,
        shape=0.0,
        spread=0.15,
        # Gaps have much the same tail everywhere: it is better known than from a day's few peaks.
        prior_peaks=300,
        warm_up=60,
        usual_threshold=12.0,
        prior_observations=400,
        restraint=0.5,
    )
    unit: ClassVar[str] = "silences"

    #: Longest pause allowed, in seconds, by symbol, ``"*"`` for all others.
    limits: Annotated[dict[str, Annotated[float, Field(gt=0)]], BeforeValidator(from_json)] = Field(
        default_factory=dict
    )
    faults: bool = True
    backwards_ms: float = Field(1000.0, gt=0)
    unusable_records: int = Field(10, ge=1)

    @property
    def parts(self) -> tuple[Detector, ...]:
        """The silences, and the faults."""
        faults = Faults(backwards_ms=self.backwards_ms, unusable_records=self.unusable_records)
        return (self, faults) if self.faults else (self,)

    @property
    def gap_ns(self) -> int:
        """Silences of one instrument within a minute of each other are one episode."""
        return MINUTE

    def build(self, resume: dict[str, Any] | None) -> Logic:
        """Return the logic of the silences."""
        return SilenceLogic(self.limits, resume)
