"""``tapewatch simulate``: labelled sessions to try things on."""

from __future__ import annotations

import typer


def register(app: typer.Typer) -> None:
    """Add ``simulate`` to the command line."""
    group = typer.Typer()

    @group.callback()
    def simulate() -> None:
        """Write believable data with labelled anomalies.

        Example: tapewatch simulate market --out session.dbn.zst
        """

    app.add_typer(group, name="simulate")
