"""``python -m dashboard.live``: a simulated market, the flow on it and the pages, kept alive until Ctrl-C.

The market is played at its own pace, or N times as fast; when a day is over the next one follows. What dies
is started again: the flow goes on from its last snapshot.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from connectors.simulated_day import simulated
from connectors.store import open_results
from dashboard.processes import end
from tapewatch.errors import UserError
from tapewatch.flow_command import flow_command, flow_environment
from tapewatch.log import log
from tapewatch.settings import load

_APP = Path(__file__).with_name("app.py")
_STREAMLIT = (
    "--server.address", "127.0.0.1", "--server.headless", "true", "--server.showEmailPrompt", "false",
    "--browser.gatherUsageStats", "false", "--client.toolbarMode", "minimal",
)  # fmt: skip
_NAP, _GRACE_SECONDS, _LONGEST_PAUSE = 0.2, 15.0, 30.0
#: Seconds of life after which a process is no longer taken for one that cannot start.
_SETTLED_SECONDS = 20.0
_MOST_FALSE_STARTS = 5
#: Seconds that the pages may fail to answer before they are started again.
_DEAF_SECONDS = 90.0


@dataclass
class Kept:
    """A process that is started again when it dies."""

    name: str
    command: list[str] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    false_starts: int = 0
    due: float = 0.0

    def start(self) -> None:
        """Start it, in a group of its own, so that Ctrl-C reaches it through us, once."""
        self.process = subprocess.Popen(  # noqa: S603 - our own commands
            self.command, env=self.environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        self.started = time.monotonic()

    def died(self, how: str) -> None:
        """Note that it died, and when it is to be started again; `UserError` if it cannot be kept alive."""
        self.process = None
        lived = time.monotonic() - self.started
        self.false_starts = 1 if lived > _SETTLED_SECONDS else self.false_starts + 1
        if self.false_starts >= _MOST_FALSE_STARTS:
            raise UserError(
                f"the {self.name} {how} {self.false_starts} times in a row; its last lines say why"
            )
        pause = min(2.0 ** (self.false_starts - 1) / 2, _LONGEST_PAUSE)
        log.warning("the %s %s and is started again", self.name, how)
        self.due = time.monotonic() + pause

    def end(self) -> None:
        """End it as a signal does, or, if it does not heed that, for good."""
        if self.process is None:
            return
        end(self.process, _GRACE_SECONDS)
        self.process = None


class Live:
    """Keeps the flow and the pages alive.

    Parameters
    ----------
    folder
        Where the simulated days, the results (``live.db``) and the flow's state are; begun anew.
    speed
        Times the market's own pace.
    port
        Where the pages are, on the loopback interface.
    """

    def __init__(self, folder: Path, speed: float, port: int) -> None:
        self._folder, self._url = folder, f"http://127.0.0.1:{port}"
        self._days = folder / "live"
        self._day = 0
        shutil.rmtree(self._days, ignore_errors=True)
        self._days.mkdir(parents=True)
        for path in folder.glob("live.db*"):
            path.unlink()
        os.environ["TAPEWATCH_SINKS__KINDS"] = '["sqlite"]'
        os.environ["TAPEWATCH_SINKS__SQLITE__PATH"] = str(folder / "live.db")
        os.environ["TAPEWATCH_SINKS__SCORES"] = "true"
        os.environ["TAPEWATCH_SOURCE__SPEED"] = f"{speed:g}"
        self._settings = load()
        command = [sys.executable, "-m", "streamlit", "run", str(_APP), "--server.port", str(port)]
        self._pages = Kept("dashboard", [*command, *_STREAMLIT], dict(os.environ))
        self._flow = Kept("flow")
        self._told, self._answered = False, time.monotonic()
        self._looked = 0.0
        self._ending = False

    def run(self) -> None:
        """Start everything and keep it alive until a signal."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._end)
        try:
            self._pages.start()
            self._next_day()
            while not self._ending:
                self._keep(self._flow)
                self._keep(self._pages)
                self._look()
                time.sleep(_NAP)
        finally:
            log.info("ending the flow and the dashboard")
            self._flow.end()
            self._pages.end()

    def _end(self, number: int, frame: FrameType | None) -> None:
        self._ending = True

    def _next_day(self) -> None:
        self._day += 1
        place = self._days / f"day-{self._day}"
        place.mkdir()
        changes = simulated(self._settings, place)
        changes["TAPEWATCH_SOURCE__SPEED"] = os.environ["TAPEWATCH_SOURCE__SPEED"]
        recovery = place / "recovery"
        recovery.mkdir()
        made = [sys.executable, "-m", "bytewax.recovery", str(recovery), "1"]
        subprocess.run(made, check=True, start_new_session=True)  # noqa: S603 - our own command
        self._flow.command = flow_command("market", "-r", str(recovery), "-s", "2", "-b", "0")
        self._flow.environment = flow_environment(simulation=True) | changes
        self._flow.due = 0.0
        if not self._ending:
            self._flow.start()

    def _keep(self, kept: Kept) -> None:
        if kept.process is None:
            if time.monotonic() >= kept.due:
                kept.start()
            return
        status = kept.process.poll()
        if status is None or self._ending:
            return
        if kept is self._flow and status == 0:
            log.info("the simulated day is over, the next one follows")
            kept.process = None
            self._next_day()
            return
        if kept is self._flow and status == 2:
            raise UserError("the flow refuses its settings, as its last line says")
        kept.died(f"was ended by signal {-status}" if status < 0 else f"ended with status {status}")

    def _look(self) -> None:
        """See whether the pages answer; the first time, and once the flow has results, say where they are."""
        now = time.monotonic()
        if now - self._looked < 1.0 or self._pages.process is None:
            return
        self._looked = now
        if answers(self._url):
            self._answered = now
        elif now - max(self._answered, self._pages.started) > _DEAF_SECONDS:
            self._pages.end()
            self._pages.died(f"did not answer for {_DEAF_SECONDS:g} s")
        if not self._told and self._answered == now and self._has_results():
            self._told = True
            print(f"\n  The simulated market is at {self._url} — Ctrl-C ends all\n", flush=True)

    def _has_results(self) -> bool:
        try:
            with open_results(self._settings) as store:
                return store.totals().get("records", 0) > 0
        except UserError:
            # The flow has not made the store yet.
            return False


def answers(url: str) -> bool:
    """Return whether pages at this address say that they are well."""
    try:
        with urllib.request.urlopen(f"{url}/_stcore/health", timeout=5) as answer:  # noqa: S310 - ours
            return bool(answer.status == 200)
    except OSError:
        return False


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(
                f"port {port} cannot be listened on: {error.strerror}; choose another with PORT=N"
            ) from error


def _speed(text: str) -> float:
    speed = float(text)
    if not 0 < speed < 1e6:
        raise ValueError
    return speed


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until a signal; 0 then, 2 for a user's mistake."""
    parser = argparse.ArgumentParser("python -m dashboard.live", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--speed", type=_speed, default=60.0, help="times the market's own pace")
    parser.add_argument("--port", type=int, default=8501, help="of the pages")
    parser.add_argument("--folder", type=Path, default=Path("demo"), help="for everything that is made")
    asked = parser.parse_args(arguments)
    try:
        _check_port(asked.port)
        Live(asked.folder, asked.speed, asked.port).run()
    except UserError as error:
        print(f"tapewatch: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
