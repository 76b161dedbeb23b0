"""``GET /metrics`` of a flow's own process: a small HTTP server in a thread that can hold up nobody."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_RDWR, socket
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic import SecretStr

from tapewatch.listening import has_token, is_this_machine, listen
from tapewatch.log import log
from tapewatch.settings_metrics import MetricsSettings

#: Requests at one time; connections beyond are closed at once.
_MOST_AT_ONCE = 4
#: Seconds that a request may take, from the connection to the last byte of the answer.
_PATIENCE_SECONDS = 10.0


class MetricsServer(ThreadingHTTPServer):
    """Serves the metrics of a registry to whoever may have them.

    Parameters
    ----------
    listener
        The socket to serve.
    registry
        The metrics.
    token
        The bearer token to ask for; without one, requests must name this machine as their host.
    """

    daemon_threads = True

    def __init__(self, listener: socket, registry: CollectorRegistry, token: SecretStr | None) -> None:
        super().__init__(listener.getsockname()[:2], _Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.registry, self.token = registry, token
        self._free = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._open: dict[socket, float] = {}
        self._changing = threading.Lock()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        """Answer in a thread, if there are not too many."""
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        with self._changing:
            self._open[request] = time.monotonic() + _PATIENCE_SECONDS
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            # No thread can be had now.
            self._over(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - likewise
        """Answer, and make room for the next one."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._over(request)

    def _over(self, request: socket) -> None:
        with self._changing:
            del self._open[request]
        self._free.release()

    def service_actions(self) -> None:
        """Hang up on those who take too long, however often they send a little."""
        now = time.monotonic()
        with self._changing:
            late = [request for request, until in self._open.items() if until < now]
            for request in late:
                try:
                    request.shutdown(SHUT_RDWR)
                except OSError:
                    self._open[request] = now + _PATIENCE_SECONDS

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - likewise
        """Say nothing of connections that broke off."""


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    server_version, sys_version = "tapewatch", ""
    timeout = _PATIENCE_SECONDS

    def do_GET(self) -> None:
        refused = self._refusal()
        if refused is not None:
            status, words = refused
            self._answer(status, "text/plain; charset=utf-8", f"{words}\n".encode())
        else:
            self._answer(200, CONTENT_TYPE_LATEST, generate_latest(self.server.registry))

    def _refusal(self) -> tuple[int, str] | None:
        token = self.server.token
        if "Origin" in self.headers:
            return 403, "pages of other sites are not answered"
        if token is None and not is_this_machine(self.headers.get("Host", "")):
            return 403, "without `metrics.token` requests must name this machine as host, such as 127.0.0.1"
        if token is not None and not has_token(self.headers.get("Authorization", ""), token):
            return (
                401,
                "this needs the header `Authorization: Bearer TOKEN` with the token of `metrics.token`",
            )
        if self.path.partition("?")[0] != "/metrics":
            return 404, "there is only /metrics"
        return None

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        if status == 401:
            self.send_header("WWW-Authenticate", "Bearer")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing: a request every few seconds would drown all else."""


def serve(settings: MetricsSettings, registry: CollectorRegistry) -> MetricsServer:
    """Serve metrics on ``metrics.host`` and ``metrics.port`` from a thread that ends with the process.

    Raises
    ------
    UserError
        If the address cannot be listened on, or would be open to others without a token.
    """
    listener = listen("metrics", settings.host, settings.port, settings.token)
    server = MetricsServer(listener, registry, settings.token)
    threading.Thread(target=server.serve_forever, name="tapewatch-metrics", daemon=True).start()
    host, port = listener.getsockname()[:2]
    log.info("metrics on http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)
    return server
