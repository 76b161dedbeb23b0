"""Answers for what cannot be done: one sentence that names the field, and the request's id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from api.log import log
from tapewatch.errors import UserError
from tapewatch.settings_errors import shown


class Problem(BaseModel):
    """Why a request was not fulfilled."""

    detail: str = Field(description="One sentence: what was found, and what is allowed.")
    field: str | None = Field(description="The parameter or field of the body that is wrong.")
    request_id: str = Field(description="Also in the header `X-Request-ID` and in the server's log.")


#: For the OpenAPI document: how every operation says that something is wrong.
PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "The body cannot be read."},
    401: {"model": Problem, "description": "The bearer token is missing or wrong."},
    403: {"model": Problem, "description": "The token lacks the scope, or another site's page asks."},
    429: {"model": Problem, "description": "Too many requests; `Retry-After` says when to ask again."},
    422: {"model": Problem, "description": "A parameter or field is wrong; `field` names it."},
    503: {"model": Problem, "description": "The results cannot be read or written at the moment."},
}


class Json(Response):
    """A document as JSON; numbers that are none become null."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:  # noqa: ANN401 - any document
        """Return the bytes."""
        return orjson.dumps(content)


def problem(
    status: int,
    detail: str,
    request_id: str,
    *,
    field: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return the answer for a request that is not fulfilled."""
    content = {"detail": detail, "field": field, "request_id": request_id}
    return Json(content, status_code=status, headers=None if headers is None else dict(headers))


def in_words(errors: Sequence[Any]) -> tuple[str, str | None]:
    """Return one sentence on the first thing that pydantic found wrong, and the field's name.

    >>> in_words([{"type": "string_too_short", "loc": ("body", "user_id", "constrained-str"), "input": "",
    ...            "msg": "String should have at least 1 character"}])[1]
    'user_id'

    >>> in_words([{"type": "greater_than_equal", "loc": ("query", "limit"), "input": "0",
    ...            "msg": "Input should be greater than or equal to 1"}])
    ("`limit` must be greater than or equal to 1, was '0'", 'limit')
    """
    first = errors[0]
    # Pydantic names the kind behind a field that may be of several.
    names = [name for name in map(str, first["loc"][1:]) if not name.startswith("constrained-")]
    if first["type"] == "json_invalid":
        place = f" at byte {names[0]}" if names else ""
        return f"the body is no JSON: {first['ctx']['error']}{place}", "body"
    field = ".".join(names) or "body"
    if first["type"] == "extra_forbidden":
        return f"unknown field `{field}`", field
    if first["type"] == "missing":
        return f"`{field}` is missing", field
    message = first["msg"].removeprefix("Value error, ")
    message = (
        message.replace("Input should", "must")
        .replace("String should", "must")
        .replace("List should", "must")
    )
    # No field of a request is a secret; `key` is a symbol here.
    return f"`{field}` {message}, was {shown('', first['input'])}", field


def request_id(request: Request) -> str:
    """Return the id that the log knows this request by."""
    known: str = request.scope.get("tapewatch.request_id", "")
    return known


def handle(app: FastAPI) -> None:
    """Make the application answer every error with a `Problem`."""

    @app.exception_handler(RequestValidationError)
    def wrong(request: Request, error: RequestValidationError) -> Response:
        detail, field = in_words(error.errors())
        return problem(422, detail, request_id(request), field=field)

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        return problem(error.status_code, str(error.detail), request_id(request), headers=error.headers)

    @app.exception_handler(UserError)
    def unavailable(request: Request, error: UserError) -> Response:
        log.warning(str(error))
        return problem(503, str(error), request_id(request))

    @app.exception_handler(Exception)
    def failed(request: Request, error: Exception) -> Response:
        return problem(500, "this is a fault of the server; its log says more", request_id(request))
