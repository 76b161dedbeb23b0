"""The door in front of the application: who may come in, and with how much.

It looks at headers only, so that nothing of a refused request is read or parsed.
"""

from __future__ import annotations

from typing import Final

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.problems import problem
from tapewatch.listening import has_token, is_this_machine

#: Bytes that the body of a request may have.
MOST_BYTES: Final = 65_536
#: Where more is allowed.
_LONGER: Final = {"/predict/batch": 8 << 20}
#: What is answered without a token: they say nothing of the results, and a browser cannot send one for them.
OPEN_PATHS: Final = frozenset({"/health", "/docs", "/openapi.json"})


class Guard:
    """Lets a request or WebSocket through that has the token, is small enough, and comes from no other site.

    A browser lets any page send requests to any address, this machine's own included; CORS only keeps the
    page from reading the answer, and does not hold for WebSockets at all. So requests with another site's
    ``Origin`` are refused. Without a token, so are those that name a host which is not this machine, as
    they do after a page has made its own name point here (DNS rebinding).

    Parameters
    ----------
    app
        The application.
    token
        The bearer token to ask for, None to ask for none.
    """

    def __init__(self, app: ASGIApp, token: SecretStr | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope), scope["path"])
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, detail = refusal
        headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
        # Its body stays unread, so the connection cannot be used for another request.
        headers |= {"Connection": "close"} if status in (411, 413) else {}
        answer = problem(status, detail, scope.get("tapewatch.request_id", ""), headers=headers)
        await answer(scope, receive, send)

    def _refusal(self, headers: Headers, path: str) -> tuple[int, str] | None:
        host, origin = headers.get("host"), headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return 403, "requests from pages of other sites are not answered"
        if self._token is None:
            if host is not None and not is_this_machine(host):
                return 403, "without `api.token` requests must name this machine as host, such as 127.0.0.1"
        elif path not in OPEN_PATHS and not has_token(headers.get("authorization", ""), self._token):
            return 401, "this needs the header `Authorization: Bearer TOKEN` with the token of `api.token`"
        if "transfer-encoding" in headers:
            return 411, "a body must be sent with its length, not in chunks"
        length = headers.get("content-length", "0")
        most = _LONGER.get(path, MOST_BYTES)
        if not length.isdecimal() or len(length) > 18 or int(length) > most:
            return 413, f"a body may have at most {most:,} bytes"
        return None
