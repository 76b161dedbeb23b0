"""Bulk requests: of bounded size, each document's answer looked at, tried again while the cluster is away."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from connectors.elasticsearch_client import explain
from connectors.elasticsearch_documents import Operation, document_operations, merged, settled
from connectors.elasticsearch_early import EarlyMarks
from connectors.elasticsearch_schema import alias
from connectors.elasticsearch_waiting import Waiting
from tapewatch.documents import Results
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.settings_elasticsearch import ElasticsearchSettings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Bytes after which a bulk request is full.
REQUEST_BYTES = 2 << 20
#: Seconds for which a refusal of who we are is taken for a cluster that is not quite up again.
_REFUSED_SECONDS = 30.0
_IDS = 1000
_TOO_LARGE, _MOST_OF_TOO_LARGE = "too_large", 10_000
# Of the cluster's state, not of the document: the next one would fare no better.
_STATE_ERRORS = (
    "validation_exception",
    "index_closed_exception",
    "security_exception",
    "illegal_index_shard_state",
)

Answer = TypeVar("Answer")
Thing = TypeVar("Thing")


class BulkWriter:
    """Writes results and other documents, and returns when they are safe.

    Parameters
    ----------
    client
        From `elasticsearch_client.connect`.
    settings
        The section ``sinks.elasticsearch``.
    source
        Name of the stream (``source.name``).
    stopping
        Says whether the run is to end; then a cluster that is away is not waited for much longer.
    pause
        Called with the seconds to wait before something is tried again.
    """

    def __init__(
        self,
        client: Elasticsearch,
        settings: ElasticsearchSettings,
        source: str = "",
        stopping: Callable[[], bool] = lambda: False,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client, self._settings, self._source = client, settings, source
        self._stopping, self._pause = stopping, pause
        self._marks = EarlyMarks(client, settings.index_prefix, source, self._insist)

    def write(self, results: Sequence[Results]) -> int:
        """Write results in their order, and return how many anomalies were not there before.

        Writing the same again changes nothing. While the cluster is away or overloaded it is tried again,
        without end.

        Raises
        ------
        UserError
            If the server refuses for a reason that waiting does not cure.
        ServerAwayError
            If the cluster is away and the run is to end.
        """
        prefix = self._settings.index_prefix
        changes = merged(results, prefix, self._source, time.time_ns(), self._marks.left())
        # What a kill leaves must not be an anomaly told early without its mark.
        self.send(self._marks.new(changes))
        operations = changes.operations
        if changes.gone:
            for name, index in self._find(sorted(changes.gone)):
                operations[name] = Operation("anomalies", index, name, b"", action="delete")
        new = self.send(operations.values())
        self.send(self._marks.over(changes))
        return new

    def write_documents(self, kind: str, documents: Sequence[dict[str, Any]]) -> None:
        """Write reviews or profiles; times are int64 ns. Raises as `write` does."""
        self.send(document_operations(kind, documents, self._settings.index_prefix, time.time_ns()))

    def send(self, operations: Iterable[Operation]) -> int:
        """Carry out operations, on each document at most one; return how many anomalies were created."""
        created = 0
        pending = list(operations)
        while pending:
            before = len(pending)
            conflicts: list[Operation] = []
            for request in _requests(pending):
                new, turned_down = self._request(request)
                created += new
                conflicts += turned_down
            pending = self._settle(conflicts)
            if pending and len(pending) == before:
                # Another writer is at the same documents.
                self._pause(0.1)
        return created

    def refresh(self) -> None:
        """Let what was written be found at once, as far as the server lets us."""
        import elasticsearch

        try:
            self._client.indices.refresh(
                index=f"{self._settings.index_prefix}-*", ignore_unavailable=True, allow_no_indices=True
            )
        except (elasticsearch.ApiError, elasticsearch.TransportError) as error:
            log.warning("%s", explain(error, self._settings))

    def _find(self, ids: Sequence[str]) -> Iterator[tuple[str, str]]:
        """Yield the index of each anomaly that is there: only its day is in its name, and not in its id."""
        name = alias(self._settings.index_prefix, "anomalies")
        there: dict[str, Any] = {"index": name, "ignore_unavailable": True, "allow_no_indices": True}
        self._insist(partial(self._client.indices.refresh, **there))
        for some in _batched(ids):
            query = {"ids": {"values": list(some)}}
            found = self._insist(
                partial(self._client.search, **there, query=query, source=False, size=10 * _IDS)
            )
            for hit in found["hits"]["hits"]:
                yield hit["_id"], hit["_index"]

    def _settle(self, conflicts: Sequence[Operation]) -> list[Operation]:
        """Return what is to be written over documents that were there before."""
        open_ = [o for o in conflicts if o.kind in ("anomalies", "scores")]
        again: list[Operation] = []
        for some in _batched(open_):
            places = [{"_index": o.target, "_id": o.id} for o in some]
            stored = self._insist(partial(self._client.mget, docs=places))["docs"]
            for ours, theirs in zip(some, stored, strict=True):
                operation = settled(ours, theirs.get("_source"))
                if operation is not None:
                    again.append(operation)
        return again

    def _request(self, operations: list[Operation]) -> tuple[int, list[Operation]]:
        """Send one request until each operation has an answer; return creations and version conflicts."""
        created, conflicts = 0, list[Operation]()
        refused: list[tuple[Operation, dict[str, Any]]] = []
        waiting = Waiting(self._settings, self._stopping, self._pause)
        while operations:
            items = self._post(operations)
            if items is None:
                for half in _halves(operations):
                    new, turned_down = self._request(half)
                    created += new
                    conflicts += turned_down
                return created, conflicts
            busy: list[Operation] = []
            for operation, item in zip(operations, items, strict=True):
                status, error = item["status"], item.get("error", {})
                if status < 300:
                    created += status == 201 and operation.action == "create"
                elif status == 409:
                    conflicts.append(operation)
                elif status == 404 and operation.action == "delete":
                    # Gone already, or its whole index with it.
                    continue
                elif _may_pass(status, error):
                    busy.append(operation)
                    reason = f"{error.get('type')}: {error.get('reason')}"
                else:
                    refused.append((operation, error))
            operations = busy
            if busy:
                waiting.wait(f"answered {reason}"[:300])
        waiting.over()
        self._set_aside(refused)
        return created, conflicts

    def _post(self, operations: Sequence[Operation]) -> list[dict[str, Any]] | None:
        """Return the item of each operation, None if the request was too large for the server."""
        import elasticsearch

        body: Any = b"".join(operation.lines for operation in operations)

        def post() -> list[dict[str, Any]] | None:
            try:
                answer = self._client.bulk(operations=body, filter_path="items.*.status,items.*.error")
            except elasticsearch.ApiError as error:
                if error.meta.status == 413 and len(operations) > 1:
                    return None
                if error.meta.status == 413:
                    return [{"status": 413, "error": {"type": _TOO_LARGE, "reason": "larger than a request"}}]
                raise
            items = [next(iter(item.values())) for item in answer.body.get("items", ())]
            if len(items) != len(operations):
                message = f"{len(items)} answers to {len(operations)} documents"
                raise elasticsearch.SerializationError(message)
            return items

        return self._insist(post)

    def _insist(self, ask: Callable[[], Answer]) -> Answer:
        """Return what ``ask`` returns, asking again while the cluster is away or overloaded."""
        import elasticsearch

        waiting = Waiting(self._settings, self._stopping, self._pause)
        while True:
            try:
                answer = ask()
            except (elasticsearch.TransportError, elasticsearch.ApiError) as error:
                status = error.meta.status if isinstance(error, elasticsearch.ApiError) else 503
                refused = status == 401 and waiting.seconds < _REFUSED_SECONDS
                wrong = status == 501 or isinstance(error, elasticsearch.UnsupportedProductError)
                if wrong or not (refused or status == 429 or status >= 500):
                    raise UserError(explain(error, self._settings)) from None
                waiting.wait(explain(error, self._settings))
            else:
                waiting.over()
                return answer

    def _set_aside(self, refused: Sequence[tuple[Operation, dict[str, Any]]]) -> None:
        """Keep documents that the server will never take where a person can look at them."""
        if not refused:
            return
        for operation, error in refused:
            if error.get("type") in _STATE_ERRORS or operation.kind == "dead-letters":
                reason = " ".join(str(error.get("reason")).split())[:300]
                raise UserError(
                    f"`sinks.elasticsearch.url` {self._settings.url} refuses to write to {operation.target}: "
                    f"{reason}; `tapewatch doctor` looks at it"
                )
        letters = [
            {
                "index": operation.target,
                "document_id": operation.id,
                "error": str(error.get("type")),
                "reason": str(error.get("reason"))[:1000],
                "document": operation.body.decode()[: _MOST_OF_TOO_LARGE if _too_large(error) else None],
            }
            for operation, error in refused
        ]
        self.write_documents("dead-letters", letters)
        log.error(
            "%s refused %d documents, the first for %s: %s; they are kept in %s",
            self._settings.url, len(letters), letters[0]["error"], letters[0]["reason"][:200],
            alias(self._settings.index_prefix, "dead-letters"),
        )  # fmt: skip


def _too_large(error: dict[str, Any]) -> bool:
    return error.get("type") == _TOO_LARGE


def _may_pass(status: int, error: dict[str, Any]) -> bool:
    """Return whether the same document may be taken later."""
    return status == 429 or status >= 500 or error.get("type") == "cluster_block_exception"


def _batched(things: Sequence[Thing]) -> Iterator[Sequence[Thing]]:
    for first in range(0, len(things), _IDS):
        yield things[first : first + _IDS]


def _requests(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Cut operations into requests of bounded size; a document larger than that has one of its own."""
    request: list[Operation] = []
    size = 0
    for operation in operations:
        length = len(operation.body) + len(operation.target) + len(operation.id) + 120
        if request and size + length > REQUEST_BYTES:
            yield request
            request, size = [], 0
        request.append(operation)
        size += length
    if request:
        yield request


def _halves(operations: list[Operation]) -> tuple[list[Operation], list[Operation]]:
    middle = len(operations) // 2
    return operations[:middle], operations[middle:]
