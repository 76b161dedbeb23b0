"""``tapewatch train``: makes the pre-trained models again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapewatch.commands.evaluation_files import found, found_bars
from tapewatch.errors import UserError

if TYPE_CHECKING:
    from models.training import Progress

_Name = Annotated[str, typer.Argument(metavar="NAME", help="isolation_forest, autoencoder, …")]
_More = Annotated[list[str] | None, typer.Argument(metavar="", hidden=True)]
_Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        metavar="PATH…",
        help="Tapes, or one-minute bars as .parquet, to train on beside simulated sessions; files or globs.",
    ),
]
_Out = Annotated[Path, typer.Option("--out", help="Folder for NAME.onnx, its card NAME.json and NAME.png.")]
_Seed = Annotated[int, typer.Option("--seed", help="The same seed and data give the same model.")]


def register(app: typer.Typer) -> None:
    """Add ``train`` to the command line."""

    @app.command()
    def train(
        name: _Name,
        more: _More = None,
        data: _Data = None,
        out: _Out = Path("models"),
        seed: _Seed = 1,
    ) -> None:
        r"""Train a model, export it to ONNX, and write a card that says what it is and how well it does.

        Needs the extra: pip install "tapewatch\[train]".

        Example: tapewatch train isolation_forest --data day.trades.dbn.zst
        """
        _train(name, [*(data or []), *(more or [])], out, seed)


def _train(name: str, patterns: list[str], out: Path, seed: int) -> None:
    from models.training import KINDS, train

    payments = ("transactions_isolation_forest", "transactions_autoencoder")
    cold_start = "transactions_cold_start"
    if name not in (*KINDS, *payments, cold_start):
        known = ", ".join((*KINDS, *payments, cold_start))
        raise UserError(f"NAME must be one of {known}, was {name!r}")
    if not 0 <= seed < 2**32:
        raise UserError(f"`--seed` must be from 0 to {2**32 - 1}, was {seed}")
    if name == cold_start:
        from models.transaction_cold_start import make

        out.mkdir(parents=True, exist_ok=True)
        told = make(out)
        typer.echo(f"{out / name}.json: what is known after {told['transactions']:,} simulated transactions")
        return
    if name in payments:
        _transactions(name, patterns, out, seed)
        return
    paths = found_bars(patterns)
    out.mkdir(parents=True, exist_ok=True)
    with _shown() as progress:
        card = train(name, paths, out, seed, progress)
    told = card["metrics"]
    typer.echo(f"{out / name}.onnx: {card['bytes']:,} bytes, trained on {card['training_bars']:,} bars")
    typer.echo(
        f"held out: {told['validation_bars']:,} bars, {told['validation_anomalous_bars']:,} of them anomalous"
    )
    typer.echo(
        f"ROC AUC {told['roc_auc']:.3f}, average precision {told['average_precision']:.3f}, "
        f"Youden's J {told['youden_j']:.3f} at {card['threshold']:.4g}"
    )
    typer.echo(f"{out / name}.json is its card, {out / name}.png a picture. To use it:")
    typer.echo(f"  TAPEWATCH_DETECTORS__{name.upper()}__MODEL={(out / name).absolute()}.onnx")


def _transactions(name: str, patterns: list[str], out: Path, seed: int) -> None:
    from connectors.transaction_files import EXTENSIONS
    from models.transaction_training import train

    try:
        paths = found(patterns, EXTENSIONS) if patterns else []
        out.mkdir(parents=True, exist_ok=True)
        card = train(name, paths, out, seed)
    except ImportError as error:
        raise UserError(f'training needs {error.name}: pip install "tapewatch[train]"') from None
    typer.echo(
        f"{out / name}.onnx: {card['bytes']:,} bytes, trained on {card['training_transactions']:,} "
        "transactions"
    )
    typer.echo(f"{out / name}.json is its card")


@contextmanager
def _shown() -> Iterator[Progress]:
    """Yield what shows progress, as a bar on stderr if it is a terminal."""
    if not sys.stderr.isatty():
        yield lambda what, done, total: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True)) as bars:
        task = bars.add_task("", total=1)
        yield lambda what, done, total: bars.update(task, description=what, completed=done, total=total)
