"""Listening: on which address, and from the first request to the clean end."""

from __future__ import annotations

import signal
from pathlib import Path

import uvicorn

from api.app import application
from api.log import log
from connectors.sqlite_schema import open_for_writing
from connectors.store import open_results
from tapewatch.listening import listen
from tapewatch.settings import Settings

#: Requests and streams at one time; more are answered with 503 at once.
_MOST_AT_ONCE = 200
#: Seconds that open requests have to finish once the server is to end.
_GRACE_SECONDS = 20


def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then end open requests, streams and the flow, and return.

    Raises
    ------
    UserError
        If the address cannot be listened on, would be open to others without a token, or the store of
        results cannot be used.
    """
    listener = listen("api", settings.api.host, settings.api.port, settings.api.secret, waiting=128)
    with listener:
        _check_store(settings)
        server = uvicorn.Server(
            uvicorn.Config(
                application(settings),
                http="h11",
                ws="websockets-sansio",
                loop="asyncio",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=_MOST_AT_ONCE,
                timeout_graceful_shutdown=_GRACE_SECONDS,
                ws_max_size=4096,
            )
        )

        def end(number: int, frame: object) -> None:
            server.should_exit = True

        # uvicorn puts its own handlers over these and, when it has ended, raises the signal once more.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, end)
        host, port = listener.getsockname()[:2]
        place = f"[{host}]" if ":" in host else host
        log.info(f"API on http://{place}:{port}, described at /docs")
        server.run(sockets=[listener])
    log.info("API ended")


def _check_store(settings: Settings) -> None:
    """Refuse a place that cannot be used: better known now than with the first request."""
    if settings.sinks.store == "elasticsearch":
        open_results(settings).close()
    else:
        # Reviews are written there.
        open_for_writing(Path(settings.sinks.sqlite.path)).close()
