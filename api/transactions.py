"""``GET /api/transactions``: the payments that were found to be anomalies, each once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.cursors import page_of, place_of
from api.documents import Transactions
from api.problems import Json
from api.store import opened
from api.times import Time
from connectors.store_questions import Wanted
from tapewatch.documents import rfc3339
from tapewatch.settings import Settings

_TOLD = (
    "transaction_id", "user_id", "amount", "merchant_category", "location", "payment_method", "risk_level",
    "severity", "reason", "contributions", "detector", "detectors",
)  # fmt: skip


class Asked(BaseModel):
    """The parameters of ``GET /api/transactions``."""

    model_config = ConfigDict(extra="forbid")

    start: Time | None = Field(None, description="Payments from this time on; without a zone it is UTC.")
    end: Time | None = Field(None, description="Payments before this time.")
    user_id: str | None = Field(None, max_length=256)
    merchant_category: str | None = Field(None, max_length=256)
    location: str | None = Field(None, max_length=256)
    payment_method: str | None = Field(None, max_length=256)
    detector: str | None = Field(None, max_length=200, description="Only what this detector found.")
    min_severity: float | None = Field(None, ge=0, le=100, allow_inf_nan=False)
    order: Literal["newest", "oldest", "worst"] = "newest"
    limit: int = Field(100, ge=1, le=1000, description="Most payments of a page.")
    cursor: str | None = Field(None, max_length=500, description="The `next` of the page before.")


def transactions(settings: Settings) -> APIRouter:
    """Return the route that tells of payments."""
    routes = APIRouter(tags=["results"])

    @routes.get("/api/transactions", response_model=Transactions)
    def listed(asked: Annotated[Asked, Query()]) -> Response:
        """Return payments that were found to be anomalies, page by page."""
        kind = f"transactions {asked.order}"
        after = place_of(asked.cursor, kind)
        wanted = Wanted(
            start=asked.start,
            end=asked.end,
            user_id=asked.user_id,
            merchant_category=asked.merchant_category,
            location=asked.location,
            payment_method=asked.payment_method,
            detector=asked.detector,
            min_severity=asked.min_severity,
        )
        with opened(settings) as store:
            found = store.transactions(limit=asked.limit + 1, after=after, order=asked.order, **wanted)
        page, last = page_of(found, asked.limit, kind)
        return Json({"transactions": [_document(row) for row in page], "next": last})

    return routes


def _document(row: dict[str, Any]) -> dict[str, Any]:
    told = {name: row[name] for name in _TOLD}
    return {**told, "timestamp": rfc3339(row["ts_event"]), "anomaly_id": row["id"]}
