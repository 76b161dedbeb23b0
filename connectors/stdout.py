"""Results as lines of JSON on standard output, for pipes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import orjson
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from tapewatch.documents import (
    BAR_FIELDS,
    SCORE_FIELDS,
    Results,
    anomaly_document,
    bar_rows,
    profile_document,
    score_rows,
    to_json,
)
from tapewatch.late_rows import LATE_FIELDS, late_rows


def documents(results: Results) -> Iterator[dict[str, Any]]:
    """Yield the documents of one batch, what is deleted first, each with its kind as ``document``.

    >>> list(documents(Results("day", 0, "", "market", deleted=["00ff"])))
    [{'document': 'deleted', 'id': '00ff'}]
    """
    for name in results.deleted:
        yield {"document": "deleted", "id": name}
    for anomaly in results.anomalies:
        yield {"document": "anomaly", **anomaly_document(anomaly)}
    for bars in results.bars:
        for row in bar_rows(bars, results.dataset):
            yield {"document": "bar", **to_json(BAR_FIELDS, row)}
    if results.late is not None:
        for row in late_rows(results.late, results.dataset):
            yield {"document": "late", **to_json(LATE_FIELDS, row)}
    for scores in results.scores:
        for row in score_rows(scores, results.flow):
            yield {"document": "score", **to_json(SCORE_FIELDS, row)}
    for profile in results.profiles:
        yield {"document": "profile", **profile_document(profile)}


class StdoutPartition(StatefulSinkPartition[Results, None]):
    """Writes one line per document and flushes after each batch."""

    def __init__(
        self,
        stream: BinaryIO,
        acknowledge: Callable[[Results], None] | None,
        closed: Callable[[], None] | None,
    ) -> None:
        self._stream, self._acknowledge, self._closed = stream, acknowledge, closed
        self._open = True

    def write_batch(self, values: list[Results]) -> None:
        """Write the results and acknowledge each; once the reader has gone they are passed over."""
        lines = b"".join(
            orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
            for results in (values if self._open else ())
            for document in documents(results)
        )
        if lines:
            try:
                self._stream.write(lines)
                self._stream.flush()
            except BrokenPipeError:
                self._give_up()
        if self._acknowledge is not None:
            for results in values:
                self._acknowledge(results)

    def _give_up(self) -> None:
        self._open = False
        # Python flushes once more when it ends, and would complain of the closed pipe then.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if self._closed is not None:
            self._closed()

    def snapshot(self) -> None:
        """Return nothing: lines written cannot be taken back."""


class StdoutSink(FixedPartitionedSink[Results, None]):
    """Takes ``(key, Results)`` and prints one line of JSON per document, from one worker of the cluster.

    Parameters
    ----------
    acknowledge
        Called with each `Results` once its lines are out.
    closed
        Called once when the reader of the pipe has gone; the results after that are passed over.
    stream
        Where to write instead of standard output.
    """

    def __init__(
        self,
        acknowledge: Callable[[Results], None] | None = None,
        closed: Callable[[], None] | None = None,
        stream: BinaryIO | None = None,
    ) -> None:
        self._acknowledge, self._closed, self._stream = acknowledge, closed, stream

    def list_parts(self) -> list[str]:
        """Return the one partition, so that lines of several workers do not mix."""
        return ["stdout"]

    def part_fn(self, item_key: str) -> int:
        """Return 0: everything goes to the one partition."""
        return 0

    def build_part(self, step_id: str, for_part: str, resume_state: None) -> StdoutPartition:
        """Take hold of the stream."""
        return StdoutPartition(self._stream or sys.stdout.buffer, self._acknowledge, self._closed)
