"""Elasticsearch as a Bytewax sink: written in the background, safe at each snapshot, bounded in memory."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import check_server, connect
from connectors.elasticsearch_schema import ensure
from connectors.elasticsearch_waiting import ServerAwayError
from tapewatch import stopping
from tapewatch.documents import Results
from tapewatch.errors import UserError
from tapewatch.settings_elasticsearch import ElasticsearchSettings

if TYPE_CHECKING:
    from elasticsearch import Elasticsearch

#: Documents that may wait to be sent, more or less: a batch is taken whole.
_MOST_WAITING = 20_000
_GO_ON = "start again when that is cured; with a recovery store (-r) the run goes on from its last snapshot"


class ElasticsearchPartition(StatefulSinkPartition[Results, None]):
    """Hands results to a thread that writes whatever has come while it was writing what came before.

    So a result waits for no timer, and the more there is to write the larger the requests are. Results are
    acknowledged when they are safe, which bounds how far the source runs ahead.
    """

    def __init__(
        self,
        writer: BulkWriter,
        acknowledge: Callable[[Results], None] | None,
        written: Callable[[int], None] | None,
    ) -> None:
        self._writer, self._acknowledge, self._written = writer, acknowledge, written
        self._waiting: deque[Results] = deque()
        self._documents = 0
        self._writing = False
        self._closed = False
        self._failure: Exception | None = None
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="elasticsearch", daemon=True)
        self._thread.start()

    def write_batch(self, values: list[Results]) -> None:
        """Take results to be written; waits while too many of those before are not.

        If the server refuses for good the process ends with one line: nothing that is not written is
        acknowledged, and no snapshot is taken that would claim it was.
        """
        with self._changed:
            for results in values:
                self._changed.wait_for(lambda: self._failure is not None or self._documents < _MOST_WAITING)
                self._check()
                self._waiting.append(results)
                self._documents += _documents(results)
                self._changed.notify_all()

    def snapshot(self) -> None:
        """Return when all results are safe; there is no state."""
        with self._changed:
            self._changed.wait_for(lambda: self._failure is not None or not (self._waiting or self._writing))
            self._check()

    def close(self) -> None:
        """Let the last results be found, and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._failure is None:
            self._writer.refresh()

    def _check(self) -> None:
        if isinstance(self._failure, (UserError, ServerAwayError)):
            stopping.abort(f"{self._failure}; {_GO_ON}")
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                batch = list(self._waiting)
                self._waiting.clear()
                self._writing = True
            try:
                self._write(batch)
            except Exception as error:
                failure: Exception | None = error
            else:
                failure = None
            with self._changed:
                self._writing = False
                self._documents = sum(map(_documents, self._waiting))
                self._failure = failure
                self._changed.notify_all()
                if failure is not None:
                    return

    def _write(self, batch: list[Results]) -> None:
        new = self._writer.write(batch)
        if self._acknowledge is not None:
            for results in batch:
                self._acknowledge(results)
        if new and self._written is not None:
            self._written(new)


def _documents(results: Results) -> int:
    bars = sum(len(table.bars) for table in results.bars)
    scores = sum(len(table.keys) for table in results.scores)
    told = len(results.anomalies) + len(results.deleted) + len(results.profiles)
    return bars + scores + told + 1


class ElasticsearchSink(FixedPartitionedSink[Results, None]):
    """Takes ``(key, Results)`` and writes them to Elasticsearch, from one worker of the cluster.

    Parameters
    ----------
    settings
        The section ``sinks.elasticsearch``.
    acknowledge
        Called with each `Results` once it is safely written, in a thread of the sink.
    written
        Called with the number of anomalies that are new, if there are any, in a thread of the sink.
    source
        Name of the stream (``source.name``).

    Raises
    ------
    UserError
        If the server does not answer, does not let us in, or its templates are of another version.
    """

    def __init__(
        self,
        settings: ElasticsearchSettings,
        acknowledge: Callable[[Results], None] | None = None,
        written: Callable[[int], None] | None = None,
        source: str = "",
    ) -> None:
        self._settings, self._acknowledge, self._written, self._source = (
            settings,
            acknowledge,
            written,
            source,
        )
        # What is wrong with the server is told now, in a line, not from within the dataflow.
        client = self._connect()
        check_server(client, settings)
        ensure(client, settings)
        client.close()

    def _connect(self) -> Elasticsearch:
        return connect(self._settings)

    def list_parts(self) -> list[str]:
        """Return the one partition, so that documents arrive in the order of their making."""
        return ["elasticsearch"]

    def part_fn(self, item_key: str) -> int:
        """Return 0: everything goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> ElasticsearchPartition:
        """Connect where the partition is to run."""
        writer = BulkWriter(self._connect(), self._settings, self._source, stopping.stopping)
        return ElasticsearchPartition(writer, self._acknowledge, self._written)
