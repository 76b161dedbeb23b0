"""Following the results: what has come into the store that is read, or changed, since one looked last."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from connectors.store_questions import Document
from tapewatch.settings import Settings


class Watch(Protocol):
    """Tells what comes into the store from now on; may be closed from another thread."""

    #: How often it is worth looking.
    seconds_between_looks: float

    @property
    def more(self) -> bool:
        """Whether the last look left something for the next one."""

    def changes(self) -> list[Document]:
        """Return what is new since the last call, as JSON documents with their kind as ``document``.

        Kinds are ``bar``, ``score``, ``anomaly`` and ``deleted``, with the ``id`` of an anomaly taken back.
        """

    def close(self) -> None:
        """Let go of the store; there are no changes after that."""


def open_watch(settings: Settings) -> Watch:
    """Return a watch of the store that `connectors.store.open_results` reads.

    A store that is not there yet, or does not answer, is waited for.
    """
    if settings.sinks.store == "elasticsearch":
        from connectors.elasticsearch_watch import ElasticsearchWatch

        return ElasticsearchWatch(settings.sinks.elasticsearch)
    from connectors.sqlite_watch import SqliteWatch

    return SqliteWatch(Path(settings.sinks.sqlite.path))
