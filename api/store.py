"""Where the API reads results."""

from __future__ import annotations

from pathlib import Path

from connectors.store_sqlite import SqliteStore
from tapewatch.settings import Settings


def opened(settings: Settings) -> SqliteStore:
    """Open the results of the settings, anew for each request: a store may be replaced at any time.

    Raises
    ------
    UserError
        If there are none, or they cannot be read.
    """
    return SqliteStore(Path(settings.sinks.sqlite.path))
