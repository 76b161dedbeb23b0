"""``tapewatch evaluate injected --bars`` and ``tapewatch evaluate nab``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import typer

from tapewatch.commands.evaluation_files import check, found_bars, save, write
from tapewatch.errors import UserError


def injected(
    patterns: list[str], seeds: list[int] | None, sigma: str | None, json: Path | None, out: Path | None
) -> None:
    """Measure detectors and baselines on events in minute bars, of files or of simulated sessions."""
    for seed in seeds or []:
        if not 0 <= seed < 2**32:
            raise UserError(f"`--seed` must be from 0 to {2**32 - 1}, was {seed}")
    check(json, out)
    from models.bar_json import as_json
    from models.bar_series import series_of_files, simulated_series
    from models.bar_sigmas import READINGS, USUAL
    from models.bar_study import SEEDS, study
    from models.bar_tables import picture, tables

    reading = next((one for one in READINGS if one == (sigma or USUAL)), None)
    if reading is None:
        raise UserError(f"`--sigma` must be one of {', '.join(READINGS)}, was '{sigma}'")
    paths = found_bars(patterns)
    given = list(series_of_files(paths)) if paths else []
    try:
        result = study(
            (lambda seed: given) if paths else (lambda seed: list(simulated_series(seed))),
            seeds or SEEDS,
            _told,
            reading,
        )
    except ImportError as error:
        raise UserError(f'the baselines need {error.name}: pip install "tapewatch[train,river]"') from None
    text = tables(result)
    typer.echo(text, nl=False)
    save(json, as_json(result))
    if out is not None:
        write(out / "evaluation-tables.md", text)
        picture(result, out / "evaluation-recall.png")


def nab(data: Path | None, detector: str | None, robust: bool, json: Path | None, out: Path | None) -> None:
    """Run detectors over NAB's series, write its result files and, if there are labels, score them."""
    if data is None:
        raise UserError("`--data` is missing; name a folder laid out as NAB's data/")
    if not data.is_dir():
        raise UserError(f"`--data` must be a folder, was {data}")
    check(json, None)
    from models import nab as benchmark

    if detector is not None:
        benchmark.chosen(detector)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    every = benchmark.read(data)
    labels, profiles = benchmark.labels_of(data), benchmark.profiles_of(data)
    result: dict[str, Any] = {"study": benchmark.STUDY, "series": len(every), "detectors": {}}
    names = [detector] if detector else benchmark.names()
    if labels is not None:
        typer.echo("| detector | " + " | ".join(profiles) + " |\n|---|" + "---|" * len(profiles))
    for name in names:
        _line(f"{name} over {len(every)} series")
        told = benchmark.scores_of(every, name)
        if out is not None:
            benchmark.write(out, name, every, told)
        _line("")
        if labels is None:
            typer.echo(f"{name}: {len(every)} series scored" + (f", written to {out}" if out else ""))
            continue
        scores = benchmark.scored(every, told, labels, profiles)
        result["detectors"][name] = scores
        typer.echo(f"| `{name}` | " + " | ".join(f"{scores[p]['score']:.1f}" for p in profiles) + " |")
    if robust and labels is not None:
        result["robustness"] = benchmark.robustness(every, labels, _line)
        _line("")
        typer.echo("\n| `value_novelty` with | standard |\n|---|---|")
        for name, score in result["robustness"].items():
            typer.echo(f"| {name} | {score:.1f} |")
    save(json, result)


def _told(done: int, total: int) -> None:
    _line(f"{done} of {total} seeds" if done < total else "")


def _line(text: str) -> None:
    """Show a line of progress on a terminal."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
