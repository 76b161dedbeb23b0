"""``tapewatch init``: prepare a place for results."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from tapewatch.errors import UserError

_TARGETS = ("elasticsearch", "kibana", "sqlite", "profiles")


def register(app: typer.Typer) -> None:
    """Add ``init`` to the command line."""

    @app.command()
    def init(
        target: Annotated[
            str, typer.Argument(help="What to prepare: elasticsearch, kibana, sqlite or profiles.")
        ],
        out: Annotated[
            Path | None,
            typer.Option("--out", help="Write Kibana's objects to this file, to be imported by hand."),
        ] = None,
    ) -> None:
        """Prepare a place for results. Safe to repeat.

        Example: tapewatch init sqlite
        """
        if target not in _TARGETS:
            raise UserError(f"`init` must be one of {', '.join(_TARGETS)}, was {target!r}")
        if out is not None and target != "kibana":
            raise UserError("`--out` is for `tapewatch init kibana` only")
        match target:
            case "elasticsearch":
                _elasticsearch()
            case "kibana":
                _kibana(out)
            case "profiles":
                _profiles()
            case _:
                _sqlite()


def _sqlite() -> None:
    from connectors.sqlite_upkeep import create
    from tapewatch.settings import load

    path = Path(load().sinks.sqlite.path)
    print(f"{path}: {'made' if create(path) else 'was there already'}")


def _profiles() -> None:
    from connectors.chain import find
    from connectors.profiles import write_profiles
    from connectors.transaction_files import EXTENSIONS
    from operators.transaction_history import profiles_of
    from tapewatch.pseudonyms import pseudonyms_of
    from tapewatch.settings import load

    settings = load()
    wanted = settings.transactions
    pseudonyms = pseudonyms_of(wanted)
    paths = find(wanted.source.paths, "transactions.source.paths", EXTENSIONS, "payments.csv")
    from models.transaction_training import in_order

    batches = [in_order(path, wanted.columns) for path in paths]
    batches.sort(key=lambda batch: int(batch.times[0]) if len(batch) else 0)
    if pseudonyms is not None:
        batches = [replace(batch, users=pseudonyms.all_of(batch.users)) for batch in batches]
    profiles = profiles_of(batches, wanted.profiles.idle_days)
    place = write_profiles(settings, profiles)
    print(f"{place}: {len(profiles):,} profiles from {sum(map(len, batches)):,} transactions")


def _elasticsearch() -> None:
    from connectors.elasticsearch_upkeep import prepare
    from tapewatch.settings import load

    server = load().sinks.elasticsearch
    new, retention = prepare(server)
    name = f"{server.url}: index templates {server.index_prefix}-*"
    print(f"{name} {'made' if new else 'were there already'}; {retention}")


def _kibana(out: Path | None) -> None:
    from connectors.kibana import ndjson, saved_objects, upload
    from tapewatch.settings import load

    server = load().sinks.elasticsearch
    if out is None:
        print(f"{server.kibana_url}: imported {upload(server)} data views, searches, panels and dashboards")
        return
    objects = saved_objects(server.index_prefix)
    out.write_bytes(ndjson(objects))
    print(f"{out}: {len(objects)} objects; import them in Kibana under Stack Management, Saved Objects")
