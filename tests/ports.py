"""Ports for servers that have to be told which to listen on."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from itertools import count

#: Below those that the system gives to connections and to who asks for any port: none of them is taken meanwhile.
_FIRST, _OF_A_PROCESS, _PROCESSES = 10_000, 2_700, 4
#: Processes of tests that run side by side have ports of their own; other runs begin at other places.
_process = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _PROCESSES
_places = count(os.getpid() * 37)
_given: set[int] = set()


def free_port(beside: Sequence[int] = ()) -> int:
    """Return a port of the loopback interface that nobody listens on, another one each time.

    ``beside`` are distances of other ports that the same server takes without being told.
    """
    for _ in range(_OF_A_PROCESS):
        port = _FIRST + _process * _OF_A_PROCESS + next(_places) % _OF_A_PROCESS
        wanted = {port, *(port + distance for distance in beside)}
        if not wanted & _given and all(_is_free(one) for one in wanted):
            _given.update(wanted)
            return port
    raise RuntimeError("no port is free")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
