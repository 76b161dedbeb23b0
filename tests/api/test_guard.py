"""The door: who comes in, with how much, and that nothing secret gets out."""

from __future__ import annotations

import io
import logging
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from api.guard import MOST_BYTES
from api.log import formatter, log
from tapewatch.errors import UserError
from tapewatch.log import log as plain

serving: Any = import_module("tests.api.serving")

TOKEN = "hunter2-and-more"  # noqa: S105
WITH = {"Authorization": f"Bearer {TOKEN}"}
GUARDED = ("/status", "/metrics", "/api/anomalies", "/api/stats", "/api/reviews", "/nowhere")


@pytest.fixture
def open_client(tmp_path: Path) -> TestClient:
    made: TestClient = serving.client(tmp_path)
    return made


@pytest.fixture
def guarded(tmp_path: Path) -> TestClient:
    made: TestClient = serving.client(tmp_path, token=TOKEN)
    return made


def test_without_a_token_setting_none_is_asked_for(open_client: TestClient) -> None:
    for path in GUARDED[:-1]:
        assert open_client.get(path).status_code == 200
    assert open_client.get("/nowhere").status_code == 404
    assert "security" not in str(open_client.get("/openapi.json").json())


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize(
    "header",
    [
        None, "", "Bearer", "Bearer ", f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN,
        f"Bearer {TOKEN.upper()}", "Bearer ü",
    ],
)  # fmt: skip
def test_a_missing_or_wrong_token_is_refused(guarded: TestClient, path: str, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    answer = guarded.get(path, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    assert answer.json()["request_id"] == answer.headers["X-Request-ID"]
    assert TOKEN not in answer.text


def test_posts_are_refused_too(guarded: TestClient) -> None:
    for path in ("/start", "/stop", "/api/reviews"):
        assert guarded.post(path).status_code == 401
    assert guarded.get("/status", headers=WITH).json() == {"running": False}


def test_the_right_token_opens(guarded: TestClient) -> None:
    for path in GUARDED[:-1]:
        assert guarded.get(path, headers=WITH).status_code == 200
    assert guarded.get("/status", headers={"Authorization": f"bearer  {TOKEN} "}).status_code == 200
    assert guarded.get("/nowhere", headers=WITH).status_code == 404


def test_health_and_description_are_open(guarded: TestClient) -> None:
    assert guarded.get("/health").json()["status"] == "ok"
    assert "swagger" in guarded.get("/docs").text
    paths = guarded.get("/openapi.json").json()["paths"]
    assert paths["/status"]["get"]["security"] == [{"HTTPBearer": []}]
    assert "security" not in paths["/health"]["get"]
    for almost in ("/health/", "/docs/", "//health", "/HEALTH", "/docs/oauth2-redirect"):
        assert guarded.get(almost, follow_redirects=False).status_code == 401


def test_a_stream_needs_the_token(guarded: TestClient) -> None:
    with pytest.raises(WebSocketDenialResponse) as refused, guarded.websocket_connect(serving.STREAM):
        pass
    assert refused.value.status_code == 401
    with guarded.websocket_connect(serving.STREAM, headers=WITH):
        pass


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1.evil.example", "http://"]
)
def test_pages_of_other_sites_are_refused(open_client: TestClient, origin: str) -> None:
    headers = {"Origin": origin}
    assert open_client.get("/api/stats", headers=headers).status_code == 403
    assert open_client.post("/stop", headers=headers).status_code == 403
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        open_client.websocket_connect(serving.STREAM, headers=headers),
    ):
        pass
    assert refused.value.status_code == 403


def test_its_own_pages_are_not(open_client: TestClient, guarded: TestClient) -> None:
    assert open_client.get("/status", headers={"Origin": "http://127.0.0.1"}).status_code == 200
    # As behind a proxy that speaks TLS.
    own = {"Host": "tapes.example", "Origin": "https://tapes.example"}
    assert guarded.get("/status", headers=WITH | own).status_code == 200
    answer = open_client.options(
        "/status", headers={"Origin": "http://127.0.0.1", "Access-Control-Request-Method": "GET"}
    )
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "10.0.0.1", ""])
def test_without_a_token_only_this_machine_is_a_host(
    open_client: TestClient, guarded: TestClient, host: str
) -> None:
    assert open_client.get("/status", headers={"Host": host}).status_code == 403
    assert guarded.get("/status", headers=WITH | {"Host": host}).status_code == 200
    for own in ("localhost:8000", "LOCALHOST", "127.8.9.1:1", "[::1]:8000"):
        assert open_client.get("/status", headers={"Host": own}).status_code == 200


def test_what_is_too_long_is_refused_unread(open_client: TestClient) -> None:
    json = {"Content-Type": "application/json"}
    longest = b'{"anomaly_id": "' + b"x" * (MOST_BYTES - 18) + b'"}'
    assert len(longest) == MOST_BYTES
    assert open_client.post("/api/reviews", content=longest, headers=json).status_code == 422
    answer = open_client.post("/api/reviews", content=longest + b" ", headers=json)
    assert (answer.status_code, answer.json()["detail"]) == (413, "a body may have at most 65,536 bytes")
    assert open_client.post("/stop", content=longest + b" ").status_code == 413
    for length in ("-1", "x", "9" * 30, "٣"):
        headers = {"Content-Length": length.encode()}
        assert open_client.post("/stop", headers=headers).status_code == 413  # type: ignore[arg-type]
    assert open_client.post("/stop", content=iter([b"x"])).status_code == 411


def test_a_request_is_logged_without_what_may_be_secret(
    guarded: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tapewatch"):
        ids = [
            guarded.get("/api/anomalies?key=hunter2", headers=WITH | {"X-Request-ID": name}).headers[
                "X-Request-ID"
            ]
            for name in ("a.b-C_1", "two words", "x" * 65, 'quote"', "")
        ]
        guarded.post("/api/reviews", headers=WITH, json={"anomaly_id": "hunter2"})
        guarded.get("/api/stats", headers={"Authorization": "Bearer hunter2"})
    assert ids[0] == "a.b-C_1"
    assert all(len(name) == 32 and name.isalnum() for name in ids[1:])
    lines = [formatter().format(record) for record in caplog.records if record.name == "tapewatch"]
    assert len(lines) == 7
    assert '"request_id":"a.b-C_1"' in lines[0]
    assert '"method":"GET","path":"/api/anomalies","status":200' in lines[0]
    assert '"method":"POST","path":"/api/reviews","status":422' in lines[5]
    assert '"status":401' in lines[6]
    assert "hunter2" not in "".join(lines)


def test_a_fault_is_logged_and_told_without_its_cause(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serving.client(tmp_path)

    def broken(*arguments: object) -> None:
        raise RuntimeError("something inside")

    monkeypatch.setattr("api.results.opened", broken)
    with caplog.at_level(logging.INFO, "tapewatch"):
        answer = client.get("/api/anomalies", headers={"X-Request-ID": "r1"})
    assert answer.status_code == 500
    assert answer.json() == {
        "detail": "this is a fault of the server; its log says more", "field": None, "request_id": "r1",
    }  # fmt: skip
    assert "something inside" not in answer.text
    (failure,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    line, *trace = formatter().format(failure).splitlines()
    assert line.endswith(' ERROR request failed {"request_id":"r1"}')
    assert trace[-1] == "RuntimeError: something inside"


def test_what_is_logged_of_a_request_has_its_id_and_no_payment(
    open_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(formatter())
    monkeypatch.setattr(plain, "handlers", [handler])

    def unreadable(*arguments: object) -> None:
        plain.warning("the server is %s", "away")
        log.info("asked again", user_id="ana", amount=98765.25, token=TOKEN)
        raise UserError("the results cannot be read")

    monkeypatch.setattr("api.results.opened", unreadable)
    payment = {"transaction_id": "t", "timestamp": "2024-05-01", "user_id": "ana", "amount": 98765.25}
    assert open_client.get("/api/stats", headers={"X-Request-ID": "r1"}).status_code == 503
    for body in (payment, payment | {"amount": "98765.25x"}):
        open_client.post("/predict", json=body, headers={"X-Request-ID": "r1"})
    plain.info("nobody asked")
    lines = written.getvalue().splitlines()
    said = [line.partition("Z ")[2] for line in lines]
    assert said[:3] == [
        'WARNING the server is away {"request_id":"r1"}', 'INFO asked again {"request_id":"r1"}',
        'WARNING the results cannot be read {"request_id":"r1"}',
    ]  # fmt: skip
    assert all('"request_id":"r1"' in line for line in said[:-1])
    assert said[-1] == "INFO nobody asked"
    assert not any(word in "".join(lines) for word in ("98765", "ana", TOKEN))
