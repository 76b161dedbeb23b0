"""A clock for replays that goes no further than a test lets it: none comes to its end before it should."""

from __future__ import annotations

from pathlib import Path

#: Read by every Python that starts with the environment of `clocked`, as the replay publishes in a process of its own.
_SITE = """
import pathlib, time, types
import flows.replay

begin = []

def monotonic():
    begin or begin.append(time.monotonic())
    return min(time.monotonic(), begin[0] + float(pathlib.Path("seconds").read_text()))

flows.replay.time = types.SimpleNamespace(sleep=time.sleep, monotonic=monotonic)
"""


def let(folder: Path, seconds: float) -> None:
    """Let the clock of replays in a folder go on to so many seconds after their beginning."""
    (folder / "seconds.new").write_text(str(seconds))
    (folder / "seconds.new").replace(folder / "seconds")


def clocked(folder: Path, seconds: float) -> dict[str, str]:
    """Return what to add to the environment of a replay in this folder, whose clock goes so far."""
    let(folder, seconds)
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(_SITE)
    return {"PYTHONPATH": str(folder / "site")}
