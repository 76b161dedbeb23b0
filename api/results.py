"""``GET /api/anomalies`` and ``GET /api/stats``."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.cursors import page_of, place_of
from api.documents import Anomalies, Stats
from api.problems import Json
from api.store import opened
from api.times import Time
from connectors.store_questions import Wanted
from connectors.store_stats import stats
from tapewatch.documents import told_anomaly
from tapewatch.settings import Settings


class Asked(BaseModel):
    """The parameters of ``GET /api/anomalies``."""

    model_config = ConfigDict(extra="forbid")

    start: Time | None = Field(None, description="Events from this time on; without a zone it is UTC.")
    end: Time | None = Field(None, description="Events before this time.")
    key: str | None = Field(None, max_length=200, description="One symbol, or one user.")
    user_id: str | None = Field(None, max_length=256, description="Only payments of this user.")
    detector: str | None = Field(None, max_length=200)
    min_severity: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    order: Literal["newest", "oldest", "worst"] = "newest"
    limit: int = Field(100, ge=1, le=1000, description="Most anomalies of a page.")
    cursor: str | None = Field(None, max_length=500, description="The `next` of the page before.")


def results(settings: Settings) -> APIRouter:
    """Return the routes that tell of the results."""
    routes = APIRouter(tags=["results"])

    @routes.get("/api/anomalies", response_model=Anomalies)
    def anomalies(asked: Annotated[Asked, Query()]) -> Response:
        """Return anomalies, page by page."""
        after = place_of(asked.cursor, asked.order)
        wanted = Wanted(
            key=asked.key,
            detector=asked.detector,
            min_severity=asked.min_severity,
            start=asked.start,
            end=asked.end,
            user_id=asked.user_id,
        )
        with opened(settings) as store:
            found = store.anomalies(limit=asked.limit + 1, after=after, order=asked.order, **wanted)
        page, last = page_of(found, asked.limit, asked.order)
        documents = [told_anomaly(tuple(anomaly.values())) for anomaly in page]
        return Json({"anomalies": documents, "next": last})

    @routes.get("/api/stats", response_model=Stats)
    def statistics() -> Response:
        """Return counts, rates and lag, as `tapewatch stats --json` does."""
        with opened(settings) as store:
            return Json(stats(store, time.time_ns()))

    return routes
