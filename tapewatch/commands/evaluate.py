"""``tapewatch evaluate``: how good the detectors are, where the truth is known and on real days."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
        json: _Json = None,
        out: _Out = None,
    ) -> None:
        """Count the alarms on clean tapes, and what is found of anomalies of known size.

        Example: tapewatch evaluate injected --seed 5 --required-only
        """
        _injected([*(data or []), *(more or [])], seed, required, json, out)

    @group.command()
    def real(
        more: _More = None,
        data: Annotated[
            list[str] | None, typer.Option("--data", metavar="PATH…", help="Files or globs to judge.")
        ] = None,
        worst: Annotated[int, typer.Option("--worst", metavar="N", help="Incidents to show.")] = 20,
        json: _Json = None,
        out: _Out = None,
    ) -> None:
        """Run the market flow over files; show the worst incidents, and what each detector spent.

        Example: tapewatch evaluate real --data day.trades.dbn.zst
        """
        _real([*(data or []), *(more or [])], worst, json, out)

    app.add_typer(group, name="evaluate")


def _injected(
    patterns: list[str], seeds: list[int] | None, required: bool, json: Path | None, out: Path | None
) -> None:
    for seed in seeds or []:
        if not 0 <= seed < 2**63:
            raise UserError(f"`--seed` must be from 0 to {2**63 - 1}, was {seed}")
    _check(json, out)
    from models.quality import REQUIRED, SEEDS, SIZES, simulated, study
    from models.quality_tables import picture, tables

    source = _from_files(patterns) if patterns else simulated
    sizes = {kind: (size,) for kind, size in REQUIRED.items()} if required else SIZES
    with _shown() as progress:
        result = study(seeds or (SEEDS[:1] if patterns else SEEDS), sizes, source, progress)
    text = tables(result)
    typer.echo(text, nl=False)
    _save(json, result.as_json())
    if out is not None:
        _write(out / "quality-tables.md", text)
        picture(result, out / "quality-recall.png")


def _from_files(patterns: list[str]) -> Source:
    from models.tapes import session_of_files

    session = session_of_files(_found(patterns))
    return lambda seed, days: session


def _real(patterns: list[str], worst: int, json: Path | None, out: Path | None) -> None:
    if worst < 1:
        raise UserError(f"`--worst` must be at least 1, was {worst}")
    paths = _found(patterns)
    _check(json, out)
    from models.real_days import real_days, tables

    result = real_days(paths, worst)
    text = tables(result)
    typer.echo(text, nl=False)
    _save(json, result.as_json())
    if out is not None:
        _write(out / "quality-real.md", text)


def _found(patterns: list[str]) -> list[Path]:
    from connectors.chain import find

    if not patterns:
        raise UserError("`--data` is missing; name the files to judge, e.g. --data day.trades.dbn.zst")
    try:
        return find(patterns)
    except UserError as error:
        raise UserError(str(error).replace("`source.paths`", "`--data`")) from None


def _check(json: Path | None, out: Path | None) -> None:
    """Refuse places that cannot be written to before minutes are spent."""
    if json is not None and not json.absolute().parent.is_dir():
        raise UserError(f"`--json` is in {json.absolute().parent}, which is no folder")
    if out is not None and not out.is_dir():
        raise UserError(f"`--out` must be a folder, was {out}")


def _save(path: Path | None, result: dict[str, Any]) -> None:
    import orjson

    if path is not None:
        _write(path, orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")


def _write(path: Path, text: str) -> None:
    from connectors.whole_file import written_whole

    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")


@contextmanager
def _shown() -> Iterator[Progress]:
    """Show a line of progress on a terminal."""

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\r{done} of {total} sessions judged", end="", file=sys.stderr, flush=True)

    yield progress
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
