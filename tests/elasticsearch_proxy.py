"""A proxy before Elasticsearch that lets things go wrong as a plan says."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import orjson

#: What a plan may do with a request; it is given the number of the bulk request and its body.
Plan = Callable[[int, bytes], str]


class Proxy:
    """Passes requests on to ``upstream``, and bulk requests as the plan says.

    A plan returns ``pass``, ``429``, ``503``, ``413``, ``429 items`` (every third document is turned down),
    ``lost`` (carried out, but the answer is lost), ``cut`` (half of the answer comes), ``nonsense`` (an answer
    that is no JSON) or ``hang up`` (not carried out).
    """

    def __init__(self, upstream: str, plan: Plan = lambda number, body: "pass") -> None:
        self.plan = plan
        self.told: list[str] = []
        self.sizes: list[int] = []
        self._upstream = urlsplit(upstream).netloc
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                proxy.answer(self, body)

            do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = handle_any

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Be away."""
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        """Answer one request."""
        what = "pass"
        if handler.path.startswith("/_bulk"):
            what = self.plan(len(self.told), body)
            self.told.append(what)
            self.sizes.append(len(body))
        if what in ("429", "503", "413"):
            error = {"type": "injected", "reason": f"a made-up {what}"}
            self._send(handler, int(what), orjson.dumps({"error": error, "status": int(what)}))
        elif what == "nonsense":
            self._send(handler, 200, b"{]")
        elif what == "hang up":
            handler.close_connection = True
        elif what == "429 items":
            self._turn_down(handler, body)
        else:
            status, answer = self._pass_on(handler, body)
            if what == "lost":
                handler.close_connection = True
            elif what == "cut":
                handler.send_response(status)
                handler.send_header("Content-Length", str(len(answer)))
                handler.end_headers()
                handler.wfile.write(answer[: len(answer) // 2])
                handler.close_connection = True
            else:
                self._send(handler, status, answer)

    def _pass_on(self, handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(self._upstream, timeout=200)
        kept = {
            n: v
            for n, v in handler.headers.items()
            if n.lower() not in ("host", "content-length", "connection")
        }
        connection.request(handler.command, handler.path, body or None, kept)
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, text

    def _turn_down(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        operations: list[bytes] = []
        lines = iter(body.split(b"\n")[:-1])
        for head in lines:
            operations.append(head + b"\n" + (b"" if b'{"delete"' in head else next(lines) + b"\n"))
        taken = [operation for number, operation in enumerate(operations) if number % 3]
        items = []
        if taken:
            _, text = self._pass_on(handler, b"".join(taken))
            items = orjson.loads(text)["items"]
        error = {"type": "es_rejected_execution_exception", "reason": "a made-up full queue"}
        refused = {"index": {"status": 429, "error": error}}
        rest = iter(items)
        answers = [next(rest) if number % 3 else refused for number in range(len(operations))]
        self._send(handler, 200, orjson.dumps({"items": answers}))

    def _send(self, handler: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("X-Elastic-Product", "Elasticsearch")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
