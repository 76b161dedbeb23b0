"""``tapewatch evaluate``: how good the detectors are, where the truth is known and on real days."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapewatch.commands import evaluate_bars
from tapewatch.commands.evaluation_files import check, found, found_bars, save, write
from tapewatch.errors import UserError

if TYPE_CHECKING:
    from models.quality import Progress, Source

_More = Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)]
_Json = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Save the tables as JSON, too.")]
_Out = Annotated[
    Path | None, typer.Option("--out", metavar="FOLDER", help="Save the tables as Markdown, with a picture.")
]


def register(app: typer.Typer) -> None:
    """Add ``evaluate`` to the command line."""
    group = typer.Typer()

    @group.callback()
    def evaluate() -> None:
        """Measure the quality of the detectors.

        Example: tapewatch evaluate real --data day.trades.dbn.zst
        """

    @group.command()
    def injected(
        more: _More = None,
        data: Annotated[
            list[str] | None,
            typer.Option(
                "--data", metavar="PATH…", help="Trades to inject into; without any, simulated ones."
            ),
        ] = None,
        seed: Annotated[
            list[int] | None,
            typer.Option("--seed", metavar="N", help="Of sessions and of what is injected; may be repeated."),
        ] = None,
        required: Annotated[
            bool, typer.Option("--required-only", help="Inject at the required sizes alone.")
        ] = False,
        bars: Annotated[
            bool, typer.Option("--bars", help="Inject into minute bars, and measure baselines beside.")
        ] = False,
        sigma: Annotated[
            str | None,
            typer.Option("--sigma", metavar="deviation|robust", help="With --bars: what sizes are told in."),
        ] = None,
        json: _Json = None,
        out: _Out = None,
    ) -> None:
        """Count the alarms on clean tapes, and what is found of anomalies of known size.

        With --bars, or where --data names bars, events of five kinds go into minute bars.

        Example: tapewatch evaluate injected --seed 5 --required-only
        """
        patterns = [*(data or []), *(more or [])]
        if bars or any(pattern.endswith(".parquet") for pattern in patterns):
            evaluate_bars.injected(patterns, seed, sigma, json, out)
        elif sigma is not None:
            raise UserError("`--sigma` is for events in minute bars; add --bars")
        else:
            _injected(patterns, seed, required, json, out)

    @group.command()
    def nab(
        data: Annotated[
            Path | None,
            typer.Option("--data", metavar="DIR", help="Laid out as NAB's data/, with labels/ for scores."),
        ] = None,
        detector: Annotated[
            str | None, typer.Option("--detector", metavar="NAME", help="One detector instead of all.")
        ] = None,
        robust: Annotated[
            bool, typer.Option("--robust", help="Halve and double each parameter of value_novelty, too.")
        ] = False,
        json: _Json = None,
        out: Annotated[
            Path | None, typer.Option("--out", metavar="DIR", help="Folder for NAB's result files.")
        ] = None,
    ) -> None:
        """Score detectors on the Numenta Anomaly Benchmark by its own rules; each series is streamed once.

        Example: tapewatch evaluate nab --data NAB --detector value_novelty --out results
        """
        evaluate_bars.nab(data, detector, robust, json, out)

    @group.command()
    def real(
        more: _More = None,
        data: Annotated[
            list[str] | None, typer.Option("--data", metavar="PATH…", help="Files or globs to judge.")
        ] = None,
        worst: Annotated[int, typer.Option("--worst", metavar="N", help="Incidents to show.")] = 20,
        fresh: Annotated[
            list[str] | None,
            typer.Option(
                "--fresh", metavar="PATH", help="Tapes and bars of which many dates are judged as first days."
            ),
        ] = None,
        json: _Json = None,
        out: _Out = None,
    ) -> None:
        """Run the market flow over files; show the worst incidents, and what each detector spent.

        With --fresh (may be repeated) also what first days cost: each date of trades, and some dates of bars
        (.parquet or ohlcv-1m), are judged as if nothing had come before.

        Example: tapewatch evaluate real --data day.trades.dbn.zst --fresh day.trades.dbn.zst
        """
        _real([*(data or []), *(more or [])], fresh or [], worst, json, out)

    @group.command()
    def transactions(
        more: _More = None,
        data: Annotated[
            list[str] | None,
            typer.Option(
                "--data",
                metavar="PATH…",
                help="seed003-train.csv and cards-2018-04-07.parquet, either or both.",
            ),
        ] = None,
        json: _Json = None,
    ) -> None:
        """Stream labelled payments once; say how well each detector ranks the frauds of what is held out.

        Example: tapewatch evaluate transactions --data seed003-train.csv
        """
        _transactions([*(data or []), *(more or [])], json)

    app.add_typer(group, name="evaluate")


def _transactions(patterns: list[str], json: Path | None) -> None:
    from connectors.transaction_files import EXTENSIONS
    from models.transaction_quality import as_json, quality, table

    paths = found(patterns, EXTENSIONS, "seed003-train.csv")
    check(json, None)
    result = quality(paths)
    typer.echo(table(result), nl=False)
    save(json, as_json(result))


def _injected(
    patterns: list[str], seeds: list[int] | None, required: bool, json: Path | None, out: Path | None
) -> None:
    for seed in seeds or []:
        if not 0 <= seed < 2**63:
            raise UserError(f"`--seed` must be from 0 to {2**63 - 1}, was {seed}")
    check(json, out)
    from models.quality import REQUIRED, SEEDS, SIZES, simulated, study
    from models.quality_tables import picture, tables

    source = _from_files(patterns) if patterns else simulated
    sizes = {kind: (size,) for kind, size in REQUIRED.items()} if required else SIZES
    with _shown() as progress:
        result = study(seeds or (SEEDS[:1] if patterns else SEEDS), sizes, source, progress)
    text = tables(result)
    typer.echo(text, nl=False)
    save(json, result.as_json())
    if out is not None:
        write(out / "quality-tables.md", text)
        picture(result, out / "quality-recall.png")


def _from_files(patterns: list[str]) -> Source:
    from models.tapes import session_of_files

    session = session_of_files(found(patterns))
    return lambda seed, days: session


def _real(patterns: list[str], fresh: list[str], worst: int, json: Path | None, out: Path | None) -> None:
    if worst < 1:
        raise UserError(f"`--worst` must be at least 1, was {worst}")
    paths, afresh = found(patterns), found_bars(fresh, "--fresh")
    check(json, out)
    from models.first_days import first_days
    from models.real_days import real_days, tables

    result = real_days(paths, worst)
    text, values = tables(result), result.as_json()
    if afresh:
        costs = first_days(afresh)
        text, values = f"{text}\n{costs.table()}", {**values, "first_days": costs.as_json()}
    typer.echo(text, nl=False)
    save(json, values)
    if out is not None:
        write(out / "quality-real.md", text)


@contextmanager
def _shown() -> Iterator[Progress]:
    """Show a line of progress on a terminal."""

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total} sessions judged", end="", file=sys.stderr, flush=True)

    yield progress
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
