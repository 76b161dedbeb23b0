"""Writes files that are never seen half written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tapewatch.errors import UserError


@contextmanager
def written_whole(path: Path, *, grows: bool = False) -> Iterator[Path]:
    """Yield the name to write to: a temporary one that becomes ``path`` if all goes well, else vanishes.

    Parameters
    ----------
    path
        The file to be.
    grows
        Yield ``path`` itself, for a file that others follow while it is written.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    part = path if grows else path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        if not grows:
            part.replace(path)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from error
    finally:
        if not grows:
            part.unlink(missing_ok=True)
