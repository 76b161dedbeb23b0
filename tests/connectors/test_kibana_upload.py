"""What Kibana is sent when its objects are imported, and what people are told when it refuses them."""

from __future__ import annotations

import base64
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import orjson
import pytest
from pydantic import SecretStr

from connectors.kibana import ndjson, saved_objects, upload
from tapewatch.errors import UserError
from tapewatch.settings_elasticsearch import ElasticsearchSettings
from tests import forked_python

COUNT = len(saved_objects("tapewatch"))
Answer = Callable[[BaseHTTPRequestHandler, bytes], tuple[int, bytes]]


class Kibana:
    """Takes imports, and keeps what it was sent."""

    def __init__(self, answer: Answer) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        kibana = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kibana.requests.append(
                    (self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                )
                status, text = answer(self, body)
                self.send_response(status)
                self.send_header("Location", "http://127.0.0.1:9/stolen")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, format: str, *args: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def taken(handler: BaseHTTPRequestHandler, body: bytes) -> tuple[int, bytes]:
    return 200, orjson.dumps({"success": True, "successCount": body.count(b'"coreMigrationVersion"')})


@pytest.fixture
def kibana() -> Iterator[Callable[[Answer], Kibana]]:
    started: list[Kibana] = []

    def start(answer: Answer) -> Kibana:
        started.append(Kibana(answer))
        return started[-1]

    yield start
    for one in started:
        one.close()


def test_an_import_is_what_kibana_takes(kibana: Callable[[Answer], Kibana]) -> None:
    one = kibana(taken)
    place = ElasticsearchSettings(
        kibana_url=f"{one.url}/base/", index_prefix="paper", api_key=SecretStr("abc=")
    )
    assert upload(place) == COUNT
    ((path, headers, body),) = one.requests
    assert path == "/base/api/saved_objects/_import?overwrite=true"
    assert headers["kbn-xsrf"]
    assert headers["authorization"] == "ApiKey abc="
    boundary = headers["content-type"].partition("boundary=")[2]
    head, _, rest = body.partition(b"\r\n\r\n")
    assert head.startswith(f"--{boundary}\r\n".encode())
    assert b'name="file"; filename="tapewatch.ndjson"' in head
    file, _, end = rest.rpartition(f"\r\n--{boundary}--".encode())
    assert end == b"\r\n"
    assert file == ndjson(saved_objects("paper"))
    assert b"tapewatch-" not in file


def test_a_user_is_told_to_kibana(kibana: Callable[[Answer], Kibana]) -> None:
    one = kibana(taken)
    upload(ElasticsearchSettings(kibana_url=one.url, username="me", password=SecretStr("hunter2")))
    scheme, _, who = one.requests[0][1]["authorization"].partition(" ")
    assert (scheme, base64.b64decode(who)) == ("Basic", b"me:hunter2")


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"{}", "does not let us in (401)"),
        (403, b"{}", "forbids it (403)"),
        (404, b"{}", "answered 404; is it the address of Kibana"),
        (302, b"", "answered 302; is it the address of Kibana"),
        (500, b"", "answered 500; look at Kibana's log"),
        (200, b"<html>", "is another program than Kibana"),
        (200, b"[]", "is another program than Kibana"),
        (200, orjson.dumps({"success": False, "successCount": 2, "errors": [
            {"type": "visualization", "id": "x", "error": {"type": "unsupported_type"}}]}),
         "did not take visualization x: unsupported_type"),
    ],
)  # fmt: skip
def test_what_kibana_refuses_is_one_line_without_secrets(
    status: int, body: bytes, words: str, kibana: Callable[[Answer], Kibana]
) -> None:
    one = kibana(lambda handler, sent: (status, body))
    with pytest.raises(UserError) as caught:
        upload(ElasticsearchSettings(kibana_url=one.url, username="me", password=SecretStr("hunter2")))
    assert words in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert len(one.requests) == 1


def tapewatch(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
    named = {f"TAPEWATCH_SINKS__ELASTICSEARCH__{name.upper()}": value for name, value in settings.items()}
    return forked_python.tapewatch(*arguments, cwd=folder, env={**kept, **named})


def test_the_command(tmp_path: Path, kibana: Callable[[Answer], Kibana]) -> None:
    one = kibana(taken)
    for _ in range(2):
        ended = tapewatch(tmp_path, "init", "kibana", kibana_url=one.url)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert f"{one.url}: imported {len(saved_objects('tapewatch'))} " in ended.stdout
    ended = tapewatch(tmp_path, "init", "kibana", "--out", "mine.ndjson", index_prefix="mine")
    assert ended.returncode == 0
    assert (tmp_path / "mine.ndjson").read_bytes() == ndjson(saved_objects("mine"))
    for arguments, words in (
        (["init", "kibana"], "kibana_url` http://127.0.0.1:9 does not answer: "),
        (["init", "sqlite", "--out", "x"], "`--out` is for `tapewatch init kibana` only"),
        (["init", "kibana", "--out", "nowhere/x"], "nowhere/x"),
    ):
        ended = tapewatch(tmp_path, *arguments, kibana_url="http://127.0.0.1:9")
        assert ended.returncode == 2
        (line,) = ended.stderr.splitlines()
        assert words in line
