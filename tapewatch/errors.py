"""Errors that a person can do something about."""

from __future__ import annotations


class UserError(Exception):
    """Bad settings, arguments or input; its one line names what was found and what is allowed.

    Whoever catches it at the edge of the program prints the line on stderr and exits with status 2.

    Examples
    --------
    >>> str(UserError("`source.speed` must be 'max' or a number above 0,   was 'fast'"))
    "`source.speed` must be 'max' or a number above 0, was 'fast'"
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.split()))


class DamagedError(UserError):
    """An input that is broken from some record on; what came before has been delivered."""
