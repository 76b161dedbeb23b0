"""``GET /status``, ``POST /start`` and ``POST /stop``: the flow that this server runs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from api.documents import Start, Status
from api.flow_process import FlowProcess, described
from api.problems import Json, Problem
from tapewatch.documents import rfc3339
from tapewatch.errors import UserError


def flow(process: FlowProcess) -> APIRouter:
    """Return the routes that start and stop this flow and say how it is."""
    routes = APIRouter(tags=["flow"])

    @routes.get("/status", response_model=Status)
    async def status() -> Response:
        """Say whether a flow runs that was started here, or how the last one ended."""
        return Json(_status(process))

    @routes.post(
        "/start",
        response_model=Status,
        responses={409: {"model": Problem, "description": "A flow runs already, or the settings are wrong."}},
    )
    async def start(asked: Start | None = None) -> Response:
        """Start a flow; `/status` tells how it fares."""
        wanted = asked or Start()
        try:
            await process.start(wanted.flow, wanted.source)
        except UserError as error:
            raise HTTPException(409, str(error)) from error
        return Json(_status(process))

    @routes.post("/stop", response_model=Status)
    async def stop() -> Response:
        """Stop the flow gracefully and wait until it has ended; without one there is nothing to do."""
        await process.stop()
        return Json(_status(process))

    return routes


def _status(process: FlowProcess) -> dict[str, Any]:
    document = dict(described(process.run))
    for name in ("started_at", "ended_at"):
        moment = document.get(name)
        if isinstance(moment, int):
            document[name] = rfc3339(moment)
    return document
