"""Following the results in Elasticsearch: what has come into them, or changed, since one looked last."""

from __future__ import annotations

import threading

from connectors.elasticsearch_queries import Query, document_of
from connectors.elasticsearch_search import Searching
from connectors.store_questions import Document
from tapewatch.documents import (
    ANOMALY_FIELDS,
    BAR_FIELDS,
    PAYMENT_FIELDS,
    SCORE_FIELDS,
    to_json,
    told_anomaly,
)
from tapewatch.errors import UserError
from tapewatch.settings_elasticsearch import ElasticsearchSettings

#: So many of the newest anomalies are watched for being taken back.
WATCHED_ANOMALIES = 1_000
#: Looks for which a number that was skipped is waited for, and how many are.
_LOOKS_FOR_SKIPPED, _MOST_SKIPPED = 5, 1_000
_KINDS = {
    "bars": ("bar", BAR_FIELDS),
    "scores": ("score", SCORE_FIELDS),
    "anomalies": ("anomaly", (*ANOMALY_FIELDS, *PAYMENT_FIELDS)),
}


class ElasticsearchWatch:
    """Tells what comes into the store from now on, as soon as the server's refresh shows it.

    An index numbers what is done to it (``_seq_no``): whatever has a higher number than the last one seen is
    new or has changed. What several writers do at once may show in another order, so numbers that were
    skipped are asked for again for some looks. A server that does not answer is waited for.

    Parameters
    ----------
    settings
        The section ``sinks.elasticsearch``.
    most
        How many documents one look returns of a kind and index at most; those left come with the next ones.
    """

    seconds_between_looks = 1.0

    def __init__(self, settings: ElasticsearchSettings, most: int = 1_000) -> None:
        self._settings, self._most = settings, most
        self._searching: Searching | None = None
        self._lock = threading.Lock()
        self._closed = self.more = False
        # Of each index the last number that was told of, and the skipped ones with the looks left for each.
        self._last: dict[str, dict[str, int]] = {kind: {} for kind in _KINDS}
        self._skipped: dict[str, dict[int, int]] = {}
        # The newest anomalies with index and number, and what said that one of them may be gone.
        self._watched: dict[str, tuple[str, int]] = {}
        self._seen: tuple[dict[str, int], int] = {}, 0
        self.changes()

    def changes(self) -> list[Document]:
        """Return what is new since the last call; see `connectors.watch.Watch`."""
        with self._lock:
            if self._closed:
                return []
            try:
                if self._searching is None:
                    self._begin()
                    return []
                return self._look(self._searching)
            except UserError:
                # Where one was stays known: what comes meanwhile is told when the server is back.
                return []

    def _begin(self) -> None:
        searching = Searching(self._settings)
        try:
            last = {kind: self._numbers(searching, kind) for kind in _KINDS}
            newest = [{"detected_at": "desc"}, {"id": "desc"}]
            hits = searching.search(
                "anomalies", size=WATCHED_ANOMALIES, sort=newest, _source=["id"], seq_no_primary_term=True
            )
        except UserError:
            searching.close()
            raise
        self._last = {kind: numbers for kind, (numbers, _) in last.items()}
        self._seen = last["anomalies"]
        self._watch(hits["hits"]["hits"][::-1])
        self._searching = searching

    def _numbers(self, searching: Searching, kind: str) -> tuple[dict[str, int], int]:
        """Return the highest number of each index of a kind, and how many documents there are."""
        highest = {"highest": {"max": {"field": "_seq_no"}}}
        indices = {"terms": {"field": "_index", "size": 10_000}, "aggs": highest}
        answer = searching.search(kind, size=0, track_total_hits=True, aggs={"indices": indices})
        found = answer.get("aggregations", {}).get("indices", {}).get("buckets", [])
        numbers = {bucket["key"]: int(bucket["highest"]["value"]) for bucket in found}
        return numbers, answer["hits"]["total"]["value"]

    def _look(self, searching: Searching) -> list[Document]:
        self.more = False
        found: list[Document] = []
        for kind, (word, fields) in _KINDS.items():
            numbers, count = self._numbers(searching, kind)
            if kind == "anomalies" and (numbers, count) != self._seen:
                found += self._deleted(searching)
                self._seen = dict(numbers), count
            self._forget_wiped(kind, numbers)
            for index, highest in sorted(numbers.items()):
                if highest > self._last[kind].get(index, -1) or self._skipped.get(index):
                    hits = self._new(searching, kind, index)
                    if kind == "anomalies":
                        self._watch(hits)
                    rows = (document_of(hit["_source"], fields) for hit in hits)
                    for row in rows:
                        values = tuple(row.values())
                        told = told_anomaly(values) if kind == "anomalies" else to_json(fields, values)
                        found.append({"document": word, **told})
        return found

    def _forget_wiped(self, kind: str, numbers: dict[str, int]) -> None:
        """Begin anew with indices that are gone, or were made again since: their numbers do, too."""
        # The highest number also falls when the newest anomaly is taken back; others never are.
        kept = {index for index, _ in self._watched.values()} if kind == "anomalies" else set()
        last = self._last[kind]
        for index in [name for name in last if numbers.get(name, -1) < last[name] and name not in kept]:
            del last[index]
            self._skipped.pop(index, None)

    def _new(self, searching: Searching, kind: str, index: str) -> list[Query]:
        last, skipped = self._last[kind].get(index, -1), self._skipped.get(index, {})
        since: list[Query] = [{"range": {"_seq_no": {"gt": last}}}, {"terms": {"_seq_no": list(skipped)}}]
        hits: list[Query] = searching.search(
            kind,
            [{"term": {"_index": index}}, {"bool": {"should": since, "minimum_should_match": 1}}],
            size=self._most, sort=[{"_seq_no": "asc"}], track_total_hits=False, seq_no_primary_term=True,
        )["hits"]["hits"]  # fmt: skip
        self.more |= len(hits) == self._most
        numbers = {int(hit["_seq_no"]) for hit in hits}
        highest = max([last, *numbers])
        left = {number: looks - 1 for number, looks in skipped.items() if looks > 1 and number not in numbers}
        # What was overwritten never shows; so only the newest are waited for.
        new = set(range(max(last + 1, highest - _MOST_SKIPPED), highest)) - numbers
        self._skipped[index] = left | dict.fromkeys(new, _LOOKS_FOR_SKIPPED)
        self._last[kind][index] = highest
        return hits

    def _watch(self, hits: list[Query]) -> None:
        for hit in hits:
            self._watched.pop(hit["_source"]["id"], None)
            self._watched[hit["_source"]["id"]] = hit["_index"], hit["_seq_no"]
        for name in list(self._watched)[:-WATCHED_ANOMALIES]:
            del self._watched[name]

    def _deleted(self, searching: Searching) -> list[Document]:
        """Return those of the watched anomalies that are there no more."""
        hits = searching.search(
            "anomalies", [{"terms": {"id": list(self._watched)}}],
            size=WATCHED_ANOMALIES, _source=["id"], seq_no_primary_term=True,
        )["hits"]["hits"]  # fmt: skip
        there = {hit["_source"]["id"]: (hit["_index"], hit["_seq_no"]) for hit in hits}
        gone = [name for name in self._watched if name not in there]
        # One whose number has fallen was written again, into an index that was made again.
        self._watched = {
            name: place for name, place in self._watched.items() if name in there and there[name] >= place
        }
        return [{"document": "deleted", "id": name} for name in gone]

    def close(self) -> None:
        """Close the connections, once no other thread is looking; there are no changes after that."""
        with self._lock:
            self._closed = True
            if self._searching is not None:
                self._searching.close()
                self._searching = None
