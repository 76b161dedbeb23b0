"""``GET /api/anomalies`` and ``GET /api/stats``."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.cursors import decoded, encoded
from api.documents import Anomalies, Stats
from api.problems import Json
from api.store import opened
from api.times import Time
from connectors.store_questions import Wanted, cursor
from connectors.store_stats import stats
from tapewatch.documents import told_anomaly
from tapewatch.settings import Settings

_PLACE = ("ts_event", "id", "severity")


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
        after = None if asked.cursor is None else _place(asked.cursor, asked.order)
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
        page, last = found[: asked.limit], None
        if len(found) > len(page):
            last = encoded(asked.order, *(page[-1][name] for name in _PLACE))
        documents = [told_anomaly(tuple(anomaly.values())) for anomaly in page]
        return Json({"anomalies": documents, "next": last})

    @routes.get("/api/stats", response_model=Stats)
    def statistics() -> Response:
        """Return counts, rates and lag, as `tapewatch stats --json` does."""
        with opened(settings) as store:
            return Json(stats(store, time.time_ns()))

    return routes


def _place(text: str, order: str) -> str:
    """Return the store's cursor of a place in the list."""
    ts_event, name, severity = decoded(text, order, int, str, (float, int, type(None)))
    # Nothing is before 1970.
    return cursor({"ts_event": max(ts_event, 0), "id": name, "severity": severity})
