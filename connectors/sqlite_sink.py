"""The embedded results store as a Bytewax sink."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.sqlite import SqliteWriter
from tapewatch import stopping
from tapewatch.documents import Results
from tapewatch.errors import UserError

_GO_ON = "then start again; with a recovery store (-r) the run goes on from its last snapshot"


class SqlitePartition(StatefulSinkPartition[Results, None]):
    """Writes each batch in one transaction, then says so."""

    def __init__(
        self,
        writer: SqliteWriter,
        acknowledge: Callable[[Results], None] | None,
        written: Callable[[int], None] | None,
    ) -> None:
        self._writer, self._acknowledge, self._written = writer, acknowledge, written

    def write_batch(self, values: list[Results]) -> None:
        """Write the results, acknowledge each, and tell how many anomalies are new.

        If they cannot be written the process ends with one line: none is acknowledged, and no snapshot is
        taken that would claim they were.
        """
        try:
            new = self._writer.write(values)
        except UserError as error:
            stopping.abort(f"{error}; {_GO_ON}")
        if self._acknowledge is not None:
            for results in values:
                self._acknowledge(results)
        if new and self._written is not None:
            self._written(new)

    def snapshot(self) -> None:
        """Return nothing: what was written is in the store, and may be written again."""

    def close(self) -> None:
        """Close the database."""
        self._writer.close()


class SqliteSink(FixedPartitionedSink[Results, None]):
    """Takes ``(key, Results)`` and writes them to the embedded store, from one worker of the cluster.

    It is opened at once, so that what is wrong with it is told before anything runs.

    Parameters
    ----------
    path
        The database file.
    acknowledge
        Called with each `Results` once it is safely written.
    written
        Called with the number of anomalies that are new, if there are any.
    source
        Name of the stream (``source.name``).

    Raises
    ------
    UserError
        If the file cannot be written, or is not a store of this version.
    """

    def __init__(
        self,
        path: Path,
        acknowledge: Callable[[Results], None] | None = None,
        written: Callable[[int], None] | None = None,
        source: str = "",
    ) -> None:
        self._path, self._acknowledge, self._written, self._source = path, acknowledge, written, source
        #: For the part, which is one, and may be built in another process: then nobody asks for it here.
        self._opened: SqliteWriter | None = SqliteWriter(path, source)

    def list_parts(self) -> list[str]:
        """Return the one partition: SQLite has one writer at a time anyway."""
        return ["sqlite"]

    def part_fn(self, item_key: str) -> int:
        """Return 0: everything goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> SqlitePartition:
        """Open the database where the partition is to run; if it cannot be written the process ends."""
        writer, self._opened = self._opened, None
        try:
            writer = writer or SqliteWriter(self._path, self._source)
        except UserError as error:
            stopping.abort(f"{error}; {_GO_ON}")
        return SqlitePartition(writer, self._acknowledge, self._written)
