"""``GET /api/users/{id}``: what is usual for a user."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.documents import Moment
from api.problems import Json, Problem
from api.store import opened
from tapewatch.documents import rfc3339
from tapewatch.pseudonyms import pseudonyms_of
from tapewatch.settings import Settings

_Counts = dict[str, float] | None


class User(BaseModel):
    """What the transaction flow has learned of a user."""

    user_id: str
    locations: _Counts = Field(description="How often each was seen, what is long ago counting less.")
    merchant_categories: _Counts
    payment_methods: _Counts
    hours: _Counts = Field(description="By hour of the day, UTC.")
    amount_min: float | None = Field(description="Of the last amounts, as the two that follow.")
    amount_max: float | None
    amount_mean: float | None
    transactions: int | None
    anomalies: int | None = Field(description="Transactions that were too strange to be learned.")
    threshold: float | None = Field(description="How strange a transaction must be not to be learned.")
    ts_first: Moment | None
    ts_last: Moment | None


def users(settings: Settings) -> APIRouter:
    """Return the route that tells of a user."""
    routes = APIRouter(tags=["results"])
    pseudonyms = pseudonyms_of(settings.transactions)

    @routes.get(
        # Ids may hold slashes.
        "/api/users/{user_id:path}",
        response_model=User,
        responses={404: {"model": Problem, "description": "No payment of this user is known."}},
    )
    def user(user_id: Annotated[str, Path(min_length=1, max_length=256)]) -> Response:
        """Return what is usual for a user, as the transaction flow published it last."""
        with opened(settings) as store:
            found = None if pseudonyms is None else store.profile(pseudonyms.of(user_id))
            # What other answers tell of a user is a pseudonym already.
            found = store.profile(user_id) if found is None else found
        if found is None:
            raise HTTPException(404, "no payment of this user is known")
        times = {
            name: None if found[name] is None else rfc3339(found[name]) for name in ("ts_first", "ts_last")
        }
        return Json(found | times)

    return routes
