"""How a program of ours runs a flow as a process of its own."""

from __future__ import annotations

import os
import sys

#: Settings that are not the flow's: what the programs around it ask of others, above all their tokens.
_NOT_ITS_OWN = ("TAPEWATCH_API", "TAPEWATCH_DASHBOARD")


def flow_command(flow: str = "market", *arguments: str) -> list[str]:
    """Return the command line that runs a flow in this environment of Python.

    >>> flow_command("market", "-w", "2")[1:]
    ['-m', 'bytewax.run', 'flows.market:flow', '-w', '2']
    """
    return [sys.executable, "-m", "bytewax.run", f"flows.{flow}:flow", *arguments]


def flow_environment(*, simulation: bool = False) -> dict[str, str]:
    """Return our environment without what is not a flow's.

    A recovery store is of one source; that of the configured one must not meet a simulation.
    """
    recovery = ("BYTEWAX_RECOVERY_DIRECTORY",) if simulation else ()
    return {
        name: value
        for name, value in os.environ.items()
        if not name.upper().startswith(_NOT_ITS_OWN) and name not in recovery
    }
