"""What all detectors of a width judge bars by, computed once for all of them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from operators.bar_statistics import BarStatistics, Told
from operators.detector import Segments
from operators.features import BarFeatures, Features
from tapewatch.settings import WIDTHS, Width


class SharedFeatures:
    """Features of the bars of a shard, and statistics of them where they are wanted.

    Parameters
    ----------
    widths
        Widths of which features are wanted.
    statistics
        Those of which what `BarStatistics` makes of the features is wanted too.
    resume
        A `snapshot` to go on from.
    """

    def __init__(
        self,
        widths: Collection[Width],
        statistics: Collection[Width] = (),
        resume: dict[str, Any] | None = None,
    ) -> None:
        saved, told = ((resume or {}).get(name, {}) for name in ("features", "statistics"))
        self._features = {w: BarFeatures(WIDTHS[w], saved.get(w)) for w in WIDTHS if w in widths}
        self._statistics = {w: BarStatistics(WIDTHS[w], told.get(w)) for w in WIDTHS if w in statistics}
        #: The bars last told of, by width, and what was told: the next detector is given the same.
        self._last: dict[str, tuple[Any, Features, Told | None]] = {}

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "features": {width: features.snapshot() for width, features in self._features.items()},
            "statistics": {width: some.snapshot() for width, some in self._statistics.items()},
        }

    def added(self, segments: Segments, width: Width, *, learn: bool) -> Segments:
        """Return segments with what is wanted of their bars, which are learned when they are first shown."""
        bars, features, told = self._last.get(width, (None, None, None))
        if bars is not segments.items or features is None:
            features = self._features[width].update(segments, learn=learn)
            told = self.statistics(segments, features, width, learn=learn)
            self._last[width] = (segments.items, features, told)
        return replace(segments, features=features, statistics=told)

    def statistics(self, segments: Segments, features: Features, width: Width, *, learn: bool) -> Told | None:
        """Return the statistics of bars with these features; None if nobody wants them."""
        some = self._statistics.get(width)
        return None if some is None else some.update(segments, features.values, learn=learn)
