"""Ports for servers that have to be told which to listen on."""

from __future__ import annotations

import os
import socket
from itertools import count

#: Below those that the system gives to connections and to who asks for any port: none of them is taken meanwhile.
_FIRST, _COUNT = 10_000, 11_000
#: Processes of tests that run side by side begin at places of their own.
_places = count(os.getpid() * 50)


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on, another one each time."""
    for place in _places:
        port = _FIRST + place % _COUNT
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError
