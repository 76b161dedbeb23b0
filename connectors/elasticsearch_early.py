"""Marks of what was told early (see `connectors.sqlite_early`), in the index ``…-provisional-all``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson

from connectors.elasticsearch_documents import Changes, Operation
from connectors.elasticsearch_queries import ns_of
from connectors.elasticsearch_schema import alias, timeless_index
from connectors.sqlite_early import Leftovers, Mark, standing_of
from tapewatch.documents import rfc3339

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

_KIND = "provisional"
_PAGE = 1000


class EarlyMarks:
    """The marks of one stream.

    Parameters
    ----------
    client
        From `elasticsearch_client.connect`.
    prefix
        ``sinks.elasticsearch.index_prefix``.
    source
        Name of the stream (``source.name``).
    insist
        Calls what it is given until the server has answered.
    """

    def __init__(
        self, client: Elasticsearch, prefix: str, source: str, insist: Callable[[Callable[[], Any]], Any]
    ) -> None:
        self._client, self._prefix, self._source, self._insist = client, prefix, source, insist
        self._left: Leftovers | None = None
        #: Anomalies that have a mark, so that no others are asked to lose theirs.
        self._marked: set[str] = set()

    def left(self) -> Leftovers:
        """Return what earlier runs of this stream have left and this one has not settled yet."""
        if self._left is None:
            marks = self._read()
            self._marked.update(mark[0] for mark in marks)
            self._left = Leftovers(marks)
        return self._left

    def _read(self) -> list[Mark]:
        name = alias(self._prefix, _KIND)
        there: dict[str, Any] = {"index": name, "ignore_unavailable": True, "allow_no_indices": True}
        self._insist(partial(self._client.indices.refresh, **there))
        asked: dict[str, Any] = {
            "query": {"term": {"source": self._source}},
            "sort": [{"id": "asc"}],
            "size": _PAGE,
        }
        marks: list[Mark] = []
        while True:
            hits = self._insist(partial(self._client.search, **there, **asked))["hits"]["hits"]
            for found in (hit["_source"] for hit in hits):
                start = ns_of(found["ts_start"])
                about = (found["id"], found["flow"], found["detector"], found["key"], found["instrument_id"])
                marks.append((*about, start, found["standing"]))
            if len(hits) < _PAGE:
                return marks
            asked["search_after"] = hits[-1]["sort"]

    def new(self, changes: Changes) -> list[Operation]:
        """Return the operations that put marks."""
        target = timeless_index(self._prefix, _KIND)
        operations = []
        for name, told in changes.marks.items():
            if told is not None:
                flow, early = told
                mark = {
                    "id": name,
                    "flow": flow,
                    "source": self._source,
                    "detector": early.detector,
                    "key": early.key,
                    "instrument_id": early.instrument_id,
                    "ts_start": rfc3339(early.ts_start),
                    "standing": standing_of(early),
                }
                body = orjson.dumps(mark, option=orjson.OPT_SERIALIZE_NUMPY)
                operations.append(Operation(_KIND, target, name, body))
                self._marked.add(name)
        return operations

    def over(self, changes: Changes) -> list[Operation]:
        """Return the operations that remove marks of what is told for good, or taken back."""
        names = [name for name, told in changes.marks.items() if told is None and name in self._marked]
        self._marked.difference_update(names)
        target = timeless_index(self._prefix, _KIND)
        return [Operation(_KIND, target, name, b"", action="delete") for name in names]
