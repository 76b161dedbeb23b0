"""A flow as a child process: started and stopped on request, one at a time."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from connectors.simulated_day import simulated, simulated_payments
from tapewatch.errors import UserError
from tapewatch.flow_command import flow_command, flow_environment
from tapewatch.log import log
from tapewatch.settings import load

Flow = Literal["market", "transactions"]
Source = Literal["configured", "simulation"]

#: How long a flow has to finish its batch and save its state before it is killed.
GRACE_SECONDS = 30.0
_LONGEST_LINE = 1 << 20


@dataclass(slots=True)
class Run:
    """One run of a flow; times in ns, ``exit_status`` negative if a signal ended it."""

    flow: Flow
    source: Source
    process: asyncio.subprocess.Process
    started_at: int
    #: The line with which the flow said what is wrong, if it did.
    error: str | None = None
    ended_at: int | None = None
    exit_status: int | None = None
    told: asyncio.Task[None] | None = field(default=None, repr=False)


class FlowProcess:
    """Runs ``python -m bytewax.run flows.NAME:flow`` with the settings of this program.

    What the flow writes on stderr goes to ours. It is in a process group of its own, so that Ctrl-C reaches
    it through us, once.
    """

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._run: Run | None = None

    @property
    def run(self) -> Run | None:
        """The run that is under way, or else the last one."""
        return self._run

    @property
    def running(self) -> bool:
        """Whether a flow runs that was started here."""
        return self._run is not None and self._run.ended_at is None

    async def start(self, flow: Flow, source: Source) -> Run:
        """Start a flow on its configured source or on a simulated one.

        Raises
        ------
        UserError
            If one runs already, or the settings are wrong; what only the flow itself finds is in its run's
            ``error``.
        """
        async with self._one_at_a_time:
            if self.running:
                raise UserError("a flow runs already; stop it first")
            settings = await asyncio.to_thread(load)
            with contextlib.ExitStack() as on_failure:
                environment = flow_environment(simulation=source == "simulation")
                if source == "simulation":
                    folder = Path(on_failure.enter_context(tempfile.TemporaryDirectory(prefix="tapewatch-")))
                    instead = await asyncio.to_thread(
                        simulated_payments if flow == "transactions" else partial(simulated, settings), folder
                    )
                    environment = {n: v for n, v in environment.items() if n.upper() not in instead} | instead
                process = await asyncio.create_subprocess_exec(
                    *flow_command(flow),
                    env=environment, stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
                    start_new_session=True, limit=_LONGEST_LINE,
                )  # fmt: skip
                run = Run(flow, source, process, time.time_ns())
                run.told = asyncio.create_task(_follow(run, on_failure.pop_all()))
            self._run = run
            log.info("flow %s started on its %s source, process %d", flow, source, process.pid)
            return run

    async def stop(self) -> Run | None:
        """Stop the flow as a signal does, and return its run once it has ended; None if there was none."""
        async with self._one_at_a_time:
            run = self._run
            if run is not None and run.told is not None and self.running:
                _signal(run.process, signal.SIGTERM)
                ended, _ = await asyncio.wait([run.told], timeout=GRACE_SECONDS)
                if not ended:
                    log.warning("the flow did not end in %g s and is killed", GRACE_SECONDS)
                    _signal(run.process, signal.SIGKILL)
                    await run.told
            return run


def _signal(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


async def _follow(run: Run, at_the_end: contextlib.ExitStack) -> None:
    """Pass on what the flow says until it ends, and note how it ended."""
    with at_the_end:
        if run.process.stderr is not None:
            await _pass_on(run, run.process.stderr)
        run.exit_status = await run.process.wait()
        run.ended_at = time.time_ns()
        log.info("flow %s ended with status %d", run.flow, run.exit_status)


async def _pass_on(run: Run, stream: asyncio.StreamReader) -> None:
    while True:
        try:
            line = (await stream.readline()).decode(errors="replace")
        except ValueError:
            # Longer than any line of ours; the stream goes on behind it.
            continue
        if not line:
            return
        if line.startswith("tapewatch: "):
            run.error = line.removeprefix("tapewatch: ").strip()
        # Whoever read our lines may have gone; the flow is to go on.
        with contextlib.suppress(OSError):
            sys.stderr.write(line)
            sys.stderr.flush()
