"""Messages arrive at a real mail server and a real web server, late ones too, and nobody waits for them."""

from __future__ import annotations

import email
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from threading import Event, Thread
from typing import Any

import pytest
from pydantic import SecretStr

from connectors import couriers, notify
from connectors.notify import NotifyPartition, NotifySink
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.settings_notify import NotifySettings
from tests.ports import free_port

pytest.importorskip("apprise")
make: Any = import_module("tests.connectors.made_results")


class WebServer:
    """A web server that keeps what it is told; the first ``refused`` requests it turns down.

    One that is ``deaf`` answers once it is awake.
    """

    def __init__(self, refused: int = 0, *, deaf: bool = False) -> None:
        told: list[dict[str, Any]] = []
        asked: list[int] = []
        awake = Event()
        if not deaf:
            awake.set()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                asked.append(len(told))
                body = self.rfile.read(int(self.headers["Content-Length"]))
                awake.wait(200)
                if len(asked) > refused:
                    told.append(json.loads(body))
                self.send_response(200 if len(asked) > refused else 503)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.told, self.asked, self.awake = told, asked, awake
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"json://reader:hunter2@127.0.0.1:{self._server.server_port}/desk"
        Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.awake.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def web() -> Iterator[Callable[..., WebServer]]:
    servers: list[WebServer] = []

    def start(**options: Any) -> WebServer:
        servers.append(WebServer(**options))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def short_pauses_and_long_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(couriers, "_PAUSES", (0.05, 0.1))
    monkeypatch.setattr(notify, "_PATIENCE_SECONDS", 200.0)


def part(*urls: str, resume: Any = None, **settings: Any) -> NotifyPartition:
    asked = NotifySettings(urls=[SecretStr(url) for url in urls], **settings)
    return NotifySink(asked).build_part("out", "notify", resume)


def tell(sink: NotifyPartition, number: int, **changes: Any) -> None:
    sink.write_batch([make.results(anomalies=[make.anomaly(number, **{"severity": 95.0, **changes})])])


def eventually(question: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 200
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_web_server_is_told(web: Callable[..., WebServer]) -> None:
    server = web()
    sink = part(server.url)
    tell(sink, 1)
    tell(sink, 2)
    tell(sink, 3, severity=20.0, key="QQQ")
    sink.close()
    (told,) = server.told
    assert told["title"] == "SPY: high_volume, severity 95 (critical)"
    assert told["message"].startswith("Volume is 9 times what is usual.\n2024-06-03T00:02:00.000000000Z")


def test_a_mail_server_is_told() -> None:
    from aiosmtpd.controller import Controller

    mails: list[bytes] = []

    class Box:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            mails.append(envelope.content)
            return "250 OK"

    port = free_port()
    controller = Controller(Box(), hostname="127.0.0.1", port=port, ready_timeout=200)
    controller.start()
    try:
        sink = part(f"mailto://127.0.0.1:{port}?from=tapewatch@example.com&to=desk@example.com&format=text")
        tell(sink, 1)
        sink.close()
    finally:
        controller.stop()
    (mail,) = mails
    message = email.message_from_bytes(mail)
    assert message["Subject"] == "SPY: high_volume, severity 95 (critical)"
    assert "desk@example.com" in message["To"]
    (text,) = [p for p in message.walk() if p.get_content_type() == "text/plain"]
    assert b"Volume is 9 times what is usual." in text.get_payload(decode=True)


def test_what_is_not_taken_is_sent_again_and_no_secret_logged(
    web: Callable[..., WebServer], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    server = web(refused=2)
    sink = part(server.url)
    tell(sink, 1)
    eventually(lambda: len(server.told) == 1)
    sink.close()
    assert len(server.asked) == 3
    assert "JSON (address 1 of `sinks.notify.urls`) did not take a notice; trying again" in caplog.text
    assert "hunter2" not in caplog.text
    assert "127.0.0.1" not in caplog.text


def test_it_is_given_up_after_some_attempts(
    web: Callable[..., WebServer], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "propagate", True)
    server = web(refused=3)
    sink = part(server.url)
    tell(sink, 1)
    tell(sink, 2, key="QQQ")
    eventually(lambda: len(server.told) == 1)
    sink.close()
    assert "QQQ" in server.told[0]["title"]
    assert "1 notices could not be delivered" in caplog.text


def test_nobody_waits_for_a_slow_service_and_others_are_told(web: Callable[..., WebServer]) -> None:
    slow, quick = web(deaf=True), web()
    sink = part(slow.url, quick.url, every="0s")
    for number in range(20):
        tell(sink, number)
    eventually(lambda: len(quick.told) == 20)
    assert slow.told == []
    slow.awake.set()
    sink.close()
    assert len(slow.told) == 20


def test_what_was_not_delivered_is_sent_by_the_next_run(web: Callable[..., WebServer]) -> None:
    server = web(refused=1000)
    sink = part(server.url)
    tell(sink, 1)
    state = sink.snapshot()
    eventually(lambda: len(server.asked) > 0)
    assert "hunter2" not in repr(state)
    again = web()
    url = again.url
    # The same address, as the next run has it.
    ((_, waiting),) = state["waiting"].items()
    state["waiting"] = {couriers.Courier(url, 1).name: waiting}
    resumed = part(url, resume=state)
    tell(resumed, 1)
    resumed.close()
    assert [told["title"] for told in again.told] == ["SPY: high_volume, severity 95 (critical)"]


def test_a_level_that_rises_is_told(web: Callable[..., WebServer]) -> None:
    server = web()
    sink = part(server.url, every="0s")
    one = make.anomaly(1, severity=76.0)
    for severity in (76.0, 80.0, 91.0, 92.0):
        sink.write_batch([make.results(anomalies=[replace(one, severity=severity)])])
    sink.close()
    assert [told["type"] for told in server.told] == ["warning", "failure"]


@pytest.mark.parametrize(
    ("urls", "words"),
    [
        ([], "names nobody to tell"),
        (
            ["nonsense://me:hunter2@host"],
            "number 1 what is no address of a service: it begins with 'nonsense'",
        ),
        (["json://127.0.0.1", "hunter2"], "number 2 what is no address of a service: it has no ://"),
    ],
)
def test_addresses_that_are_none_are_refused_without_being_shown(urls: list[str], words: str) -> None:
    with pytest.raises(UserError) as caught:
        NotifySink(NotifySettings(urls=[SecretStr(url) for url in urls]))
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
