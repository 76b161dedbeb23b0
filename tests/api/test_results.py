"""Anomalies and figures over HTTP: the store's documents, all of them, and errors that name the field."""

from __future__ import annotations

import math
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from connectors.sqlite import SqliteWriter
from connectors.stdout import documents
from connectors.store_sqlite import SqliteStore
from connectors.store_stats import stats
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")
serving: Any = import_module("tests.api.serving")


def write(folder: Path, **parts: Any) -> Any:
    results = make.results(**parts)
    with SqliteWriter(folder / "results.db") as writer:
        writer.write([results])
    return results


def test_documents_are_those_of_the_other_sinks(tmp_path: Path) -> None:
    told = write(tmp_path, anomalies=[make.anomaly(1), make.anomaly(2, severity=math.nan)])
    page = serving.client(tmp_path).get("/api/anomalies", params={"order": "oldest"}).json()
    wanted = [dict(document) for document in documents(told)]
    for document in wanted:
        del document["document"]
        document["severity"] = None if math.isnan(document["severity"]) else document["severity"]
    assert page == {"anomalies": wanted, "next": None}
    assert page["anomalies"][0]["ts_start"] == "2024-06-03T00:01:00.000000000Z"


@hypothesis_settings(max_examples=tried(20), deadline=None)
@given(
    order=st.sampled_from(["newest", "oldest", "worst"]),
    limit=st.integers(1, 8),
    key=st.sampled_from([None, "SPY", "QQQ"]),
    least=st.sampled_from([None, 0, 70.5]),
    start=st.none() | st.integers(0, 20),
)
def test_pages_follow_each_other(
    tmp_path: Path, order: str, limit: int, key: str | None, least: float | None, start: int | None
) -> None:
    made = [make.anomaly(n, key="QQQ" if n % 3 else "SPY") for n in range(20)]
    write(tmp_path, anomalies=made)
    asked: dict[str, Any] = {"order": order, "limit": limit, "key": key, "min_severity": least}
    asked["start"] = None if start is None else f"2024-06-03T00:{start + 1:02d}:00.000000000Z"
    asked = {name: value for name, value in asked.items() if value is not None}
    client = serving.client(tmp_path)
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] | None = {}
    while cursor is not None:
        page = client.get("/api/anomalies", params=asked | cursor).json()
        assert len(page["anomalies"]) <= limit
        found += page["anomalies"]
        cursor = None if page["next"] is None else {"cursor": page["next"]}
    wanted = [
        a for number, a in enumerate(made)
        if key in (None, a.key) and (least is None or a.severity >= least) and number >= (start or 0)
    ]  # fmt: skip
    places = {
        "newest": lambda a: (-a.ts_event, a.id),
        "oldest": lambda a: (a.ts_event, a.id),
        "worst": lambda a: (-a.severity, a.ts_event, a.id),
    }
    assert [document["id"] for document in found] == [a.id for a in sorted(wanted, key=places[order])]


def test_figures_are_those_of_the_command(tmp_path: Path) -> None:
    write(tmp_path, anomalies=[make.anomaly(1)], bars=[make.bars(1, 2)], counters={"records": 1500})
    found = serving.client(tmp_path).get("/api/stats").json()
    with SqliteStore(tmp_path / "results.db") as store:
        wanted = stats(store, 0)
    assert found.pop("lag_seconds") > 0 > wanted.pop("lag_seconds")
    assert found == wanted
    assert found["counts"]["bars"] == 2
    assert found["rates"]["ts_last"] == "2024-06-03T00:02:00.000000000Z"


def test_an_empty_store_has_nothing(tmp_path: Path) -> None:
    client = serving.client(tmp_path)
    assert client.get("/api/anomalies").json() == {"anomalies": [], "next": None}
    assert client.get("/api/reviews").json() == {"reviews": [], "next": None}
    assert client.get("/api/stats").json()["lag_seconds"] is None


WRONG = {
    "limit=0": "`limit` must be greater than or equal to 1, was '0'",
    "limit=1001": "`limit` must be less than or equal to 1000, was '1001'",
    "limit=many": "`limit` must be a valid integer, unable to parse string as an integer, was 'many'",
    "min_severity=nan": "`min_severity` must be a finite number, was 'nan'",
    "min_severity=101": "`min_severity` must be less than or equal to 100, was '101'",
    "order=best": "`order` must be 'newest', 'oldest' or 'worst', was 'best'",
    "start=soon": "`start` must be a time such as 2024-06-03T14:30:00Z, from 1678 to 2261, was 'soon'",
    "end=2262-01-01": "`end` must be a time such as",
    "cursor=x": "`cursor` must be the `next` of a page before, with the same `order`, was 'x'",
    "severity=5": "unknown field `severity`",
    f"key={'x' * 201}": "`key` must have at most 200 characters, was 'xxx",
}


@pytest.mark.parametrize("query", WRONG)
def test_what_is_wrong_is_named(tmp_path: Path, query: str) -> None:
    answer = serving.client(tmp_path).get(f"/api/anomalies?{query}", headers={"X-Request-ID": "mine-1"})
    assert answer.status_code == 422
    problem = answer.json()
    assert problem["detail"].startswith(WRONG[query])
    assert problem["field"] == query.partition("=")[0]
    assert problem["request_id"] == answer.headers["X-Request-ID"] == "mine-1"


def test_a_cursor_is_of_its_order(tmp_path: Path) -> None:
    write(tmp_path, anomalies=[make.anomaly(n) for n in range(3)])
    client = serving.client(tmp_path)
    cursor = client.get("/api/anomalies?limit=1&order=worst").json()["next"]
    assert client.get(f"/api/anomalies?cursor={cursor}&order=worst").status_code == 200
    assert client.get(f"/api/anomalies?cursor={cursor}").json()["field"] == "cursor"


def test_a_store_that_has_gone_is_unavailable(tmp_path: Path) -> None:
    client = serving.client(tmp_path)
    for path in tmp_path.iterdir():
        path.unlink()
    answer = client.get("/api/anomalies")
    assert answer.status_code == 503
    assert "run the flow first" in answer.json()["detail"]
    health = client.get("/health")
    assert (health.status_code, health.json()["detail"]) == (503, "the results cannot be read")
    write(tmp_path, anomalies=[make.anomaly(1)])
    assert len(client.get("/api/anomalies").json()["anomalies"]) == 1
    assert client.get("/health").json()["status"] == "ok"
