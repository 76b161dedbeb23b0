"""The read side of the results in Elasticsearch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Unpack

from connectors.elasticsearch_amounts import amounts_by, amounts_in
from connectors.elasticsearch_queries import (
    COUNTER_FIELDS,
    LATEST,
    MS,
    PAGE,
    PROFILE_FIELDS,
    REVIEW_FIELDS,
    SORT,
    Query,
    buckets_of,
    filters,
    ns_of,
    range_of,
    steps_of,
)
from connectors.elasticsearch_search import Searching
from connectors.sqlite_schema import TABLES
from connectors.store import Store
from connectors.store_elasticsearch_tape import ElasticsearchTape
from connectors.store_judges import judge_of
from connectors.store_questions import (
    ORDERS,
    SEVERITY_BINS,
    TIME_OF,
    Document,
    SeverityOf,
    Wanted,
    WantedReviews,
    check_group,
    check_range,
    check_step,
    of_incidents,
    place_of,
    review_place_of,
    without_empty_payments,
)
from tapewatch.documents import (
    ANOMALY_FIELDS,
    JUDGE_FIELDS,
    PAYMENT_FIELDS,
    PublishedJudge,
    rfc3339,
)
from tapewatch.errors import UserError
from tapewatch.settings_elasticsearch import ElasticsearchSettings


class ElasticsearchStore(ElasticsearchTape, Store):
    """The results in Elasticsearch, as old as its last refresh: a second at most.

    Parameters
    ----------
    settings
        The section ``sinks.elasticsearch``.
    remember
        Keep answers until `look_again` finds that something has changed.

    Raises
    ------
    UserError
        If the server does not answer or does not let us in; from any method, if it refuses.
    """

    def __init__(self, settings: ElasticsearchSettings, *, remember: bool = False) -> None:
        self.place = f"{settings.url}/{settings.index_prefix}-*"
        self._searching = Searching(settings, remember=remember)

    def anomalies(
        self, *, limit: int = 100, after: str | None = None, order: str = "newest", **wanted: Unpack[Wanted]
    ) -> list[Document]:
        """Return anomalies in an order; see `Store`."""
        if order not in ORDERS:
            raise UserError(f"`order` must be one of {', '.join(ORDERS)}, was {order!r}")
        behind: list[Any] | None = None
        if after is not None:
            place = place_of(after)
            behind = [rfc3339(place.ts_event), place.id]
            if order == "worst":
                # What has no severity comes last.
                behind.insert(0, "-Infinity" if place.severity is None else place.severity)
        fields = (*ANOMALY_FIELDS, *PAYMENT_FIELDS)
        query = self._filters(wanted)
        return without_empty_payments(
            self._searching.hits("anomalies", query, SORT[order], fields, limit, behind)
        )

    def amounts(self, group: str, limit: int = 30, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return what the transactions with anomalies come to; see `Store`."""
        check_group(group)
        query = [*self._filters(wanted), {"exists": {"field": "transaction_id"}}]
        answer = self._searching.search("anomalies", query, size=0, aggs={"amounts": amounts_by(group)})
        return amounts_in(answer, "amounts")[:limit]

    def _filters(self, wanted: Wanted) -> list[Query]:
        query = filters(wanted)
        if (reviewed := wanted.get("reviewed")) is not None:
            # There are no joins; people do not review more than a query can name.
            sources = [{"anomaly_id": {"terms": {"field": "anomaly_id"}}}]
            found = self._searching.composite("reviews", [], sources, {})
            terms: Query = {"terms": {"id": [bucket["key"]["anomaly_id"] for bucket in found]}}
            query.append(terms if reviewed else {"bool": {"must_not": [terms]}})
        return query

    def heads(self, names: Sequence[str], order: str = "worst", **wanted: Unpack[Wanted]) -> list[Document]:
        """Return the first anomaly of each of these incidents; see `Store`."""
        if not names:
            return []
        first = {"top_hits": {"size": 1, "sort": SORT[order], "_source": ["id"]}}
        named = {"terms": {"field": "detector", "size": 1000, "order": {"_key": "asc"}}}
        found = {
            "terms": {"field": "incident", "size": len(names), "order": {"_key": "asc"}},
            "aggs": {"first": first, "detectors": named},
        }
        query = self._filters(of_incidents(wanted, names))
        answer = self._searching.search("anomalies", query, size=0, aggs={"incidents": found})
        return [
            {
                "incident": bucket["key"],
                "id": bucket["first"]["hits"]["hits"][0]["_source"]["id"],
                "anomalies": bucket["doc_count"],
                "detectors": [named["key"] for named in buckets_of({"aggregations": bucket}, "detectors")],
            }
            for bucket in buckets_of(answer, "incidents")
        ]

    def lanes(
        self, start: int, end: int, step_ns: int, *, min_severity: float = 0.0, limit: int = 30
    ) -> list[Document]:
        """Return the worst anomaly of each key and step; see `Store`."""
        check_step(start, end, step_ns)
        query = filters({"start": start, "end": end, "min_severity": min_severity})
        keys = [bucket["key"] for bucket in self._worst_keys(query, limit)]
        worst = {
            "top_hits": {"size": 1, "sort": SORT["worst"], "_source": ["severity", "detector", "reason"]}
        }
        sources = [{"key": {"terms": {"field": "key"}}}, steps_of("ts_event", step_ns)]
        rows = [
            {
                "key": bucket["key"]["key"],
                "ts_start": bucket["key"]["step"] * MS,
                **bucket["worst"]["hits"]["hits"][0]["_source"],
                "anomalies": bucket["doc_count"],
            }
            for bucket in self._searching.composite(
                "anomalies", [*query, {"terms": {"key": keys}}], sources, {"worst": worst}
            )
        ]
        rank = {key: number for number, key in enumerate(keys)}
        return sorted(rows, key=lambda row: (rank[row["key"]], row["ts_start"]))

    def _worst_keys(self, query: Sequence[Query], limit: int) -> list[Query]:
        # A key among the worst of all is among the worst of the day of its worst anomaly, so what each
        # day's index says of its own worst is enough.
        order = [{"worst": "desc"}, {"_key": "asc"}]
        keys = {
            "terms": {"field": "key", "size": max(limit, 1), "order": order},
            "aggs": {"worst": {"max": {"field": "severity"}}},
        }
        answer = self._searching.search("anomalies", query, size=0, aggs={"keys": keys})
        return buckets_of(answer, "keys")[:limit]

    def histogram(self, step_ns: int, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return how many anomalies each detector has in each step; see `Store`."""
        check_range(step_ns, wanted)
        sources = [steps_of("ts_event", step_ns), {"detector": {"terms": {"field": "detector"}}}]
        worst = {"worst": {"max": {"field": "severity"}}}
        return [
            {
                "ts_start": bucket["key"]["step"] * MS,
                "detector": bucket["key"]["detector"],
                "anomalies": bucket["doc_count"],
                "max_severity": bucket["worst"]["value"],
            }
            for bucket in self._searching.composite("anomalies", self._filters(wanted), sources, worst)
        ]

    def top_keys(self, limit: int = 10, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return the keys with the worst anomalies; see `Store`."""
        query = [*self._filters(wanted), {"exists": {"field": "severity"}}]
        worst = {bucket["key"]: bucket["worst"]["value"] for bucket in self._worst_keys(query, limit)}
        # How many they are only all days together know.
        counted = {"terms": {"field": "key", "size": max(len(worst), 1)}}
        answer = self._searching.search(
            "anomalies", [*query, {"terms": {"key": list(worst)}}], size=0, aggs={"keys": counted}
        )
        counts = {bucket["key"]: bucket["doc_count"] for bucket in buckets_of(answer, "keys")}
        return [
            {"key": key, "anomalies": counts.get(key, 0), "max_severity": severity}
            for key, severity in worst.items()
        ]

    def by_detector(self) -> list[Document]:
        """Return how many anomalies each detector has; see `Store`."""
        last = {"top_hits": {"size": 1, "sort": SORT["newest"], "_source": ["ts_event"]}}
        aggregations = {"worst": {"max": {"field": "severity"}}, "last": last}
        rows = [
            {
                "detector": bucket["key"]["detector"],
                "anomalies": bucket["doc_count"],
                "max_severity": bucket["worst"]["value"],
                "ts_last": ns_of(bucket["last"]["hits"]["hits"][0]["_source"]["ts_event"]),
            }
            for bucket in self._searching.composite(
                "anomalies", [], [{"detector": {"terms": {"field": "detector"}}}], aggregations
            )
        ]
        return sorted(rows, key=lambda row: (-row["anomalies"], row["detector"]))

    def severities(self, of: SeverityOf, step_ns: int, start: int, end: int) -> list[Document]:
        """Return how the severities of each detector are spread over time; see `Store`."""
        check_step(start, end, step_ns)
        width = 100 / SEVERITY_BINS
        sources = [
            steps_of(TIME_OF[of], step_ns),
            {"detector": {"terms": {"field": "detector"}}},
            {"bin": {"histogram": {"field": "severity", "interval": width}}},
        ]
        counts: dict[tuple[int, str, int], int] = {}
        for bucket in self._searching.composite(of, range_of(TIME_OF[of], start, end), sources, {}):
            key = bucket["key"]
            number = min(round(key["bin"] / width), SEVERITY_BINS - 1)
            place = (key["step"] * MS, key["detector"], number)
            counts[place] = counts.get(place, 0) + bucket["doc_count"]
        names = ("ts_start", "detector", "bin")
        return [
            {**dict(zip(names, place, strict=True)), "count": count}
            for place, count in sorted(counts.items())
        ]

    def profiles(
        self,
        user_id: str | None = None,
        *,
        prefix: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[Document]:
        """Return what is usual for users; see `Store`."""
        query: list[Query] = [{"term": {"user_id": user_id}}] if user_id is not None else []
        if prefix:
            query.append({"prefix": {"user_id": prefix}})
        behind = None if after is None else [after]
        return self._searching.hits("profiles", query, [{"user_id": "asc"}], PROFILE_FIELDS, limit, behind)

    def profile_states(self, user_ids: Sequence[str]) -> dict[str, str]:
        """Return the exact state of users' profiles; see `Store`."""
        found: dict[str, str] = {}
        for first in range(0, len(user_ids), PAGE):
            query: list[Query] = [{"terms": {"user_id": list(user_ids[first : first + PAGE])}}]
            rows = self._searching.hits("profiles", query, [{"user_id": "asc"}], ("user_id", "state"), PAGE)
            found |= {row["user_id"]: row["state"] for row in rows if row["state"] is not None}
        return found

    def judges(self) -> list[Document]:
        """Return what the transaction flow has published; see `Store`."""
        sort: list[Query] = [{"ts_last": "desc"}, {"source": "asc"}, {"partition": "asc"}]
        fields = ("source", "partition", "ts_last", "transactions")
        return self._searching.hits("judges", [], sort, fields, PAGE)

    def judge(self, source: str, partition: str) -> PublishedJudge | None:
        """Return what was published of a partition; see `Store`."""
        query: list[Query] = [{"term": {"source": source}}, {"term": {"partition": partition}}]
        rows = self._searching.hits("judges", query, [{"ts_last": "desc"}], JUDGE_FIELDS, 1)
        return judge_of(rows[0]) if rows else None

    def reviews(
        self, *, limit: int = 100, after: str | None = None, **wanted: Unpack[WantedReviews]
    ) -> list[Document]:
        """Return what people said of anomalies and transactions; see `Store`."""
        asked = {name: wanted.get(name) for name in ("anomaly_id", "transaction_id", "reviewer", "label")}
        query: list[Query] = [{"term": {name: value}} for name, value in asked.items() if value is not None]
        query += range_of("reviewed_at", wanted.get("start"), wanted.get("end"))
        others = ("anomaly_id", "transaction_id", "reviewer")
        sort: list[Query] = [{name: {"order": "asc", "missing": "_first"}} for name in others]
        if wanted.get("of_anomalies"):
            query.append({"exists": {"field": "anomaly_id"}})
        behind: list[Any] | None = None
        if after is not None:
            place = review_place_of(after)
            behind = [rfc3339(place.reviewed_at), place.anomaly_id, place.transaction_id, place.reviewer]
        return self._searching.hits(
            "reviews", query, [{"reviewed_at": "desc"}, *sort], REVIEW_FIELDS, limit, behind
        )

    def counts(self) -> dict[str, int]:
        """Return the number of documents of each kind."""
        return self._searching.counts(TABLES)

    def counters(self) -> list[Document]:
        """Return what the flows counted: flow, source, partition, name, value."""
        sort: list[Query] = [{name: "asc"} for name in COUNTER_FIELDS[:4]]
        return self._searching.hits("counters", [], sort, COUNTER_FIELDS, LATEST)

    def span(self) -> tuple[int, int] | None:
        """Return the first and the last event time (ns) of bars and anomalies, None without any."""
        ends = []
        # Bars begin and end at whole seconds, which the milliseconds of an aggregation can tell.
        if bars := self._searching.ends("bars"):
            ends.append((bars["first"], bars["last_end"]))
        if known := self._searching.ends("anomalies"):
            # Of anomalies they tell where to look.
            first, last = self._searching.together(
                [
                    partial(self._first_in, "ts_start", "asc", known["first"]),
                    partial(self._first_in, "ts_event", "desc", known["last_event"]),
                ]
            )
            ends.append((first, last))
        if not ends:
            return None
        return min(first for first, _ in ends), max(last for _, last in ends)

    def _first_in(self, field: str, order: str, ms: int) -> int:
        """Return the first time in an order, ns, of the anomalies' times in a millisecond that has some."""
        found = self._searching.hits("anomalies", range_of(field, ms, ms + MS), [{field: order}], [field], 1)
        # Another may have taken them away since.
        return int(found[0][field]) if found else ms

    def prepare(self, *questions: Callable[[], object]) -> None:
        """Ask what is going to be asked side by side; see `Store`."""
        self._searching.prepare(questions)

    def look_again(self) -> None:
        """Forget what was remembered if any document has come, changed or gone."""
        self._searching.look_again(TABLES)

    def close(self) -> None:
        """Close the connections."""
        self._searching.close()
