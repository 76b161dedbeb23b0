"""``GET /status``, ``POST /start`` and ``POST /stop``: the flow that this server runs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, HTTPException
from starlette.responses import Response

from api.documents import Start, Status
from api.flow_process import FlowProcess, Run
from api.problems import Json, Problem
from tapewatch.documents import rfc3339
from tapewatch.errors import UserError


def flow(process: FlowProcess) -> APIRouter:
    """Return the routes that start and stop this flow and say how it is."""
    routes = APIRouter(tags=["flow"])

    @routes.get("/status", response_model=Status)
    async def status() -> Response:
        """Say whether a flow runs that was started here, or how the last one ended."""
        return Json(_status(process.run))

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
        return Json(_status(process.run))

    @routes.post("/stop", response_model=Status)
    async def stop() -> Response:
        """Stop the flow gracefully and wait until it has ended; without one there is nothing to do."""
        await process.stop()
        return Json(_status(process.run))

    return routes


def _status(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {"running": False}
    return {
        "running": run.ended_at is None,
        "flow": run.flow,
        "source": run.source,
        "process": run.process.pid,
        "started_at": rfc3339(run.started_at),
        "ended_at": None if run.ended_at is None else rfc3339(run.ended_at),
        "exit_status": run.exit_status,
        "error": run.error,
    }
