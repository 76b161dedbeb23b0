"""Where the API reads results."""

from __future__ import annotations

from connectors.store import Store, open_results
from tapewatch.settings import Settings


def opened(settings: Settings) -> Store:
    """Open the results of the settings, anew for each request: a store may be replaced at any time.

    Raises
    ------
    UserError
        If there are none, or they cannot be read.
    """
    return open_results(settings)
