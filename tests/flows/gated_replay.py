"""Replays that go no further than a test lets them: none comes to its end before it should."""

from __future__ import annotations

from pathlib import Path

#: Read by every Python that starts with the environment of `gated`, as the replay publishes in a process of its own.
_SITE = """
import pathlib
from connectors.chain_reader import ChainReader

def next(self, limit, ungated=ChainReader.next):
    return ungated(self, min(limit, int(pathlib.Path("until").read_text())))

ChainReader.next = next
"""


def let(folder: Path, until: int) -> None:
    """Let replays in a folder go on to a time of the tape (ns)."""
    (folder / "until.new").write_text(str(until))
    (folder / "until.new").replace(folder / "until")


def gated(folder: Path, until: int) -> dict[str, str]:
    """Return what to add to the environment of a replay in this folder, that it go so far (ns)."""
    let(folder, until)
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(_SITE)
    return {"PYTHONPATH": str(folder / "site")}
