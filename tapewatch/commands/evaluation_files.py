"""Where the data of an evaluation, or of a training, is, and where its results go."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tapewatch.errors import UserError


def found(
    patterns: list[str],
    extensions: Sequence[str] = (),
    example: str = "day.trades.dbn.zst",
    option: str = "--data",
) -> list[Path]:
    """Return the files that an option names; with ``extensions`` those of that kind, otherwise tapes.

    Raises
    ------
    UserError
        If there are none.

    Examples
    --------
    >>> found([], (".csv",), "payments.csv")
    Traceback (most recent call last):
      ...
    tapewatch.errors.UserError: `--data` is missing; name the files to judge, e.g. --data payments.csv
    """
    from connectors.chain import EXTENSIONS, find

    if not patterns:
        raise UserError(f"`{option}` is missing; name the files to judge, e.g. {option} {example}")
    return find(patterns, option, tuple(extensions) or EXTENSIONS, example)


def found_bars(patterns: list[str], option: str = "--data") -> list[Path]:
    """Return the files that an option names: tapes, and bars as Parquet; none if it names none.

    Raises
    ------
    UserError
        If one of them does not exist.
    """
    tapes = [pattern for pattern in patterns if not pattern.endswith(".parquet")]
    paths = found(tapes, option=option) if tapes else []
    for pattern in patterns:
        if pattern.endswith(".parquet"):
            path = Path(pattern)
            some = [path] if path.is_file() else sorted(path.parent.glob(path.name))
            if not some:
                raise UserError(f"`{option}` names {pattern}, which does not exist")
            paths += some
    return sorted(set(paths))


def check(json: Path | None, out: Path | None) -> None:
    """Refuse places that cannot be written to before minutes are spent."""
    if json is not None and not json.absolute().parent.is_dir():
        raise UserError(f"`--json` is in {json.absolute().parent}, which is no folder")
    if out is not None and not out.is_dir():
        raise UserError(f"`--out` must be a folder, was {out}")


def save(path: Path | None, result: dict[str, Any]) -> None:
    """Write a result as JSON, if it is wanted."""
    import orjson

    if path is not None:
        write(path, orjson.dumps(result).decode() + "\n")


def write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    from connectors.whole_file import written_whole

    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
