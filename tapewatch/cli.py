"""The command line: ``tapewatch COMMAND``, and what a person sees when something is wrong.

Each module of ``tapewatch.commands`` has a function ``register(app)`` that adds its commands. What does
the work is imported inside the commands, so that help and mistakes are answered at once.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer

from tapewatch.errors import UserError

#: Modules of ``tapewatch.commands`` in the order in which the help lists their commands.
COMMANDS: tuple[str, ...] = ("demo", "simulate", "replay", "init", "results", "doctor", "train", "evaluate")

# Typer carries Click inside since 0.29 and beside before; both derive BadParameter from UsageError from
# ClickException, which neither version exports under a name of its own.
_ClickError: type[Exception] = typer.BadParameter.__mro__[2]


def app() -> typer.Typer:
    """Return the command line with every command registered."""
    front = typer.Typer(name="tapewatch", add_completion=False, pretty_exceptions_enable=False)

    @front.callback()
    def tapewatch() -> None:
        """Watch market tapes and payment streams for what is wrong, how badly, and why.

        Example: tapewatch simulate market --out session.dbn.zst
        """

    for name in COMMANDS:
        importlib.import_module(f"tapewatch.commands.{name}").register(front)
    return front


def main() -> None:
    """Run the command of ``sys.argv`` and exit: 0 done, 2 with one line on stderr for a user's mistake."""
    try:
        status = app()(prog_name="tapewatch", standalone_mode=False)
    except UserError as error:
        _refuse(str(error))
    except _ClickError as error:
        _refuse(_explained(error))
    except typer.Abort:
        sys.exit(1)
    except OSError as error:
        if error.filename is None:
            raise
        _refuse(f"{error.filename}: {error.strerror}")
    sys.exit(status if isinstance(status, int) else 0)


def _explained(error: Any) -> str:  # noqa: ANN401 - a ClickException of either Click
    text = " ".join(error.format_message().split()).rstrip(".")
    context = getattr(error, "ctx", None)
    if context is None:
        return text
    return f"{text}; `{context.command_path} --help` says what is allowed"


def _refuse(line: str) -> None:
    print(f"tapewatch: {line}", file=sys.stderr)
    sys.exit(2)
