"""One log line for each request, JSON behind the time and the level, and an id that the client sees too."""

from __future__ import annotations

import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.log import log

_HEADER = "x-request-id"
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")


class RequestLog:
    """Gives each request an id and logs how it ended: never its query, its headers or its body.

    The id is the client's ``X-Request-ID`` if that is 1 to 64 letters, digits, ``.``, ``_`` or ``-``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and log it when it has ended."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope).get(_HEADER, "")
        name = asked if _SANE.fullmatch(asked) else uuid.uuid4().hex
        scope["tapewatch.request_id"] = name
        with bound_contextvars(request_id=name):
            await self._logged(scope, receive, send, name)

    async def _logged(self, scope: Scope, receive: Receive, send: Send, name: str) -> None:
        status, begun = 0, time.monotonic()

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                MutableHeaders(scope=message)[_HEADER] = name
            elif message["type"] == "websocket.accept":
                status = 101
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception:
            # What the client was told is all it should know; what went wrong is for the log.
            log.exception("request failed")
        finally:
            log.info(
                "request",
                client=(scope.get("client") or ("",))[0],
                method=scope.get("method", "WS"),
                path=scope["path"],
                status=status,
                seconds=round(time.monotonic() - begun, 6),
            )
