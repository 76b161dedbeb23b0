"""Writing users' profiles outside a flow, into the store that is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tapewatch.documents import Results
from tapewatch.settings import Settings


def write_profiles(settings: Settings, profiles: Sequence[tuple[Any, ...]]) -> str:
    """Write profiles where `connectors.store.open_results` reads, and return where that is.

    Parameters
    ----------
    settings
        All of them.
    profiles
        In the order of `tapewatch.documents.PROFILE_FIELDS`; of a user's the one with the later ``ts_last``
        stands.

    Raises
    ------
    UserError
        If the store cannot be written.
    """
    told = Results("", 0, "", "transactions", profiles=list(profiles))
    source = settings.transactions.source.name
    if settings.sinks.store == "sqlite":
        from connectors.sqlite import SqliteWriter

        path = Path(settings.sinks.sqlite.path)
        with SqliteWriter(path, source) as sqlite:
            sqlite.write([told])
        return str(path)
    from connectors.elasticsearch_bulk import BulkWriter
    from connectors.elasticsearch_client import check_server, connect
    from connectors.elasticsearch_schema import alias, ensure

    server = settings.sinks.elasticsearch
    client = connect(server)
    try:
        check_server(client, server)
        ensure(client, server)
        writer = BulkWriter(client, server, source)
        writer.write([told])
        writer.refresh()
    finally:
        client.close()
    return f"{server.url}/{alias(server.index_prefix, 'profiles')}"
