"""Bars and scores in the embedded store."""

from __future__ import annotations

from abc import abstractmethod

from connectors.sqlite_queries import BAR, COARSER, SCORE, SERIES
from connectors.store_questions import Document, step_name
from connectors.store_tape import StoredTape

_FIRST, _LAST = -(2**63), 2**63 - 1


class SqliteTape(StoredTape):
    """The part of the embedded store that tells of bars and scores."""

    @abstractmethod
    def _rows(self, query: str, *values: object, **named: object) -> list[Document]:
        """Return the rows of a query, by the names of their columns."""

    def bars(
        self, key: str, width: str, start: int | None = None, end: int | None = None, limit: int = 1000
    ) -> list[Document]:
        """Return the last ``limit`` bars that start in ``[start, end)`` ns, in order of time."""
        rows = self._rows(
            f"SELECT {BAR} FROM bars WHERE key = ? AND width = ? AND ts_start >= ? AND ts_start < ? "  # noqa: S608
            "ORDER BY ts_start DESC, dataset DESC, instrument_id DESC LIMIT ?",
            key,
            width,
            _FIRST if start is None else start,
            _LAST if end is None else end,
            limit,
        )
        for row in rows:
            row["final"] = bool(row["final"])
        return rows[::-1]

    def bar_counts(self, key: str, start: int | None = None, end: int | None = None) -> dict[str, int]:
        """Return how many bars of each width a key has that start in ``[start, end)`` ns."""
        rows = self._rows(
            "SELECT width, count(*) AS bars FROM bars WHERE key = ? AND ts_start >= ? AND ts_start < ? "
            "GROUP BY width",
            key,
            _FIRST if start is None else start,
            _LAST if end is None else end,
        )
        return {row["width"]: row["bars"] for row in rows}

    def coarser_bars(
        self, key: str, width: str, step_ns: int, start: int | None, end: int | None, limit: int
    ) -> list[Document]:
        """Return bars rolled up to steps; see `Store`."""
        rows = self._rows(
            COARSER,
            key=key,
            width=width,
            step=step_ns,
            name=step_name(step_ns),
            start=_FIRST if start is None else start,
            end=_LAST if end is None else end,
            limit=limit,
        )
        for row in rows:
            row["final"] = bool(row["final"])
            row["vwap"] = None if row["vwap"] is None else round(row["vwap"], 9)
        return rows

    def score_extent(
        self, key: str, detector: str, start: int | None, end: int | None
    ) -> tuple[int, int, int]:
        """Return how many scores there are, and the first and last ``ts_start`` in whole milliseconds."""
        (row,) = self._rows(
            "SELECT count(*) AS scores, min(ts_start) AS first, max(ts_start) AS last FROM scores "
            "WHERE key = ? AND detector = ? AND ts_start >= ? AND ts_start < ?",
            key,
            detector,
            _FIRST if start is None else start,
            _LAST if end is None else end,
        )
        ms = 1_000_000
        return row["scores"], (row["first"] or 0) // ms * ms, (row["last"] or 0) // ms * ms

    def score_rows(
        self, key: str, detector: str, start: int | None, end: int | None, step_ns: int | None
    ) -> list[Document]:
        """Return all scores, or the largest of each step; see `Store`."""
        order = "ts_start, ts_end, instrument_id, flow"
        place = (
            "1"
            if step_ns is None
            else (f"row_number() OVER (PARTITION BY ts_start / {int(step_ns)} ORDER BY score DESC, {order})")
        )
        return self._rows(
            f"SELECT {SCORE} FROM (SELECT *, {place} AS place FROM scores "  # noqa: S608
            "WHERE key = ? AND detector = ? AND ts_start >= ? AND ts_start < ?) "
            f"WHERE place = 1 ORDER BY {order}",
            key,
            detector,
            _FIRST if start is None else start,
            _LAST if end is None else end,
        )

    def series(self) -> list[Document]:
        """Return each series of bars: key, width, dataset, instrument_id, ``ts_first``, ``ts_last`` (ns)."""
        return self._rows(SERIES)
