"""Who is given a flow's metrics, and that nobody can hold it up by asking."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from prometheus_client import CollectorRegistry, Gauge
from pydantic import SecretStr

from connectors import metrics_server
from connectors.metrics_server import MetricsServer, serve
from tapewatch.errors import UserError
from tapewatch.settings import Settings
from tapewatch.settings_metrics import MetricsSettings

TOKEN = "hunter2-and-more"  # noqa: S105

Serving = Callable[..., MetricsServer]


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "_PATIENCE_SECONDS", 200.0)
    monkeypatch.setattr(metrics_server._Handler, "timeout", 200.0)


@pytest.fixture
def serving() -> Iterator[Serving]:
    """Return ``serve(**settings)``, on a free port; the server ends with the test."""
    with ExitStack() as stack:

        def start(**settings: object) -> MetricsServer:
            registry = CollectorRegistry()
            Gauge("some_thing", "A thing.", registry=registry).set(4)
            server = serve(MetricsSettings.model_validate({"port": 0, **settings}), registry)
            stack.callback(server.server_close)
            stack.callback(server.shutdown)
            return server

        yield start


def ask(
    server: MetricsServer, path: str = "/metrics", method: str = "GET", **headers: str
) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.socket.getsockname()[1], timeout=200)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_metrics_and_nothing_else(serving: Serving) -> None:
    server = serving()
    status, text = ask(server)
    assert status == 200
    assert "# HELP some_thing A thing.\n# TYPE some_thing gauge\nsome_thing 4.0\n" in text
    assert ask(server, "/metrics?x=1")[0] == 200
    assert ask(server, "/")[0] == ask(server, "/metrics/x")[0] == 404
    assert ask(server, method="POST")[0] == 501
    assert ask(server, "/" + "x" * 70_000)[0] == 414


def test_without_a_token_only_this_machine_is_a_host(serving: Serving) -> None:
    server = serving()
    for host in ("evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", ""):
        assert ask(server, Host=host)[0] == 403
    for host in ("localhost:9464", "[::1]:9464", "127.8.9.1"):
        assert ask(server, Host=host)[0] == 200
    assert ask(server, Origin="https://evil.example")[0] == 403


def test_a_token_is_asked_for(serving: Serving) -> None:
    server = serving(token=TOKEN)
    for header in ("", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer \xfc"):
        status, text = ask(server, Authorization=header)
        assert status == 401
        assert TOKEN not in text
    assert ask(server)[0] == 401
    # Whatever the name it is reached by.
    right = {"Authorization": f"Bearer {TOKEN}", "Host": "flow.example"}
    assert ask(server, **right)[0] == 200
    assert ask(server, Origin="https://evil.example", **right)[0] == 403


def test_a_public_address_needs_a_token() -> None:
    with pytest.raises(UserError, match=r"`metrics.host` is 0.0.0.0, .* TAPEWATCH_METRICS__TOKEN"):
        serve(MetricsSettings(host="0.0.0.0"), CollectorRegistry())  # noqa: S104
    with pytest.raises(UserError, match=r"`metrics.host` must be an address of this machine"):
        serve(MetricsSettings(host="no host"), CollectorRegistry())


def test_a_taken_port_is_told(serving: Serving) -> None:
    port = serving().socket.getsockname()[1]
    with pytest.raises(UserError, match=rf"cannot listen on `metrics.host` .* `metrics.port` {port}"):
        serve(MetricsSettings(port=port), CollectorRegistry())


def connected(server: MetricsServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.socket.getsockname()[1]), timeout=200)


def test_more_than_a_few_at_once_are_turned_away(serving: Serving) -> None:
    server = serving()
    with ExitStack() as stack:
        silent = [stack.enter_context(connected(server)) for _ in range(4)]
        assert stack.enter_context(connected(server)).recv(1) == b""
        silent[0].close()
        until = time.monotonic() + 200
        while True:
            try:
                assert ask(server)[0] == 200
                break
            except OSError:
                assert time.monotonic() < until
                time.sleep(0.05)


def test_who_sends_a_little_for_long_is_hung_up_on(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "_PATIENCE_SECONDS", 0.3)
    server = serving()
    until = time.monotonic() + 100

    def send() -> None:
        while time.monotonic() < until:
            slow.sendall(b"x")
            time.sleep(0.05)

    with connected(server) as slow:
        slow.sendall(b"GET /metrics HTTP/1.0\r\nX: ")
        with pytest.raises(ConnectionError):
            send()
    monkeypatch.setattr(metrics_server, "_PATIENCE_SECONDS", 200.0)
    assert ask(server)[0] == 200


def test_the_token_is_no_setting_of_the_file_and_not_printed() -> None:
    settings = Settings.model_validate({"metrics": {"token": SecretStr(TOKEN)}})
    assert TOKEN not in repr(settings)
    assert MetricsSettings(token=SecretStr("")).token is None
