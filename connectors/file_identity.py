"""Telling one file from another that takes its name."""

from __future__ import annotations

from pathlib import Path


def file_identity(path: Path) -> tuple[int, int]:
    """Return device and number of the file that has this name now; zeros if there is none.

    >>> file_identity(Path("none-here.db"))
    (0, 0)
    """
    try:
        status = path.stat()
    except OSError:
        return (0, 0)
    return (status.st_dev, status.st_ino)
