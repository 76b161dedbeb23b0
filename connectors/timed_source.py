"""A source that tells when it hands on a batch, and whether it goes on where another run was."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Protocol, TypeVar

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition


class Batch(Protocol):
    """What is under way until its consumers acknowledge ``seq`` on the account ``credit``."""

    @property
    def credit(self) -> str:
        """The source's account, or empty."""

    @property
    def seq(self) -> int:
        """Ordinal of the batch on it."""


T = TypeVar("T", bound=Batch)


class TimedSource(FixedPartitionedSource[T, Any]):
    """The same source, with every batch told of as it goes out.

    Parameters
    ----------
    source
        Whose batches they are.
    handed
        Called with each batch, in the worker's thread.
    resumed
        Called when a part goes on where another run was.
    """

    def __init__(
        self,
        source: FixedPartitionedSource[T, Any],
        handed: Callable[[Batch], None],
        resumed: Callable[[], None],
    ) -> None:
        self._source, self._handed, self._resumed = source, handed, resumed

    def list_parts(self) -> list[str]:
        """Return the source's parts."""
        return self._source.list_parts()

    def build_part(
        self,
        step_id: str,
        for_part: str,
        resume_state: Any | None,  # noqa: ANN401 - each source has its own
    ) -> StatefulSourcePartition[T, Any]:
        """Return the source's part, timed."""
        if resume_state is not None:
            self._resumed()
        return _TimedPartition(self._source.build_part(step_id, for_part, resume_state), self._handed)


class _TimedPartition(StatefulSourcePartition[T, Any]):
    def __init__(self, part: StatefulSourcePartition[T, Any], handed: Callable[[Batch], None]) -> None:
        self._part, self._handed = part, handed

    def next_batch(self) -> Iterable[T]:
        batches = list(self._part.next_batch())
        for batch in batches:
            self._handed(batch)
        return batches

    def next_awake(self) -> datetime | None:
        return self._part.next_awake()

    def snapshot(self) -> Any:  # noqa: ANN401 - each source has its own
        return self._part.snapshot()

    def close(self) -> None:
        self._part.close()
