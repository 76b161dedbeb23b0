"""Simulated payments as JSON lines, plain or ``.zst``, at once or as they would happen."""

from __future__ import annotations

import time
from pathlib import Path

import zstandard

from connectors.sessions import labels_path, write_labels
from connectors.transaction_simulator import Simulated
from connectors.whole_file import written_whole
from tapewatch.errors import UserError

_EXTENSIONS = (".jsonl", ".jsonl.zst", ".json", ".json.zst")


def check_path(path: Path) -> None:
    """Make sure that payments can be written under this name; else `UserError`."""
    if not path.name.endswith(_EXTENSIONS):
        raise UserError(f"`--out` must end in one of {', '.join(_EXTENSIONS)}, was {path}")
    if not path.absolute().parent.is_dir():
        raise UserError(f"`--out` is in {path.absolute().parent}, which is no folder")


def write_transactions(path: Path, made: Simulated, speed: float | None = None) -> Path:
    """Write payments, and their labels beside them; return where the labels are.

    Parameters
    ----------
    speed
        Let the file grow at this many times the pace of the payments; None: at once.

    Raises
    ------
    UserError
        If a file cannot be written.
    """
    check_path(path)
    labels = labels_path(path)
    # The labels come first: who follows a growing file has them at hand.
    write_labels(labels, made.labels)
    with written_whole(path, grows=speed is not None) as target, target.open("wb") as raw:
        compressor = zstandard.ZstdCompressor(level=3, write_checksum=True)
        file = compressor.stream_writer(raw, closefd=False) if path.name.endswith(".zst") else raw
        begin = time.monotonic()
        for ts, (_, line) in zip(made.times.tolist(), made.lines(), strict=True):
            if speed is not None:
                wait = (ts - int(made.times[0])) / 1e9 / speed - (time.monotonic() - begin)
                if wait > 0:
                    file.flush()
                    time.sleep(wait)
            file.write(line + b"\n")
        if file is not raw:
            file.close()
    return labels
