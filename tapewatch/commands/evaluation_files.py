"""Where the data of an evaluation is, and where its results go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tapewatch.errors import UserError


def found(patterns: list[str]) -> list[Path]:
    """Return the files that ``--data`` names.

    Raises
    ------
    UserError
        If there are none.
    """
    from connectors.chain import find

    if not patterns:
        raise UserError("`--data` is missing; name the files to judge, e.g. --data day.trades.dbn.zst")
    try:
        return find(patterns)
    except UserError as error:
        raise UserError(str(error).replace("`source.paths`", "`--data`")) from None


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
        write(path, orjson.dumps(result, option=orjson.OPT_INDENT_2).decode() + "\n")


def write(path: Path, text: str) -> None:
    """Write a file as a whole or not at all."""
    from connectors.whole_file import written_whole

    with written_whole(path) as part:
        part.write_text(text, encoding="utf-8")
