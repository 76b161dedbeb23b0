"""``tapewatch init``: prepare a place for results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapewatch.errors import UserError

_TARGETS = ("elasticsearch", "sqlite")


def register(app: typer.Typer) -> None:
    """Add ``init`` to the command line."""

    @app.command()
    def init(
        target: Annotated[str, typer.Argument(help="What to prepare: elasticsearch or sqlite.")],
    ) -> None:
        """Prepare a place for results. Safe to repeat.

        Example: tapewatch init sqlite
        """
        if target not in _TARGETS:
            raise UserError(f"`init` must be one of {', '.join(_TARGETS)}, was {target!r}")
        {"elasticsearch": _elasticsearch, "sqlite": _sqlite}[target]()


def _sqlite() -> None:
    from connectors.sqlite_upkeep import create
    from tapewatch.settings import load

    path = Path(load().sinks.sqlite.path)
    print(f"{path}: {'made' if create(path) else 'was there already'}")


def _elasticsearch() -> None:
    from connectors.elasticsearch_upkeep import prepare
    from tapewatch.settings import load

    server = load().sinks.elasticsearch
    new, retention = prepare(server)
    name = f"{server.url}: index templates {server.index_prefix}-*"
    print(f"{name} {'made' if new else 'were there already'}; {retention}")
