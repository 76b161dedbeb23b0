"""The progress bar of a run: on a terminal only, at most ten times a second, and never in the way."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_anomalies = 0
_bars: list[Bar] = []


def count_anomalies(number: int) -> None:
    """Add to the anomalies written so far in this process."""
    global _anomalies
    _anomalies += number


def close_bars() -> None:
    """Leave every bar of this process on the screen, and the cursor behind it."""
    for bar in tuple(_bars):
        bar.close()


class Bar:
    """Records, share of the bytes, records a second and anomalies so far, on stderr if it is a terminal.

    ``judged`` says whether there can be anomalies to count.
    """

    def __init__(self, title: str, total: int, *, judged: bool = True) -> None:
        self._title, self._total, self._judged = title, total, judged
        self._shown: Progress | None = None
        self._task: TaskID | None = None
        self._next = 0.0
        self._begun = time.monotonic()
        self._wanted = sys.stderr.isatty()

    def update(self, records: int, done: int, *, last: bool = False) -> None:
        """Show that ``records`` were read, which is ``done`` of the input's bytes."""
        now = time.monotonic()
        if not self._wanted or (now < self._next and not last):
            return
        self._next = now + 0.1
        if self._shown is None:
            self._shown, self._task = _progress(self._title, self._total, self._judged)
            self._shown.start()
            _bars.append(self)
        rate = records / max(now - self._begun, 1e-6)
        if self._task is not None:
            self._shown.update(
                self._task,
                completed=done,
                records=f"{records:,}",
                rate=f"{rate:,.0f}/s",
                anomalies=f"{_anomalies:,}",
                refresh=True,
            )

    def close(self) -> None:
        """Leave the finished bar on the screen."""
        if self._shown is not None:
            self._shown.stop()
            self._shown = None
            _bars.remove(self)


def _progress(title: str, total: int, judged: bool) -> tuple[Any, Any]:
    # Imported here because a run without a terminal should start sooner.
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

    bar = Progress(
        TextColumn(f"[bold]{title}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[records]} records"),
        TextColumn("{task.fields[rate]}"),
        *([TextColumn("[red]{task.fields[anomalies]} anomalies")] if judged else []),
        console=Console(stderr=True),
        auto_refresh=False,
    )
    return bar, bar.add_task(title, total=total, records="0", rate="", anomalies="0")
