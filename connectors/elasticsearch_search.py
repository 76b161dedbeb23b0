"""Searches in Elasticsearch over all days of a kind of documents, page by page."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

import orjson

from connectors.elasticsearch_client import check_server, connect, explained
from connectors.elasticsearch_queries import (
    ENDS,
    PAGE,
    Query,
    buckets_of,
    document_of,
    ends_of,
    exact,
    indices_of,
    total_of,
)
from connectors.elasticsearch_schema import alias
from connectors.store_memory import Memory
from connectors.store_questions import Document
from tapewatch.errors import UserError
from tapewatch.settings_elasticsearch import ElasticsearchSettings

Answer = TypeVar("Answer")
#: How often, and after how many seconds, an index that is not ready yet is asked again.
_TRIES, _PAUSE = 10, 0.2
#: Hits up to which an answer is remembered.
_MOST_REMEMBERED = 1_000


class Searching:
    """Asks one server; any method raises `UserError` if it refuses or does not answer.

    Parameters
    ----------
    settings
        The section ``sinks.elasticsearch``.
    remember
        Keep answers until `look_again` finds that something has changed.
    """

    def __init__(self, settings: ElasticsearchSettings, *, remember: bool = False) -> None:
        self._settings = settings
        self._memory = Memory[Query]() if remember else None
        self._client = connect(settings)
        check_server(self._client, settings)

    def search(self, kind: str, query: Sequence[Query] = (), **body: Any) -> Query:  # noqa: ANN401 - any JSON
        """Return the answer to a search over all documents of a kind; not to be changed."""
        body["query"] = {"bool": {"filter": list(query)}}

        def ask() -> Query:
            return dict(
                self._ask(
                    partial(
                        self._client.search,
                        index=indices_of(self._settings.index_prefix, kind, query),
                        ignore_unavailable=True,
                        allow_no_indices=True,
                        allow_partial_search_results=False,
                        **body,
                    )
                ).body
            )

        question = kind, orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        return self._remembered(question, ask, lambda answer: len(answer["hits"]["hits"]) <= _MOST_REMEMBERED)

    def _remembered(
        self, question: Hashable, ask: Callable[[], Query], keep: Callable[[Query], bool] = lambda _: True
    ) -> Query:
        """Return an answer that is remembered, if answers are and this one is, else asked for."""
        return ask() if self._memory is None else self._memory.now.answer(question, ask, keep)

    def look_again(self, kinds: Sequence[str]) -> None:
        """Forget the answers if any document of these kinds has come, changed or gone."""
        if self._memory is None:
            return
        # Whatever is done to a document gives it a higher number.
        asked = {"highest": {"max": {"field": "_seq_no"}}, "sum": {"sum": {"field": "_seq_no"}}, **ENDS}
        answers = self._several(kinds, {"size": 0, "track_total_hits": True, "aggs": asked})
        version = self._memory.at(
            orjson.dumps([[answer["hits"]["total"], answer.get("aggregations")] for answer in answers])
        )
        # What else these answers tell need not be asked: a search over all days costs the server much.
        counts = {kind: total_of(answer) for kind, answer in zip(kinds, answers, strict=True)}
        version.answer(("counts", *kinds), lambda: counts)
        for kind, answer in zip(kinds, answers, strict=True):
            version.answer(("ends", kind), partial(ends_of, answer))

    def prepare(self, questions: Sequence[Callable[[], object]]) -> None:
        """Ask side by side what is remembered and will be asked again; otherwise do nothing."""
        if self._memory is not None:
            self.together(questions)

    def together(self, questions: Sequence[Callable[[], Answer]]) -> list[Answer]:
        """Return the answers to questions that are asked side by side."""
        with ThreadPoolExecutor(max(len(questions), 1)) as asking:
            return list(asking.map(lambda question: question(), questions))

    def _ask(self, ask: Callable[[], Answer]) -> Answer:
        """Return an answer of all days; one whose index is just being made is waited for."""
        import elasticsearch

        with explained(self._settings):
            for _ in range(_TRIES):
                try:
                    return ask()
                except elasticsearch.ApiError as error:
                    if error.meta.status != 503:
                        raise
                    time.sleep(_PAUSE)
            return ask()

    def hits(
        self,
        kind: str,
        query: Sequence[Query],
        sort: Sequence[Query],
        fields: Sequence[str],
        limit: int,
        after: Sequence[Any] | None = None,
    ) -> list[Document]:
        """Return documents in an order that is total, page by page."""
        found: list[Document] = []
        while len(found) < limit:
            size = min(limit - len(found), PAGE)
            hits = self.search(
                kind, query, sort=[exact(s) for s in sort], size=size, track_total_hits=False,
                **({} if after is None else {"search_after": after}),
            )["hits"]["hits"]  # fmt: skip
            found += [document_of(hit["_source"], fields) for hit in hits]
            if len(hits) < size:
                break
            after = hits[-1]["sort"]
        return found

    def composite(
        self,
        kind: str,
        query: Sequence[Query],
        sources: list[Query],
        aggregations: Query,
        most: int | None = None,
    ) -> Iterator[Query]:
        """Yield the buckets of a composite aggregation, at most so many, in the order of their keys."""
        after: Query = {}
        left = PAGE if most is None else most
        while left > 0:
            composite = {"size": min(left, PAGE), "sources": sources, **after}
            answer = self.search(
                kind, query, size=0, aggs={"found": {"composite": composite, "aggs": aggregations}}
            )
            buckets = buckets_of(answer, "found")
            yield from buckets
            if len(buckets) < composite["size"]:
                return
            left -= 0 if most is None else len(buckets)
            after = {"after": answer["aggregations"]["found"]["after_key"]}

    def counts(self, kinds: Sequence[str]) -> dict[str, int]:
        """Return the number of documents of each kind."""

        def ask() -> Query:
            answers = self._several(kinds, {"size": 0, "track_total_hits": True})
            return {kind: total_of(answer) for kind, answer in zip(kinds, answers, strict=True)}

        return dict(self._remembered(("counts", *kinds), ask))

    def ends(self, kind: str) -> Query:
        """Return the least and the largest of the times of a kind's documents, by field; see `ENDS`."""

        def ask() -> Query:
            return ends_of(self.search(kind, size=0, track_total_hits=False, aggs=ENDS))

        return dict(self._remembered(("ends", kind), ask))

    def _several(self, kinds: Sequence[str], body: Query) -> list[Query]:
        """Return the answers to the same search over each of these kinds."""
        searches: list[Query] = []
        for kind in kinds:
            name = alias(self._settings.index_prefix, kind)
            searches += [
                {"index": name, "ignore_unavailable": True, "allow_partial_search_results": False}, body
            ]  # fmt: skip
        answers: list[Query] = self._ask(partial(self._client.msearch, searches=searches))["responses"]
        for kind, answer in zip(kinds, answers, strict=True):
            if "error" in answer:
                why = answer["error"]["type"]
                raise UserError(f"{self._settings.url} does not let us count the {kind}: {why}")
        return answers

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
