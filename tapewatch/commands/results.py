"""Commands on the results: ``stats``, ``reset``, ``prune``, ``backup``, ``restore``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapewatch.errors import UserError

if TYPE_CHECKING:
    from tapewatch.settings import Settings


def _settings() -> Settings:
    from tapewatch.settings import load

    return load()


def _database() -> Path:
    return Path(_settings().sinks.sqlite.path)


def _days(text: str | int) -> int:
    if not str(text).isdecimal():
        raise typer.BadParameter(f"must be a whole number from 0, was {text!r}")
    return int(text)


def _in_words(seconds: float) -> str:
    """Return a stretch of time as a person says it, in its two largest units.

    >>> _in_words(4.2), _in_words(7_500), _in_words(401_000_000)
    ('4 s', '2 h 5 min', '12 years 258 days')
    """
    words: list[str] = []
    left = int(abs(seconds))
    for unit, size in (("years", 31_556_952), ("days", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        number, left = divmod(left, size)
        if number or (unit == "s" and not words):
            words.append(f"{number} {unit}")
    return ("" if seconds > -1 else "minus ") + " ".join(words[:2])


def _numbers(counts: dict[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def register(app: typer.Typer) -> None:
    """Add the commands to the command line."""

    @app.command()
    def stats(
        json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead.")] = False,
    ) -> None:
        """Show counts, rates and lag of the stored results.

        Example: tapewatch stats
        """
        from connectors.store import open_results
        from tapewatch.documents import rfc3339

        with open_results(_settings()) as store:
            if json:
                import orjson

                from connectors.store_stats import stats as figures

                print(orjson.dumps(figures(store, time.time_ns())).decode())
                return
            counts, totals = store.counts(), store.totals()
            detectors, rates = store.by_detector(), store.rates()
        last = rates["ts_last"]
        lag = None if last is None else (time.time_ns() - last) / 1e9
        print("Results   " + _numbers(counts))
        print("Counted   " + (_numbers(totals) or "nothing yet"))
        for row in detectors:
            print(
                f"Detector  {row['detector']}: {row['anomalies']:,} anomalies, "
                f"worst severity {row['max_severity'] or 0:.0f}"
            )
        if last is not None and lag is not None:
            print(f"Tape      {rfc3339(rates['ts_first'])} to {rfc3339(last)}")
            print(
                f"Rates     {rates['records_per_second'] or 0:,.1f} records/s of tape, "
                f"{rates['anomalies_per_day'] or 0:,.1f} anomalies a day"
            )
            print(f"Lag       {_in_words(lag)} since the newest event")

    @app.command()
    def reset(yes: Annotated[bool, typer.Option("--yes", help="Really wipe the results.")] = False) -> None:
        """Wipe all results in the stores of `sinks.kinds`; reviews and profiles stay.

        Example: tapewatch reset --yes
        """
        if not yes:
            raise UserError("`reset` wipes all results; say `tapewatch reset --yes` if that is what you want")
        from connectors import elasticsearch_upkeep, sqlite_upkeep

        settings = _settings()
        for kind in settings.sinks.stores or ("sqlite",):
            if kind == "sqlite":
                print("Wiped " + _numbers(sqlite_upkeep.wipe(Path(settings.sinks.sqlite.path))))
            else:
                server = settings.sinks.elasticsearch
                print(f"Wiped {_numbers(elasticsearch_upkeep.wipe(server))} at {server.url}")

    @app.command()
    def prune(
        days: Annotated[
            int, typer.Option("--days", parser=_days, metavar="N", help="Keep results of the last N days.")
        ],
    ) -> None:
        """Remove results that are older than N days, by the time of the event; reviews stay.

        The profiles of users who have not paid for so long go, too.

        Example: tapewatch prune --days 90
        """
        from connectors import elasticsearch_upkeep, sqlite_upkeep

        settings, now = _settings(), time.time_ns()
        for kind in settings.sinks.stores or ("sqlite",):
            if kind == "sqlite":
                removed = sqlite_upkeep.prune(Path(settings.sinks.sqlite.path), days, now)
                print("Removed " + _numbers(removed))
            else:
                server = settings.sinks.elasticsearch
                print(f"Removed {_numbers(elasticsearch_upkeep.prune(server, days, now))} at {server.url}")

    @app.command()
    def backup(path: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")]) -> None:
        """Copy the embedded database to a file, also while a flow writes.

        Example: tapewatch backup monday.db
        """
        from connectors.sqlite_upkeep import backup as copy

        print(f"Copied {copy(_database(), path):,} bytes to {path}")

    @app.command()
    def restore(path: Annotated[Path, typer.Argument(help="A file that `tapewatch backup` wrote.")]) -> None:
        """Replace the embedded database by a backup, after checking that it is whole.

        Example: tapewatch restore monday.db
        """
        from connectors.sqlite_upkeep import restore as replace

        print("Restored " + _numbers(replace(_database(), path)))
