"""The application: its routes behind the door, and what is described at ``/docs``."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version

from fastapi import APIRouter, Depends, FastAPI, HTTPException
from fastapi.security import HTTPBearer
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from api.documents import Health
from api.flow import flow
from api.flow_process import FlowProcess
from api.guard import Guard
from api.live import live
from api.log import use
from api.metrics import metrics
from api.predictions import predictions
from api.problems import PROBLEMS, Json, handle
from api.request_log import RequestLog
from api.results import results
from api.reviews import reviews
from api.store import opened
from api.transactions import transactions
from api.users import users
from tapewatch.errors import UserError
from tapewatch.settings import Settings

_ABOUT = (
    "Anomalies on market tapes, with their reasons. Times are RFC 3339 with nanoseconds, prices decimals. "
    "`WS /ws` streams bars, scores and anomalies as they come into the store, each a JSON text whose "
    "`document` is `bar`, `score`, `anomaly` or `deleted`."
)


def application(settings: Settings) -> ASGIApp:
    """Return the whole application as the settings describe it.

    Its flow, if one runs, is stopped when the application ends. Log lines of the process are the API's.
    """
    use()
    inner: ASGIApp = Guard(described(settings), settings.api)
    if settings.api.cors_origins:
        inner = CORSMiddleware(
            inner,
            allow_origins=settings.api.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After"],
        )
    return RequestLog(inner)


def described(settings: Settings) -> FastAPI:
    """Return the routes with their OpenAPI description, without the door in front of them."""
    process = FlowProcess()

    @contextlib.asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        await process.stop()

    app = FastAPI(
        title="tapewatch",
        version=version("tapewatch"),
        description=_ABOUT,
        lifespan=life,
        redoc_url=None,
        responses=PROBLEMS,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    handle(app)
    # Says in the description that a token is asked for; whether it is right the door has seen to.
    token = [Depends(HTTPBearer(auto_error=False))] if settings.api.secret else []
    app.include_router(_service(settings))
    for routes in _all(settings, process):
        app.include_router(routes, dependencies=token)
    for routes in (predictions(settings), users(settings)):
        app.include_router(routes, dependencies=token)
    app.include_router(live(settings))
    return app


def _all(settings: Settings, process: FlowProcess) -> tuple[APIRouter, ...]:
    told = (results(settings), transactions(settings), reviews(settings))
    return (metrics(settings, process), *told, flow(process))


def _service(settings: Settings) -> APIRouter:
    routes = APIRouter(tags=["service"])

    @routes.get("/health", response_model=Health)
    def health() -> Response:
        """Say that the server answers and can read the results."""
        try:
            opened(settings).close()
        except UserError as error:
            # It is answered without a token, and so says no more.
            raise HTTPException(503, "the results cannot be read") from error
        return Json({"status": "ok", "version": version("tapewatch")})

    return routes
