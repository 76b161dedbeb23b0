"""The real server: where it listens, what it refuses, and how it ends."""

from __future__ import annotations

import io
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.sync.client import connect

from api.__main__ import main
from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate

serving: Any = import_module("tests.api.serving")

TOKEN = "hunter2"  # noqa: S105


def ask(url: str, body: object = None, **headers: str) -> tuple[int, Any]:
    """Return the status and the document of an answer."""
    data = None if body is None else orjson.dumps(body)
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", **headers})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=200) as answer:  # noqa: S310
            return answer.status, orjson.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, orjson.loads(error.read())


def refused(folder: Path, *arguments: str, **settings: str) -> str:
    """Return the one line with which the server refuses to start."""
    out, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(errors):
        patch.chdir(folder)
        patch.setattr(os, "environ", serving.environment(**settings))
        patch.setattr(sys, "argv", ["api", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
    assert (ended.value.code, out.getvalue()) == (2, "")
    (line,) = errors.getvalue().splitlines()
    assert line.startswith("tapewatch: ")
    return line


def test_from_an_empty_folder_to_a_stream_of_anomalies(tmp_path: Path) -> None:
    session = simulate(MarketSimulation(symbols=3, minutes=120))
    write_dbn(tmp_path / "day.dbn.zst", session.records, session.symbols)
    with serving.server(tmp_path, source__paths='["day.dbn.zst"]') as server:
        assert ask(f"{server.url}/api/anomalies") == (200, {"anomalies": [], "next": None})
        with connect(f"ws{server.url[4:]}/ws", proxy=None) as stream:
            assert ask(f"{server.url}/start", {})[1]["running"]
            told: dict[str, dict[str, Any]] = {}
            bars = 0
            while bars < 360 or not told:
                document = orjson.loads(stream.recv(timeout=200))
                bars += document["document"] == "bar"
                if document["document"] == "anomaly":
                    told[document["id"]] = document
        assert ask(f"{server.url}/stop", {})[1]["exit_status"] == 0
        found = ask(f"{server.url}/api/anomalies?limit=1000")[1]["anomalies"]
        for document in told.values():
            assert document["id"] in {anomaly["id"] for anomaly in found}
        assert server.end() == 0
        assert "Traceback" not in server.log()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_cleanly_with_its_flow_and_its_streams(tmp_path: Path, number: int) -> None:
    session = simulate(MarketSimulation(symbols=2, minutes=30))
    write_dbn(tmp_path / "day.dbn.zst", session.records, session.symbols)
    settings = {"source__paths": '["day.dbn.zst"]', "source__speed": "1"}
    with serving.server(tmp_path, **settings) as server:
        process = ask(f"{server.url}/start", {})[1]["process"]
        with connect(f"ws{server.url[4:]}/ws", proxy=None) as stream:
            assert server.end(number) == 0, server.log()
            with pytest.raises(Exception, match="1012"):
                stream.recv(timeout=200)
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
        assert server.log(until=r"API ended\n").count("ended with status") == 1
        assert "Traceback" not in server.log()


def test_the_token_is_asked_for_and_never_told(tmp_path: Path) -> None:
    with serving.server(tmp_path, api__token=TOKEN, api__host="0.0.0.0") as server:  # noqa: S104
        url = server.url.replace("0.0.0.0", "127.0.0.1")  # noqa: S104
        assert ask(f"{url}/status")[0] == 401
        assert ask(f"{url}/status", Authorization=f"Bearer {TOKEN}") == (200, {"running": False})
        assert ask(f"{url}/health")[0] == 200
        with pytest.raises(Exception, match="401"):
            connect(f"ws{url[4:]}/ws", proxy=None)
        with connect(f"ws{url[4:]}/ws", proxy=None, additional_headers={"Authorization": f"Bearer {TOKEN}"}):
            pass
        assert server.end() == 0
        assert TOKEN not in server.log()


def test_a_body_in_chunks_is_refused_by_the_real_server_too(tmp_path: Path) -> None:
    with serving.server(tmp_path) as server:
        port = int(server.url.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=200) as raw:
            raw.sendall(
                b"POST /stop HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
            )
            assert raw.recv(100).startswith(b"HTTP/1.1 411 ")
        with socket.create_connection(("127.0.0.1", port), timeout=200) as raw:
            raw.sendall(b"this is no HTTP\r\n\r\n")
            assert raw.recv(100).startswith(b"HTTP/1.1 400 ")
        assert ask(f"{server.url}/health")[0] == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])  # noqa: S104
def test_others_are_not_served_without_a_token(tmp_path: Path, host: str) -> None:
    for token in ({}, {"api__token": ""}):
        line = refused(tmp_path, api__host=host, **token)
        assert f"`api.host` is {host}, which other machines can reach: set a token" in line
        assert "TAPEWATCH_API__TOKEN" in line
    assert list(tmp_path.iterdir()) == []


def test_a_taken_port_and_an_unknown_address_are_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = refused(tmp_path, api__port=port)
        assert f"cannot listen on `api.host` 127.0.0.1, `api.port` {port}: Address already in use" in line
    assert "`api.host` must be an address of this machine" in refused(tmp_path, api__host="no such host")
    line = refused(tmp_path, api__host="192.0.2.1", api__token=TOKEN)
    assert "cannot listen on `api.host` 192.0.2.1" in line
    assert TOKEN not in line


def test_a_wrong_start_is_one_line(tmp_path: Path) -> None:
    assert "takes no arguments, was given '--port'" in refused(tmp_path, "--port", "80")
    assert "`api.port` must be a whole number" in refused(tmp_path, api__port="x")
    assert "nowhere is no directory" in refused(tmp_path, sinks__sqlite__path="nowhere/results.db")
    (tmp_path / "tapewatch.toml").write_text('[api]\ntoken = "hunter2"\n')
    line = refused(tmp_path)
    assert "`api.token` is a secret" in line
    assert TOKEN not in line


def test_a_server_that_is_away_or_lets_nobody_in_is_told_at_the_start(
    tmp_path: Path, secured_elasticsearch: Any
) -> None:
    name = "sinks__elasticsearch__"
    chosen = {"sinks__kinds": '["elasticsearch"]'}
    line = refused(tmp_path, **chosen, **{f"{name}url": "http://127.0.0.1:9"})
    assert "`sinks.elasticsearch.url` http://127.0.0.1:9 does not answer: connection refused" in line
    place = {f"{name}url": secured_elasticsearch.url, f"{name}ca_certs": str(secured_elasticsearch.ca_certs)}
    for who in ({}, {f"{name}username": "hub", f"{name}password": TOKEN}, {f"{name}api_key": TOKEN}):
        line = refused(tmp_path, **chosen, **place, **who)
        assert f"{secured_elasticsearch.url} does not let us in (401)" in line
        assert TOKEN not in line
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    program = "import runpy, sys; sys.modules['fastapi'] = None; runpy.run_module('api', run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=serving.environment(), capture_output=True,
        text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr == (
        "tapewatch: `python -m api` needs fastapi, not installed here; run `make api`, or "
        "`pip install 'tapewatch[api]'`\n"
    )
