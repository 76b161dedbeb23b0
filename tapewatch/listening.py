"""Listening where others may come in: on which address, and who is let in."""

from __future__ import annotations

import hmac
import ipaddress
import socket

from pydantic import SecretStr

from tapewatch.errors import UserError


def listen(section: str, host: str, port: int, token: SecretStr | None, waiting: int = 16) -> socket.socket:
    """Return a socket that listens on an address of this machine.

    Parameters
    ----------
    section
        The settings that name it, ``metrics`` for ``metrics.host`` and ``metrics.port``.
    host, port
        The address; port 0 takes a free one.
    token
        What callers must bring, None for nothing.
    waiting
        Connections that may wait to be accepted.

    Raises
    ------
    UserError
        If the address is unknown or taken, or others could reach it while no token is set.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        raise UserError(
            f"`{section}.host` must be an address of this machine, was {host!r}: {error}"
        ) from error
    family, _, _, _, address = found[0]
    if token is None and not ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback:
        raise UserError(
            f"`{section}.host` is {host}, which other machines can reach: set a token in "
            f"TAPEWATCH_{section.upper()}__TOKEN, or listen on 127.0.0.1"
        )
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(waiting)
    except OSError as error:
        listener.close()
        raise UserError(
            f"cannot listen on `{section}.host` {host}, `{section}.port` {port}: {error.strerror}"
        ) from error
    return listener


def is_this_machine(host: str) -> bool:
    """Return whether the header ``Host`` names the machine itself.

    A page in a browser can make its own name point here (DNS rebinding); then the header still names it.

    >>> [is_this_machine(host) for host in ("localhost:8000", "127.0.0.1", "[::1]:80", "evil.example")]
    [True, True, True, False]
    """
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def has_token(authorization: str, token: SecretStr) -> bool:
    """Return whether the header ``Authorization`` brings a bearer token.

    >>> has_token("Bearer abc", SecretStr("abc")), has_token("Bearer ab", SecretStr("abc"))
    (True, False)
    """
    scheme, _, given = authorization.partition(" ")
    wanted = token.get_secret_value().encode()
    # Compared in a time that does not tell how much of it is right.
    right = hmac.compare_digest(given.strip().encode("utf-8", "replace"), wanted)
    return right and scheme.lower() == "bearer"
