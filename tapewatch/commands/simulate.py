"""``tapewatch simulate``: labelled sessions to try things on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapewatch.errors import UserError


def _whole(text: str | int) -> int:
    try:
        return int(text)
    except ValueError:
        raise typer.BadParameter(f"must be a whole number, was {text!r}") from None


def _number(text: str | float) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"must be a number, was {text!r}") from None


_Out = Annotated[
    Path, typer.Option("--out", help="The file to write, .dbn or .dbn.zst; its labels go to PATH.labels.csv.")
]
_Seed = Annotated[
    int, typer.Option("--seed", parser=_whole, metavar="N", help="The same seed writes the same bytes.")
]
_Minutes = Annotated[
    int,
    typer.Option(
        "--minutes",
        parser=_whole,
        metavar="N",
        help="Minutes of trading; a day has 390, what is above goes on the next weekday.",
    ),
]
_Symbols = Annotated[
    int, typer.Option("--symbols", parser=_whole, metavar="N", help="Number of instruments.")
]
_Anomalies = Annotated[
    str,
    typer.Option(
        "--anomalies",
        metavar="KIND,…",
        help="Kinds to inject: all, none, or some of high_volume, block_trade, price_jump, flash_crash, "
        "bad_tick, silence, gap, quote_burst.",
    ),
]
_Speed = Annotated[
    float | None,
    typer.Option(
        "--speed",
        parser=_number,
        metavar="N",
        help="Let the file grow as the market did, N times as fast; without it, at once.",
    ),
]


def register(app: typer.Typer) -> None:
    """Add ``simulate`` to the command line."""
    group = typer.Typer()

    @group.callback()
    def simulate() -> None:
        """Write believable data with labelled anomalies.

        Example: tapewatch simulate market --out session.dbn.zst
        """

    @group.command()
    def market(
        out: _Out,
        seed: _Seed = 1,
        minutes: _Minutes = 390,
        symbols: _Symbols = 20,
        anomalies: _Anomalies = "all",
        speed: _Speed = None,
    ) -> None:
        """Simulate a day on a stock market, 13:30 to 20:00 UTC, as a Databento file of trades.

        Beside it PATH.labels.csv says what was injected: key, kind, and the half-open window in ns.

        Example: tapewatch simulate market --out session.dbn.zst --seed 7 --anomalies high_volume,block_trade
        """
        _market(out, seed, minutes, symbols, anomalies, speed)

    app.add_typer(group, name="simulate")


def _market(out: Path, seed: int, minutes: int, symbols: int, anomalies: str, speed: float | None) -> None:
    from connectors.dbn_writer import check_path, write_dbn
    from connectors.market_simulator import MarketSimulation, simulate
    from connectors.sessions import labels_path, write_labels

    check_path(out)
    if speed is not None and not 0 < speed < 1e9:
        raise UserError(f"`--speed` must be a number above 0, was {speed}")
    session = simulate(MarketSimulation(symbols, minutes, seed, _kinds(anomalies)))
    # The labels come first: who follows a growing file has them at hand.
    labels = labels_path(out)
    write_labels(labels, session.labels)
    write_dbn(out, session.records, session.symbols, speed=speed)
    typer.echo(f"{out}: {len(session.records):,} trades of {symbols} symbols, {minutes} minutes")
    typer.echo(f"{labels}: {_counted([label.kind for label in session.labels])}")
    if anomalies != "none" and not session.labels:
        typer.echo("No anomaly was injected: the first 60 minutes of a day have none, nor has the end of it.")


def _kinds(text: str) -> tuple[str, ...]:
    from connectors.injections import KINDS

    if text == "all":
        return KINDS
    if text == "none":
        return ()
    named = [name.strip() for name in text.split(",")]
    for name in named:
        if name not in KINDS:
            raise UserError(f"`--anomalies` must be all, none, or some of {', '.join(KINDS)}; was {name!r}")
    return tuple(named)


def _counted(kinds: list[str]) -> str:
    if not kinds:
        return "no anomalies"
    counts = ", ".join(f"{kind} {kinds.count(kind)}" for kind in sorted(set(kinds)))
    return f"{len(kinds)} anomalies ({counts})"
