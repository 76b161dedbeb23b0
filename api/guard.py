"""The door in front of the application: who may come in, and with how much.

It looks at headers only, so that nothing of a refused request is read or parsed.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from api.access import Access, scope_of
from api.problems import problem
from api.rates import Rates
from tapewatch.listening import is_this_machine
from tapewatch.settings_api import ApiSettings

#: Bytes that the body of a request may have.
MOST_BYTES: Final = 65_536
#: Where more is allowed.
_LONGER: Final = {"/predict/batch": 8 << 20}
#: What is answered without a token: they say nothing of the results, and a browser cannot send one for them.
OPEN_PATHS: Final = frozenset({"/health", "/docs", "/openapi.json"})


class Guard:
    """Lets a request or WebSocket through that may do what it asks for, small and seldom enough.

    A browser lets any page send requests to any address, this machine's own included; CORS only keeps the
    page from reading the answer, and does not hold for WebSockets at all. So requests with another site's
    ``Origin`` are refused. Without a token, so are those that name a host which is not this machine, as
    they do after a page has made its own name point here (DNS rebinding).

    Parameters
    ----------
    app
        The application.
    settings
        The section ``api``.

    Raises
    ------
    UserError
        If what checks JSON Web Tokens is not installed.
    """

    def __init__(self, app: ASGIApp, settings: ApiSettings) -> None:
        self._app = app
        self._access, self._origins = Access(settings), frozenset(settings.cors_origins)
        self._rates = Rates(settings.requests_per_second, settings.burst)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer why not."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(Headers(scope=scope), scope)
        if refusal is None:
            await self._app(scope, receive, send)
            return
        status, detail, headers = refusal
        # Its body stays unread, so the connection cannot be used for another request.
        headers |= {"Connection": "close"} if status in (411, 413) else {}
        answer = problem(status, detail, scope.get("tapewatch.request_id", ""), headers=headers)
        await answer(scope, receive, send)

    def _refusal(self, headers: Headers, scope: Scope) -> tuple[int, str, dict[str, str]] | None:
        host, origin, path = headers.get("host"), headers.get("origin"), scope["path"]
        if origin is not None and origin.partition("://")[2] != host and origin not in self._origins:
            return 403, "requests from pages of other sites are not answered", {}
        if self._access.open and host is not None and not is_this_machine(host):
            return 403, "without `api.token` requests must name this machine as host, such as 127.0.0.1", {}
        caller = self._access.caller(headers.get("authorization", ""))
        address = (scope.get("client") or ("",))[0]
        seconds = self._rates.wait(
            caller.name if caller is not None and caller.name else f"address {address}"
        )
        if seconds:
            told = f"too many requests; ask again in {seconds} s"
            return 429, told, {"Retry-After": str(seconds)}
        if path not in OPEN_PATHS:
            if caller is None:
                told = "this needs the header `Authorization: Bearer TOKEN` with a token of `api.token`"
                return 401, told, {"WWW-Authenticate": "Bearer"}
            needed = scope_of(scope.get("method", "GET"), path)
            if needed not in caller.scopes:
                challenge = f'Bearer error="insufficient_scope", scope="{needed}"'
                told = f"this needs the scope `{needed}`, which the token does not have"
                return 403, told, {"WWW-Authenticate": challenge}
        if "transfer-encoding" in headers:
            return 411, "a body must be sent with its length, not in chunks", {}
        length = headers.get("content-length", "0")
        most = _LONGER.get(path, MOST_BYTES)
        if not length.isdecimal() or len(length) > 18 or int(length) > most:
            return 413, f"a body may have at most {most:,} bytes", {}
        return None
