"""What schemathesis makes of the OpenAPI document: every operation, rightly and wrongly asked, keeps to it.

`test_fuzz` asks as somebody would who knows what is stored; this goes by the document alone: each parameter
and field of another type, missing, too many, too large, and calls without the token or with a wrong one.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import positive_data_acceptance
from schemathesis.core.failures import FailureGroup
from schemathesis.generation import GenerationMode

from api.app import application
from api.flow_process import FlowProcess
from connectors.sqlite import SqliteWriter
from tapewatch.errors import UserError
from tests.examples import tried

make: Any = import_module("tests.connectors.made_results")
serving: Any = import_module("tests.api.serving")

TOKEN = "hunter2-and-more"  # noqa: S105
OPERATIONS = [
    "GET /api/anomalies", "GET /api/reviews", "GET /api/stats", "GET /api/transactions",
    "GET /api/users/{user_id}", "GET /health", "GET /metrics", "GET /status", "POST /api/reviews",
    "POST /predict", "POST /predict/batch", "POST /start", "POST /stop",
]  # fmt: skip


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Return the operations by their names, of an API that asks for a token and of one that does not."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    with SqliteWriter(folder / "results.db") as writer:
        told = [*(make.anomaly(n) for n in range(1, 10)), *(make.payment(n) for n in range(3))]
        writer.write([make.results(anomalies=told, profiles=[make.profile("u1")])])
    found = {}
    for name, asked in (("with a token", {"token": TOKEN}), ("without", {})):
        document = schemathesis.openapi.from_asgi(
            "/openapi.json", application(serving.settings(folder, **asked)), headers={"Host": "127.0.0.1"}
        )
        document.config.update(base_url=serving.HOST)
        results: Any = document.get_all_operations()
        operations = [result.ok() for result in results]
        found[name] = {operation.label: operation for operation in operations}
    return found


def test_every_operation_is_asked(described: dict[str, dict[str, Any]]) -> None:
    assert sorted(described["without"]) == sorted(described["with a token"]) == OPERATIONS


@pytest.fixture(autouse=True)
def _no_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start no process, as if one were running."""

    async def runs_already(*asked: object) -> None:
        raise UserError("a flow runs already; stop it first")

    monkeypatch.setattr(FlowProcess, "start", runs_already)


def ask(operation: Any, headers: dict[str, str], examples: int) -> set[int]:
    """Ask in all ways and return the statuses; `FailureGroup` if an answer is not as described."""
    rightly = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    takes_something = operation.body or operation.query or operation.path_parameters
    wrongly = (
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE) if takes_something else st.nothing()
    )
    statuses = set()

    @settings(
        max_examples=examples, deadline=None, phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )  # fmt: skip
    @given(case=rightly | wrongly)
    def each(case: Any) -> None:
        # That a cursor is one of a page before, and a time one that 64 bits hold, no schema can say.
        answer = case.call_and_validate(excluded_checks=[positive_data_acceptance], headers=headers)
        statuses.add(answer.status_code)

    each()
    return statuses


@pytest.mark.parametrize("label", OPERATIONS)
@pytest.mark.parametrize("access", ["with a token", "without"])
def test_answers_are_as_described(described: dict[str, dict[str, Any]], label: str, access: str) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"} if access == "with a token" else {}
    statuses = ask(described[access][label], headers, tried(40))
    # Wrong ones are tried in the place of the token, too.
    assert statuses - ({401} if headers else set()) <= {200, 201, 400, 404, 409, 422}
    if described[access][label].query:
        assert 422 in statuses


def test_without_the_token_nothing_is_answered(described: dict[str, dict[str, Any]]) -> None:
    for label in OPERATIONS:
        wanted = {200} if label == "GET /health" else {401}
        assert ask(described["with a token"][label], {"Authorization": "Bearer other"}, 3) == wanted


def test_an_answer_that_is_not_as_described_is_found(
    described: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.results.stats", lambda *asked: {"counts": "many"})
    with pytest.raises(FailureGroup):
        ask(described["without"]["GET /api/stats"], {}, 1)
