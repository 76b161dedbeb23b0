"""The embedded results store as a Bytewax sink."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from connectors.sqlite import SqliteWriter
from tapewatch.documents import Results


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

        Raises
        ------
        UserError
            If they cannot be written; none is acknowledged then, and the epoch does not complete.
        """
        new = self._writer.write(values)
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
    """

    def __init__(
        self,
        path: Path,
        acknowledge: Callable[[Results], None] | None = None,
        written: Callable[[int], None] | None = None,
        source: str = "",
    ) -> None:
        self._path, self._acknowledge, self._written, self._source = path, acknowledge, written, source

    def list_parts(self) -> list[str]:
        """Return the one partition: SQLite has one writer at a time anyway."""
        return ["sqlite"]

    def part_fn(self, item_key: str) -> int:
        """Return 0: everything goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> SqlitePartition:
        """Open the database where the partition is to run; `UserError` if it cannot be written."""
        return SqlitePartition(SqliteWriter(self._path, self._source), self._acknowledge, self._written)
