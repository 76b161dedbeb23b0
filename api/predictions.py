"""``POST /predict`` and ``/predict/batch``: what the transaction flow would say of transactions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response
from typing_extensions import TypedDict

from api.documents import Risk
from api.problems import Json, Problem, problem, request_id
from scoring.scorer import BadTransactionError, Scorer
from tapewatch.settings import Settings

#: Transactions of one request.
MOST_ROWS = 10_000

_Name = Annotated[str, Field(min_length=1, max_length=256)] | int
_Word = Annotated[str, Field(max_length=256)] | int | None
_Number = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None


class _Required(TypedDict):
    transaction_id: _Name
    timestamp: Annotated[
        str | int,
        Field(
            description="RFC 3339, UTC without a zone, or ns since 1970; from 1990 to 2099.",
            examples=["2024-06-03T14:30:00Z"],
        ),
    ]
    user_id: _Name
    amount: Annotated[float, Field(ge=0, lt=1e15, allow_inf_nan=False)]


class NewTransaction(_Required, total=False):
    """A transaction to be judged; what is null or missing is unknown."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    merchant_category: _Word
    merchant_id: _Word
    location: Annotated[_Word, Field(description="A country or place.", examples=["DE"])]
    payment_method: _Word
    device: _Word
    location_distance_km: Annotated[_Number, Field(description="From home.")]
    is_online: bool | None
    time_since_last_transaction_minutes: _Number
    is_weekend: bool | None
    hour: Annotated[float, Field(ge=0, le=23, allow_inf_nan=False)] | None
    day_of_week: Annotated[float, Field(ge=0, le=6, description="Monday is 0.", allow_inf_nan=False)] | None
    transaction_count_1h: _Number
    total_amount_24h: _Number


_Many = Annotated[list[NewTransaction], Field(max_length=MOST_ROWS)]


class _Batch(TypedDict):
    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]

    transactions: _Many


_ONE, _LIST, _BATCH = TypeAdapter(NewTransaction), TypeAdapter(_Many), TypeAdapter(_Batch)


class Prediction(BaseModel):
    """What the flow would say of a transaction if it came next."""

    transaction_id: str
    is_anomaly: bool
    anomaly_score: float = Field(ge=0, le=1, description="The severity / 100.")
    risk_level: Risk
    reason: str
    contributions: dict[str, float] = Field(description="What carries how much of the score, in all 1.")
    basis: Literal["profile", "population", "cold start"] = Field(
        description="What it was compared with: the user's own profile; all users; or, before a flow has "
        "published what it knows, a simulated population."
    )
    detectors: dict[str, float] = Field(description="The score of each detector.")


class Predictions(BaseModel):
    """Predictions in the order of the transactions."""

    predictions: list[Prediction]


def _body(*adapters: TypeAdapter[Any]) -> dict[str, Any]:
    """Return the description of a body; it is read without the framework, which would take longer."""
    schemas = [_inlined(adapter.json_schema(ref_template="{model}")) for adapter in adapters]
    schema = schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema with what it refers to in its place."""
    known = schema.pop("$defs", {})

    def inline(part: Any) -> Any:  # noqa: ANN401 - any JSON
        if isinstance(part, list):
            return [inline(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            return inline(known[part["$ref"]])
        return {name: inline(item) for name, item in part.items()}

    found: dict[str, Any] = inline(schema)
    return found


def predictions(settings: Settings) -> APIRouter:
    """Return the routes that judge transactions; they change no state."""
    routes = APIRouter(tags=["predictions"])
    # Of its own, so that one transaction does not wait for a batch.
    one, many = Scorer(settings), Scorer(settings)
    at_once = settings.sinks.store == "sqlite"
    too_long: dict[int | str, dict[str, Any]] = {
        413: {"model": Problem, "description": "The body is too long."}
    }

    @routes.post("/predict", response_model=Prediction, openapi_extra=_body(_ONE), responses=too_long)
    async def predict(request: Request) -> Response:
        """Say what the transaction flow would say of a transaction if it came next; nothing is learned."""
        row = _read(_ONE, await request.body())
        try:
            # A thread of its own would cost more time than a file takes to be asked.
            (told,) = one.score([row]) if at_once else await run_in_threadpool(one.score, [row])
        except BadTransactionError as error:
            return _refused(request, error, error.field)
        return Json(told)

    @routes.post(
        "/predict/batch",
        response_model=Predictions | list[Prediction],
        openapi_extra=_body(_BATCH, _LIST),
        responses=too_long,
    )
    async def predict_batch(request: Request) -> Response:
        """Judge up to 10,000 transactions, each for itself, as if it came next.

        A bare list is answered with a bare list.
        """
        body = await request.body()
        bare = body.lstrip()[:1] == b"["
        rows = _read(_LIST, body) if bare else _read(_BATCH, body)["transactions"]
        try:
            return await run_in_threadpool(_answer, many, rows, bare)
        except BadTransactionError as error:
            place = f"{error.row}.{error.field}"
            return _refused(request, error, place if bare else f"transactions.{place}")

    return routes


def _answer(scorer: Scorer, rows: Sequence[NewTransaction], bare: bool) -> Response:
    told = scorer.score(rows)
    return Json(told if bare else {"predictions": told})


def _read(adapter: TypeAdapter[Any], body: bytes) -> Any:  # noqa: ANN401 - what the adapter is of
    try:
        return adapter.validate_json(body)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=True)[0]
        raise RequestValidationError([{**first, "loc": ("body", *first["loc"])}]) from error


def _refused(request: Request, error: BadTransactionError, field: str) -> Response:
    detail = str(error).replace(f"`{error.field}`", f"`{field}`", 1)
    return problem(422, detail, request_id(request), field=field or "body")
