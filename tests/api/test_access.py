"""Several tokens with scopes, JSON Web Tokens, rates, and pages of other sites that are allowed."""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import jwt
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse

from api.access import Access
from tapewatch.errors import UserError
from tapewatch.settings_api import SCOPES, ApiSettings

serving: Any = import_module("tests.api.serving")
stored: Any = import_module("tests.scoring.stored")

KEY = 2 * "a-key-that-is-long-enough-for-hs256-and-more"
OTHER = 2 * "another-key-that-is-long-enough-for-hs256-too"
ROW = stored.rows(0, 1)[0]
#: A request for each scope, which is answered with the status if it may be asked.
ASKED = {
    "read": [("GET", "/api/stats", 200), ("GET", "/metrics", 200), ("GET", "/api/reviews", 200), ("GET", "/nowhere", 404)],
    "score": [("POST", "/predict", 200), ("POST", "/predict/batch", 422)],
    "review": [("POST", "/api/reviews", 422)],
    "control": [("POST", "/stop", 200)],
}  # fmt: skip


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def signed(key: str = KEY, algorithm: str = "HS256", **claims: Any) -> str:
    return jwt.encode({"exp": time.time() + 3_600, "scope": "read", **claims}, key, algorithm)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    tokens: dict[str, Any] = {
        scope: {"secret": f"only-{scope}", "scopes": [scope]} for scope in map(str, SCOPES)
    }
    tokens["two"] = {"secret": "read-and-score", "scopes": ["read", "score", "read"]}
    made: TestClient = serving.client(
        tmp_path_factory.mktemp("access"), token="everything", tokens=tokens,  # noqa: S106
        jwt={"key": KEY, "audience": "tapewatch", "issuer": "desk"},
    )  # fmt: skip
    return made


def statuses(client: TestClient, headers: dict[str, str]) -> dict[str, bool]:
    """Return which scopes open with these headers."""
    found = {}
    for scope, requests in ASKED.items():
        answers = [
            client.request(method, path, headers=headers, json=ROW if method == "POST" else None)
            for method, path, _ in requests
        ]
        allowed = [
            answer.status_code == wanted for answer, (_, _, wanted) in zip(answers, requests, strict=True)
        ]
        assert len(set(allowed)) == 1, [answer.text for answer in answers]
        if not allowed[0]:
            for answer in answers:
                assert answer.status_code == 403
                assert f"`{scope}`" in answer.json()["detail"]
                assert f'scope="{scope}"' in answer.headers["WWW-Authenticate"]
        found[scope] = allowed[0]
    return found


@pytest.mark.parametrize("scope", SCOPES)
def test_a_token_opens_its_scope_and_no_other(client: TestClient, scope: str) -> None:
    assert statuses(client, bearer(f"only-{scope}")) == {name: name == scope for name in SCOPES}


def test_tokens_of_several_scopes(client: TestClient) -> None:
    assert statuses(client, bearer("everything")) == dict.fromkeys(SCOPES, True)
    assert statuses(client, bearer("read-and-score")) == {name: name in ("read", "score") for name in SCOPES}
    assert client.get("/api/stats", headers=bearer("nothing")).status_code == 401


def test_a_stream_is_for_those_who_read(client: TestClient) -> None:
    with client.websocket_connect(serving.STREAM, headers=bearer("only-read")):
        pass
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect(serving.STREAM, headers=bearer("only-score")),
    ):
        pass
    assert refused.value.status_code == 403


def test_a_token_of_the_issuer_opens_what_it_says(client: TestClient) -> None:
    usual = {"aud": "tapewatch", "iss": "desk"}
    assert statuses(client, bearer(signed(scope="score review nonsense", **usual))) == {
        name: name in ("score", "review") for name in SCOPES
    }
    assert statuses(client, bearer(signed(scope=["read"], **usual))) == {
        name: name == "read" for name in SCOPES
    }
    assert statuses(client, bearer(signed(scope=None, **usual))) == dict.fromkeys(SCOPES, False)


#: Made when a test asks for one: they are good for an hour.
_REFUSED: dict[str, Callable[[], str]] = {
    "expired": lambda: signed(aud="tapewatch", iss="desk", exp=time.time() - 5),
    "without an end": lambda: jwt.encode({"aud": "tapewatch", "iss": "desk", "scope": "read"}, KEY),
    "by another key": lambda: signed(aud="tapewatch", iss="desk", key=OTHER),
    "by another algorithm": lambda: signed(aud="tapewatch", iss="desk", algorithm="HS384"),
    "for others": lambda: signed(aud="others", iss="desk"),
    "by nobody": lambda: signed(aud="tapewatch", iss="nobody"),
    "for no one": lambda: signed(iss="desk"),
    "not yet": lambda: signed(aud="tapewatch", iss="desk", nbf=time.time() + 3_600),
    "too long": lambda: signed(aud="tapewatch", iss="desk", more="x" * 9_000),
    "unsigned": lambda: jwt.encode(
        {"exp": time.time() + 3_600, "scope": "read", "aud": "tapewatch", "iss": "desk"}, "", "none"
    ),
    "cut": lambda: signed(aud="tapewatch", iss="desk")[:-2],
}


@pytest.mark.parametrize("name", _REFUSED)
def test_other_tokens_are_refused(client: TestClient, name: str) -> None:
    token = _REFUSED[name]()
    answer = client.get("/api/stats", headers=bearer(token))
    assert answer.status_code == 401
    assert token not in answer.text


def test_a_key_must_be_one_of_its_algorithm() -> None:
    with pytest.raises(UserError, match=r"`api\.jwt\.key` is no key of the algorithm RS256") as caught:
        Access(ApiSettings.model_validate({"jwt": {"key": KEY, "algorithm": "RS256"}}))
    assert KEY not in str(caught.value)
    for algorithm, least in (("HS256", 32), ("HS384", 48), ("HS512", 64)):
        Access(ApiSettings.model_validate({"jwt": {"key": "x" * least, "algorithm": algorithm}}))
        with pytest.raises(UserError, match=f"must have at least {least} bytes for {algorithm}"):
            Access(ApiSettings.model_validate({"jwt": {"key": "x" * (least - 1), "algorithm": algorithm}}))


def test_a_public_key_of_the_issuer_is_enough() -> None:
    ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519")
    serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization")
    private = ed25519.Ed25519PrivateKey.generate()
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    access = Access(ApiSettings.model_validate({"jwt": {"key": public.decode(), "algorithm": "EdDSA"}}))
    token = jwt.encode({"exp": time.time() + 3_600, "scope": "read"}, private, "EdDSA")
    found = access.caller(f"Bearer {token}")
    assert found is not None
    assert found.scopes == {"read"}
    # Its public key is no secret with which one could sign by another algorithm.
    assert access.caller(f"Bearer {signed()}") is None


def test_who_asks_too_often_has_to_wait(tmp_path: Path) -> None:
    tokens = {name: {"secret": name, "scopes": ["read"]} for name in ("ana", "bo")}
    client = serving.client(tmp_path, tokens=tokens, requests_per_second=0.001, burst=3)
    answers = [client.get("/status", headers=bearer("ana")) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 1_000
    assert "too many requests" in answers[-1].json()["detail"]
    assert client.get("/status", headers=bearer("bo")).status_code == 200
    # Who guesses tokens is counted by the address, and cannot use up what others have.
    assert [client.get("/status", headers=bearer(f"x{n}")).status_code for n in range(5)] == [401] * 3 + [
        429
    ] * 2
    assert client.get("/status", headers=bearer("bo")).status_code == 200


def test_pages_of_sites_that_are_allowed_may_ask(tmp_path: Path) -> None:
    client = serving.client(tmp_path, token="t", cors_origins=["https://desk.example"])  # noqa: S106
    desk = {"Origin": "https://desk.example"}
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    before = client.options("/predict", headers=desk | asked)
    assert (before.status_code, before.headers["access-control-allow-origin"]) == (200, desk["Origin"])
    answer = client.get("/status", headers=desk | bearer("t"))
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, desk["Origin"])
    assert "access-control-allow-credentials" not in answer.headers
    for origin in ("https://evil.example", "http://desk.example", "https://desk.example.evil.example"):
        refused = client.get("/status", headers={"Origin": origin} | bearer("t"))
        assert refused.status_code == 403
        assert "access-control-allow-origin" not in refused.headers
        assert client.options("/predict", headers={"Origin": origin} | asked).status_code in (400, 403)


def test_secrets_do_not_show() -> None:
    shown = ApiSettings.model_validate(
        {"tokens": {"a": {"secret": "hunter2", "scopes": '["read"]'}}, "jwt": {"key": KEY}}
    )
    assert "hunter2" not in repr(shown)
    assert KEY not in repr(shown)
