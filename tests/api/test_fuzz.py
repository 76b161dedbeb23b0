"""Whatever is asked, the answer is one that the API's own OpenAPI document describes, and no 5xx."""

from __future__ import annotations

import base64
import json
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient

from connectors.sqlite import SqliteWriter
from operators.profiles import Profile
from tests.connectors.made_payments import payments
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")
serving: Any = import_module("tests.api.serving")

#: What starts processes is tried with bodies that are refused only; the flow has tests of its own.
STARTS = ("/start",)
ODD = st.text(max_size=40) | st.sampled_from(
    ["", "\0", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "-1", str(2**63), "9" * 5000, "1e400"]
)  # fmt: skip
VALID = {
    "start": st.datetimes().map(lambda moment: f"{moment.isoformat()}Z"),
    "end": st.datetimes().map(lambda moment: moment.isoformat()),
    "key": st.sampled_from(["SPY", "QQQ"]),
    "detector": st.sampled_from(["high_volume", "block_trade"]),
    "min_severity": st.floats(0, 100).map(str),
    "order": st.sampled_from(["newest", "oldest", "worst"]),
    "limit": st.integers(1, 1000).map(str),
    "user_id": st.sampled_from(["u1", "nobody"]),
    "transaction_id": st.sampled_from(["t1", "nothing"]),
    **dict.fromkeys(["merchant_category", "location", "payment_method"], st.sampled_from(["grocery", "DE"])),
    "anomaly_id": st.integers(0, 12).map(lambda number: f"{number:032x}"),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
REVIEW = st.fixed_dictionaries(
    {},
    optional={
        "anomaly_id": VALID["anomaly_id"] | JSON,
        "transaction_id": VALID["transaction_id"] | JSON,
        "label": st.integers(0, 1) | JSON,
        "reviewer": st.text(max_size=250) | JSON,
        "notes": st.text(max_size=50) | JSON,
        "reviewed_at": VALID["start"] | JSON,
        "more": JSON,
    },
)
NUMBER = st.none() | st.floats() | st.integers() | JSON
WORD = st.none() | st.text(max_size=20) | st.integers() | JSON
PAYMENT = st.fixed_dictionaries(
    {
        "transaction_id": st.just("t") | WORD,
        "timestamp": VALID["start"] | st.integers(631_152_000 * 10**9, 4_102_444_800 * 10**9) | JSON,
        "user_id": st.sampled_from(["u1", "u2"]) | WORD,
        "amount": st.floats(0, 1e14) | NUMBER,
    },
    optional={
        **dict.fromkeys(["merchant_category", "merchant_id", "location", "payment_method", "device"], WORD),
        **dict.fromkeys(
            ["location_distance_km", "transaction_count_1h", "total_amount_24h", "hour"],
            st.floats(0, 30) | NUMBER,
        ),
        **dict.fromkeys(["is_online", "is_weekend"], st.booleans() | JSON),
        "day_of_week": st.integers(0, 6) | NUMBER,
        "time_since_last_transaction_minutes": st.floats(0, 1e9) | NUMBER,
        "more": JSON,
    },
)
USUAL = {"transaction_id": "t", "timestamp": "2024-05-01T12:00:00", "user_id": "u1", "amount": 12.5}
ODD_PAYMENT = PAYMENT | PAYMENT.map(lambda row: row | USUAL) | JSON
START = st.fixed_dictionaries({"flow": JSON}, optional={"source": st.just("configured") | JSON})


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    with SqliteWriter(folder / "results.db") as writer:
        anomalies = [make.anomaly(n, key="QQQ" if n % 2 else "SPY") for n in range(1, 10)]
        anomalies.append(make.anomaly(10, severity=float("nan"), contributions={}))
        writer.write([make.results(anomalies=anomalies, bars=[make.bars(1, 2)], counters={"records": 5})])
        profile = Profile()
        for row in payments().part(np.arange(20)).rows():
            profile.update(row[1])
        writer.write([make.results(profiles=[profile.document("u1", "")])])
    made: TestClient = serving.client(folder)
    return made


@pytest.fixture(scope="module")
def document(client: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/openapi.json").json()
    return found


def check(document: dict[str, Any], method: str, path: str, answer: Any) -> None:
    """Hold an answer to what the document says of it."""
    assert answer.status_code < 500, answer.text
    described = document["paths"][path][method]["responses"].get(str(answer.status_code))
    assert described is not None, (answer.status_code, answer.text)
    (kind,) = described["content"]
    assert answer.headers["content-type"].startswith(kind)
    if kind == "application/json":
        schema = {**described["content"][kind]["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(orjson.loads(answer.content))
        if answer.status_code == 422:
            assert answer.json()["field"]


def test_every_operation_is_tried_and_described(document: dict[str, Any]) -> None:
    tried = {("get", path) for path in PLAIN} | {("get", path) for path in QUERIES}
    tried |= {("post", path) for path in BODIES} | {("get", path) for path in PATHS}
    described = {(method, path) for path, methods in document["paths"].items() for method in methods}
    assert described == tried
    for method, path in described:
        operation = document["paths"][path][method]
        assert operation["summary"]
        assert operation["description"]
        assert "HTTPValidationError" not in str(operation)


PLAIN = ("/health", "/status", "/metrics", "/api/stats")
QUERIES = ("/api/anomalies", "/api/reviews", "/api/transactions")
BODIES = {
    "/api/reviews": REVIEW, "/start": START, "/stop": JSON, "/predict": ODD_PAYMENT,
    "/predict/batch": st.lists(ODD_PAYMENT, max_size=3)
    | st.fixed_dictionaries({"transactions": st.lists(ODD_PAYMENT, max_size=3) | JSON}) | JSON,
}  # fmt: skip
PATHS = {"/api/users/{user_id}": st.sampled_from(["u1", "nobody"]) | ODD}


@pytest.mark.parametrize("path", PLAIN)
def test_what_takes_nothing(client: TestClient, document: dict[str, Any], path: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 200
    check(document, "get", path, answer)


@pytest.mark.parametrize("path", QUERIES)
@settings(max_examples=tried(150), deadline=None)
@given(data=st.data())
def test_any_query(client: TestClient, document: dict[str, Any], path: str, data: st.DataObject) -> None:
    names = [parameter["name"] for parameter in document["paths"][path]["get"]["parameters"]]
    assert set(names) - VALID.keys() == {"cursor"}
    chosen = data.draw(st.lists(st.sampled_from([*names, "odd"]), max_size=4))
    # Mostly what is allowed, so that some get further than the first check.
    query = [(name, data.draw(VALID.get(name, ODD) | VALID.get(name, ODD) | ODD)) for name in chosen]
    answer = client.get(f"{path}?{urlencode(query, errors='replace')}")
    check(document, "get", path, answer)
    assert set(chosen) <= set(names) or answer.status_code == 422


@settings(max_examples=tried(200), deadline=None)
@given(
    st.sampled_from(["newest", "oldest", "worst", "reviews", "transactions newest", 1])
    .flatmap(lambda kind: st.tuples(st.just(kind), JSON, JSON) | st.tuples(st.just(kind), JSON, JSON, JSON))
    .map(lambda place: _cursor(place)),
    st.sampled_from(["newest", "oldest", "worst"]),
)
def test_any_cursor(client: TestClient, document: dict[str, Any], cursor: str, order: str) -> None:
    for path, query in (
        ("/api/anomalies", {"cursor": cursor, "order": order}),
        ("/api/reviews", {"cursor": cursor}),
        ("/api/transactions", {"cursor": cursor, "order": order}),
    ):
        check(document, "get", path, client.get(path, params=query))


def _cursor(place: tuple[object, ...]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode("utf-8", "replace")).decode()


@pytest.mark.parametrize("path", BODIES)
@settings(max_examples=tried(100), deadline=None)
@given(data=st.data())
def test_any_body(client: TestClient, document: dict[str, Any], path: str, data: st.DataObject) -> None:
    body = json.dumps(data.draw(BODIES[path])).encode()
    raw = data.draw(st.just(body) | st.just(body) | st.binary(max_size=60))
    kind = data.draw(st.sampled_from(["application/json", "application/json", "text/plain", "x"]))
    if path in STARTS and not raw:
        raw = b"null,"
    answer = client.post(path, content=raw, headers={"Content-Type": kind})
    check(document, "post", path, answer)
    assert path not in STARTS or answer.status_code in (400, 422), answer.text


@pytest.mark.parametrize("path", PATHS)
@settings(max_examples=tried(50), deadline=None)
@given(data=st.data())
def test_any_name_in_a_path(
    client: TestClient, document: dict[str, Any], path: str, data: st.DataObject
) -> None:
    name = quote(data.draw(PATHS[path]).encode("utf-8", "replace"), safe="")
    answer = client.get(path.format(user_id=name))
    if "%2F" not in name and name not in ("", ".", ".."):
        check(document, "get", path, answer)
    assert answer.status_code < 500


@settings(max_examples=tried(50), deadline=None)
@given(st.sampled_from(["GET", "PUT", "DELETE", "HEAD", "PATCH"]), st.text(max_size=20))
def test_any_path(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, f"/{quote(path.encode('utf-8', 'replace'))}")
    assert answer.status_code in (200, 404, 405)
