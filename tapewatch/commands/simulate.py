"""``tapewatch simulate``: labelled sessions to try things on."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapewatch.errors import UserError

if TYPE_CHECKING:
    from connectors.transaction_simulator import TransactionSimulation


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
    Path | None,
    typer.Option("--out", help="The file to write, .dbn or .dbn.zst; its labels go to PATH.labels.csv."),
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
        help="Write as it would happen, N times as fast; without it, at once.",
    ),
]


_TransactionsOut = Annotated[
    Path | None,
    typer.Option("--out", help="The file to write, .jsonl or .jsonl.zst; its labels go to PATH.labels.csv."),
]
_Topic = Annotated[str, typer.Option("--topic", metavar="NAME", help="The topic to publish to instead.")]
_MarketBrokers = Annotated[
    str, typer.Option("--brokers", metavar="HOST:PORT", help="Instead of `kafka.brokers`.")
]
_Brokers = Annotated[
    str, typer.Option("--brokers", metavar="HOST:PORT", help="Instead of `transactions.kafka.brokers`.")
]
_Partitions = Annotated[
    str, typer.Option("--partitions", metavar="N", help="Partitions of a topic that is made.")
]
_Days = Annotated[
    int, typer.Option("--minutes", parser=_whole, metavar="N", help="Minutes; a day has 1,440.")
]
_Users = Annotated[
    int, typer.Option("--users", "--symbols", parser=_whole, metavar="N", help="Number of users.")
]
_Breaches = Annotated[
    str,
    typer.Option(
        "--anomalies",
        metavar="KIND,…",
        help="Kinds of anomalies: all, none, or some of place, amount, merchant, hour, method, rapid, "
        "travel.",
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
        out: _Out = None,
        topic: _Topic = "",
        brokers: _MarketBrokers = "",
        seed: _Seed = 1,
        minutes: _Minutes = 390,
        symbols: _Symbols = 20,
        anomalies: _Anomalies = "all",
        speed: _Speed = None,
        partitions: _Partitions = "",
    ) -> None:
        """Simulate a day on a stock market, 13:30 to 20:00 UTC, as a Databento file of trades or to a topic.

        Beside a file PATH.labels.csv says what was injected: key, kind, and the half-open window in ns.

        Example: tapewatch simulate market --out session.dbn.zst --seed 7 --anomalies high_volume,block_trade
        """
        _market(out, topic, brokers, seed, minutes, symbols, anomalies, speed, partitions)

    @group.command()
    def transactions(
        out: _TransactionsOut = None,
        topic: _Topic = "",
        brokers: _Brokers = "",
        seed: _Seed = 1,
        minutes: _Days = 10_080,
        users: _Users = 200,
        anomalies: _Breaches = "all",
        speed: _Speed = None,
        partitions: _Partitions = "",
    ) -> None:
        """Simulate payments of users with habits, one in twenty of which breaks them.

        Beside a file PATH.labels.csv says what is wrong: user, kind, and the half-open window in ns.

        Example: tapewatch simulate transactions --out payments.jsonl.zst --users 500
        """
        _transactions(out, topic, brokers, seed, minutes, users, anomalies, speed, partitions)

    app.add_typer(group, name="simulate")


def _transactions(
    out: Path | None, topic: str, brokers: str, seed: int, minutes: int, users: int, anomalies: str,
    speed: float | None, partitions: str,
) -> None:  # fmt: skip
    from connectors.transaction_simulator import KINDS, TransactionSimulation, simulate_transactions
    from connectors.transaction_writer import check_path, write_transactions

    _check_where("transactions", out, topic, brokers, partitions, speed)
    if not 0 <= seed < 2**63:
        raise UserError(f"`--seed` must be from 0 to {2**63 - 1}, was {seed}")
    wanted = TransactionSimulation(users, minutes, seed, _kinds(anomalies, KINDS))
    if out is None:
        _published(wanted, topic, brokers, speed, int(partitions or -1))
        return
    check_path(out)
    made = simulate_transactions(wanted)
    labels = write_transactions(out, made, speed)
    typer.echo(f"{out}: {len(made):,} transactions of {users:,} users, {minutes:,} minutes")
    typer.echo(f"{labels}: {_counted([kind for kind in made.kinds if kind])}")


def _published(
    wanted: TransactionSimulation, topic: str, brokers: str, speed: float | None, partitions: int
) -> None:
    import sys

    from pydantic import ValidationError

    from flows.simulated_payments import Job, publish
    from tapewatch.settings import KafkaSettings, explain, load

    settings = load().transactions.kafka
    try:
        kafka = KafkaSettings.model_validate(
            {**settings.model_dump(), "topic": topic, **({"brokers": brokers} if brokers else {})}
        )
    except ValidationError as error:
        raise UserError(explain(error, "transactions.kafka", KafkaSettings)) from error
    try:
        publish(Job(wanted, kafka, topic, speed), partitions)
    except RuntimeError as error:
        print(f"tapewatch: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _check_where(
    what: str, out: Path | None, topic: str, brokers: str, partitions: str, speed: float | None
) -> None:
    if (out is None) == (not topic):
        raise UserError(f"`simulate {what}` writes to `--out PATH` or to `--topic NAME`: name one")
    if speed is not None and not 0 < speed < 1e9:
        raise UserError(f"`--speed` must be a number above 0, was {speed}")
    if partitions and not (partitions.isdigit() and 0 < int(partitions) <= 100_000):
        raise UserError(f"`--partitions` must be a whole number from 1, was {partitions!r}")
    for name, value in (("brokers", brokers), ("partitions", partitions)):
        if value and out is not None:
            raise UserError(f"`--{name}` is of a topic; name it with `--topic`")


def _market(
    out: Path | None, topic: str, brokers: str, seed: int, minutes: int, symbols: int, anomalies: str,
    speed: float | None, partitions: str,
) -> None:  # fmt: skip
    from connectors.dbn_writer import check_path, write_dbn
    from connectors.injections import KINDS
    from connectors.market_simulator import MarketSimulation, simulate
    from connectors.sessions import labels_path, write_labels

    _check_where("market", out, topic, brokers, partitions, speed)
    if out is not None:
        check_path(out)
    session = simulate(MarketSimulation(symbols, minutes, seed, _kinds(anomalies, KINDS)))
    if out is None:
        from tapewatch.commands.replay import replay_files

        with tempfile.TemporaryDirectory(prefix="tapewatch-simulate-") as folder:
            day = Path(folder) / "session.dbn.zst"
            write_dbn(day, session.records, session.symbols)
            pace = "max" if speed is None else str(speed)
            replay_files([str(day)], topic, brokers, partitions, pace, "json", resume=False)
        typer.echo(f"{topic}: {_counted([label.kind for label in session.labels])}")
        return
    # The labels come first: who follows a growing file has them at hand.
    labels = labels_path(out)
    write_labels(labels, session.labels)
    write_dbn(out, session.records, session.symbols, speed=speed)
    typer.echo(f"{out}: {len(session.records):,} trades of {symbols} symbols, {minutes} minutes")
    typer.echo(f"{labels}: {_counted([label.kind for label in session.labels])}")
    if anomalies != "none" and not session.labels:
        typer.echo("No anomaly was injected: the first 60 minutes of a day have none, nor has the end of it.")


def _kinds(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    if text == "all":
        return known
    if text == "none":
        return ()
    named = [name.strip() for name in text.split(",")]
    for name in named:
        if name not in known:
            raise UserError(f"`--anomalies` must be all, none, or some of {', '.join(known)}; was {name!r}")
    return tuple(named)


def _counted(kinds: list[str]) -> str:
    if not kinds:
        return "no anomalies"
    counts = ", ".join(f"{kind} {kinds.count(kind)}" for kind in sorted(set(kinds)))
    return f"{len(kinds)} anomalies ({counts})"
