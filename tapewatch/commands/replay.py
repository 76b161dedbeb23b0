"""``tapewatch replay``: files to a Kafka topic."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tapewatch.errors import UserError

_ENCODINGS = ("json", "dbn")


def register(app: typer.Typer) -> None:
    """Add ``replay`` to the command line."""

    @app.command()
    def replay(
        paths: Annotated[list[str], typer.Argument(help="Files or globs, as `source.paths` takes them.")],
        topic: Annotated[str, typer.Option("--topic", metavar="NAME", help="The topic; made if missing.")],
        brokers: Annotated[
            str, typer.Option("--brokers", metavar="HOST:PORT", help="Instead of `kafka.brokers`.")
        ] = "",
        partitions: Annotated[
            str, typer.Option("--partitions", metavar="N", help="Partitions of a topic that is made.")
        ] = "",
        speed: Annotated[
            str, typer.Option("--speed", metavar="max|N", help="As fast as it goes, or N times real time.")
        ] = "max",
        encoding: Annotated[
            str,
            typer.Option("--encoding", metavar="json|dbn", help="One message a trade, or runs of records."),
        ] = "json",
        resume: Annotated[
            bool, typer.Option("--resume", help="Go on where an interrupted replay stopped.")
        ] = False,
    ) -> None:
        """Publish files to a Kafka topic, keyed by symbol, as fast as it goes or as the market did.

        Example: tapewatch replay day.dbn.zst --topic trades --partitions 4 --encoding dbn
        """
        replay_files(paths, topic, brokers, partitions, speed, encoding, resume=resume)


def replay_files(
    paths: list[str], topic: str, brokers: str, partitions: str, speed: str, encoding: str, *, resume: bool
) -> None:
    """Replay files as the options of the command say, which are checked.

    Raises
    ------
    UserError
        If options, files or brokers are not as they should be.
    """
    from pydantic import ValidationError

    from tapewatch.settings import KafkaSettings, SourceSettings, explain, load

    if encoding not in _ENCODINGS:
        raise UserError(f"`--encoding` must be one of {', '.join(_ENCODINGS)}, was {encoding!r}")
    if partitions and not (partitions.isdigit() and 0 < int(partitions) <= 100_000):
        raise UserError(f"`--partitions` must be a whole number from 1, was {partitions!r}")
    settings = load()
    try:
        kafka = {**settings.kafka.model_dump(), "topic": topic, **({"brokers": brokers} if brokers else {})}
        source = {**settings.source.model_dump(), "paths": paths, "speed": speed}
        given = KafkaSettings(**kafka), SourceSettings(**source)
    except ValidationError as error:
        # The options of the command are all that has not been checked before.
        raise UserError(explain(error, model=None).replace("`", "`--", 1)) from None

    # Only now: these libraries take a second to import.
    from flows.replay import Job, replay

    job = Job(source=given[1], kafka=given[0], topic=topic, encoding=encoding, resume=resume)  # type: ignore[arg-type]
    try:
        replay(job, int(partitions or -1))
    except RuntimeError as error:
        print(f"tapewatch: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
