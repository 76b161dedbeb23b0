"""``GET`` and ``POST /api/reviews``: what people say of anomalies and transactions."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from api.cursors import decoded, page_of
from api.documents import AnomalyId, NewReview, Reviews
from api.documents import Review as ReviewDocument
from api.problems import Json, Problem
from api.store import opened
from connectors.reviews import write_review
from connectors.sqlite_reviews import Review
from connectors.store_questions import review_cursor
from tapewatch.documents import rfc3339
from tapewatch.settings import Settings

_TOLD = ("anomaly_id", "transaction_id", "label", "reviewer", "notes")
_PLACE = ("reviewed_at", "anomaly_id", "transaction_id", "reviewer")


class Asked(BaseModel):
    """The parameters of ``GET /api/reviews``."""

    model_config = ConfigDict(extra="forbid")

    anomaly_id: AnomalyId | None = Field(None, description="Only reviews of this anomaly.")
    transaction_id: str | None = Field(
        None, max_length=256, description="Only reviews of this transaction, not of its anomalies."
    )
    limit: int = Field(100, ge=1, le=1000, description="Most reviews of a page.")
    cursor: str | None = Field(None, max_length=2000, description="The `next` of the page before.")


def reviews(settings: Settings) -> APIRouter:
    """Return the routes that read and write reviews."""
    routes = APIRouter(tags=["reviews"])

    @routes.get("/api/reviews", response_model=Reviews)
    def listed(asked: Annotated[Asked, Query()]) -> Response:
        """Return reviews of anomalies and transactions, newest first, page by page."""
        after = None
        if asked.cursor is not None:
            text = (str, type(None))
            at, *names = decoded(asked.cursor, "reviews", int, text, text, text)
            # Nothing is before 1970.
            after = review_cursor(dict(zip(_PLACE, (max(at, 0), *names), strict=True)))
        with opened(settings) as store:
            found = store.reviews(
                anomaly_id=asked.anomaly_id,
                transaction_id=asked.transaction_id,
                limit=asked.limit + 1,
                after=after,
            )
        page, last = page_of(found, asked.limit, "reviews", *_PLACE)
        return Json({"reviews": [_document(row) for row in page], "next": last})

    @routes.post(
        "/api/reviews",
        response_model=ReviewDocument,
        status_code=201,
        responses={404: {"model": Problem, "description": "There is no anomaly of that id."}},
    )
    def add(new: NewReview) -> Response:
        """Keep what a person says of an anomaly or of any transaction.

        The same review sent again changes nothing.
        """
        now = time.time_ns() if new.reviewed_at is None else new.reviewed_at
        review = Review(new.anomaly_id, new.label, new.reviewer, new.notes, now, new.transaction_id)
        if not write_review(settings, review):
            raise HTTPException(404, f"`anomaly_id` must be that of a stored anomaly, was {new.anomaly_id}")
        return Json(_document(asdict(review)), status_code=201)

    return routes


def _document(review: dict[str, Any]) -> dict[str, Any]:
    told = {name: review[name] for name in _TOLD}
    return {**told, "reviewed_at": rfc3339(review["reviewed_at"])}
