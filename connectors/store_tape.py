"""The read side of what is stored of the tape itself: bars, and detectors' scores."""

from __future__ import annotations

from abc import ABC, abstractmethod

from connectors.store_questions import STEPS, Document, check_points
from tapewatch.errors import UserError
from tapewatch.settings import WIDTHS


class StoredTape(ABC):
    """Bars and scores, a part of `connectors.store.Store`."""

    @abstractmethod
    def bars(
        self, key: str, width: str, start: int | None = None, end: int | None = None, limit: int = 1000
    ) -> list[Document]:
        """Return the last ``limit`` bars that start in ``[start, end)`` ns, in order of time."""

    @abstractmethod
    def bar_counts(self, key: str, start: int | None = None, end: int | None = None) -> dict[str, int]:
        """Return how many bars of each width a key has that start in ``[start, end)`` ns."""

    @abstractmethod
    def coarser_bars(
        self, key: str, width: str, step_ns: int, start: int | None, end: int | None, limit: int
    ) -> list[Document]:
        """Return bars of ``width`` rolled up to steps of ``step_ns``, at most ``limit``, oldest first.

        Datasets stay apart; ``instrument_id`` is that of the step's last bar, ``vwap`` is rounded to 1e-9.
        """

    def chart(
        self, key: str, start: int | None = None, end: int | None = None, points: int = 1000
    ) -> list[Document]:
        """Return at most ``points`` bars of a key that span ``[start, end)`` ns, as fine as that allows.

        Stored bars if some width has few enough, else the coarsest ones rolled up.
        """
        check_points(points)
        counts = self.bar_counts(key, start, end)
        for width in sorted(counts, key=lambda name: WIDTHS[name]):
            if counts[width] <= points:
                return self.bars(key, width, start, end, limit=points)
        if not counts:
            return []
        coarsest = max(counts, key=lambda name: WIDTHS[name])
        width_ns = WIDTHS[coarsest]
        for step in STEPS:
            if step % width_ns == 0 and step * points >= counts[coarsest] * width_ns:
                rows = self.coarser_bars(key, coarsest, step, start, end, points + 1)
                if len(rows) <= points:
                    return rows
        raise UserError(f"the bars of {key} span too much for {points} points; choose a shorter range")

    def scores(
        self,
        key: str,
        detector: str,
        start: int | None = None,
        end: int | None = None,
        points: int = 1000,
    ) -> list[Document]:
        """Return scores with their thresholds that start in ``[start, end)`` ns, in order of time.

        If there are more than ``points``, only the largest of each step, of which there are at most so many.
        """
        check_points(points)
        count, first, last = self.score_extent(key, detector, start, end)
        if count <= points:
            return self.score_rows(key, detector, start, end, None)
        step = next((step for step in STEPS if (last - first) // step + 2 <= points), STEPS[-1])
        return self.score_rows(key, detector, start, end, step)

    @abstractmethod
    def score_extent(
        self, key: str, detector: str, start: int | None, end: int | None
    ) -> tuple[int, int, int]:
        """Return how many scores there are, and the first and last ``ts_start``, ns cut to milliseconds."""

    @abstractmethod
    def score_rows(
        self, key: str, detector: str, start: int | None, end: int | None, step_ns: int | None
    ) -> list[Document]:
        """Return all scores in order of time; with ``step_ns`` the largest of each step."""

    @abstractmethod
    def series(self) -> list[Document]:
        """Return each series of bars: key, width, dataset, instrument_id, ``ts_first``, ``ts_last`` (ns)."""

    def bar_keys(self) -> list[str]:
        """Return the keys that have bars, in order."""
        return sorted({row["key"] for row in self.series()})
