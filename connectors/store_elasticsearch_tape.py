"""Bars and scores in Elasticsearch."""

from __future__ import annotations

from connectors.elasticsearch_queries import (
    COARSER_AGGREGATIONS,
    LATEST,
    MS,
    Query,
    buckets_of,
    coarser_bar,
    document_of,
    series_filter,
    steps_of,
    total_of,
)
from connectors.elasticsearch_search import Searching
from connectors.store_questions import Document
from connectors.store_tape import StoredTape
from tapewatch.documents import BAR_FIELDS, SCORE_FIELDS


class ElasticsearchTape(StoredTape):
    """The part of the store in Elasticsearch that tells of bars and scores."""

    _searching: Searching

    def bars(
        self, key: str, width: str, start: int | None = None, end: int | None = None, limit: int = 1000
    ) -> list[Document]:
        """Return the last ``limit`` bars that start in ``[start, end)`` ns, in order of time."""
        sort = [{"ts_start": "desc"}, {"dataset": "desc"}, {"instrument_id": "desc"}]
        query = series_filter(start, end, key=key, width=width)
        return self._searching.hits("bars", query, sort, BAR_FIELDS, limit)[::-1]

    def bar_counts(self, key: str, start: int | None = None, end: int | None = None) -> dict[str, int]:
        """Return how many bars of each width a key has that start in ``[start, end)`` ns."""
        widths = {"widths": {"terms": {"field": "width", "size": 100}}}
        answer = self._searching.search("bars", series_filter(start, end, key=key), size=0, aggs=widths)
        return {bucket["key"]: bucket["doc_count"] for bucket in buckets_of(answer, "widths")}

    def coarser_bars(
        self, key: str, width: str, step_ns: int, start: int | None, end: int | None, limit: int
    ) -> list[Document]:
        """Return bars rolled up to steps; see `Store`."""
        sources = [steps_of("ts_start", step_ns), {"dataset": {"terms": {"field": "dataset"}}}]
        query = series_filter(start, end, key=key, width=width)
        return [
            coarser_bar(bucket, key, step_ns)
            for bucket in self._searching.composite("bars", query, sources, COARSER_AGGREGATIONS, limit)
        ]

    def score_extent(
        self, key: str, detector: str, start: int | None, end: int | None
    ) -> tuple[int, int, int]:
        """Return how many scores there are, and the first and last ``ts_start`` in whole milliseconds."""
        query = series_filter(start, end, key=key, detector=detector)
        ends = {"first": {"min": {"field": "ts_start"}}, "last": {"max": {"field": "ts_start"}}}
        answer = self._searching.search("scores", query, size=0, aggs=ends, track_total_hits=True)
        found = answer.get("aggregations", {})
        first, last = (int(found.get(name, {}).get("value") or 0) * MS for name in ends)
        return total_of(answer), first, last

    def score_rows(
        self, key: str, detector: str, start: int | None, end: int | None, step_ns: int | None
    ) -> list[Document]:
        """Return all scores, or the largest of each step; see `Store`."""
        query = series_filter(start, end, key=key, detector=detector)
        sort: list[Query] = [
            {"ts_start": "asc"}, {"ts_end": "asc"}, {"instrument_id": "asc"}, {"flow": "asc"}
        ]  # fmt: skip
        if step_ns is None:
            return self._searching.hits("scores", query, sort, SCORE_FIELDS, LATEST)
        largest = {"top_hits": {"size": 1, "sort": [{"score": "desc"}, *sort]}}
        return [
            document_of(bucket["largest"]["hits"]["hits"][0]["_source"], SCORE_FIELDS)
            for bucket in self._searching.composite(
                "scores", query, [steps_of("ts_start", step_ns)], {"largest": largest}
            )
        ]

    def series(self) -> list[Document]:
        """Return each series of bars: key, width, dataset, instrument_id, ``ts_first``, ``ts_last`` (ns)."""
        names = ("key", "width", "dataset", "instrument_id")
        # Bars begin and end at whole seconds, which the milliseconds of an aggregation can tell.
        ends = {"first": {"min": {"field": "ts_start"}}, "last": {"max": {"field": "ts_end"}}}
        return [
            {
                **{name: bucket["key"][name] for name in names},
                "ts_first": int(bucket["first"]["value"]) * MS,
                "ts_last": int(bucket["last"]["value"]) * MS,
            }
            for bucket in self._searching.composite(
                "bars", [], [{n: {"terms": {"field": n}}} for n in names], ends
            )
        ]

    def bar_keys(self) -> list[str]:
        """Return the keys that have bars, in order, at a third of what the series cost."""
        keys = [{"key": {"terms": {"field": "key"}}}]
        return sorted(bucket["key"]["key"] for bucket in self._searching.composite("bars", [], keys, {}))
