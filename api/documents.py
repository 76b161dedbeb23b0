"""The documents that come and go, for the OpenAPI description; field names are those of the store."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from api.times import Time

#: A time in an answer.
Moment = Annotated[
    str,
    Field(json_schema_extra={"format": "date-time"}, examples=["2024-06-03T14:30:00.000000000Z"]),
]
Risk = Literal["low", "medium", "high", "critical"]
AnomalyId = Annotated[str, Field(pattern="^[0-9a-f]{32}$", examples=["f94afa0e55ab61dcd97b8b16153c096a"])]


class Anomaly(BaseModel):
    """One anomaly: what was seen, what was expected, and why that is out of the ordinary."""

    id: str
    incident: str | None = Field(description="Anomalies of one key that touch in time share it.")
    revision: int = Field(description="The number of windows it spans so far.")
    flow: str
    detector: str
    dataset: str | None
    publisher_id: int | None
    instrument_id: int | None
    key: str
    symbol: str | None
    ts_event: Moment
    ts_start: Moment
    ts_end: Moment
    severity: float | None = Field(description="0 to 100, comparable across detectors.")
    score: float | None
    threshold: float | None
    observed: float | None
    expected: float | None
    reason: str
    contributions: dict[str, float | None] = Field(description="Feature to signed share.")
    detected_at: Moment
    timestamp: Moment = Field(alias="@timestamp")
    transaction_id: str | None = Field(None, description="Of payments only, as what follows.")
    user_id: str | None = None
    amount: float | None = None
    merchant_category: str | None = None
    location: str | None = None
    payment_method: str | None = None
    risk_level: Risk | None = None


class Anomalies(BaseModel):
    """A page of anomalies."""

    anomalies: list[Anomaly]
    next: str | None = Field(description="The `cursor` of the next page, null on the last.")


class Transaction(BaseModel):
    """A payment that is an anomaly, and what the most telling of its detectors says of it."""

    transaction_id: str
    user_id: str
    timestamp: Moment
    amount: float
    merchant_category: str | None
    location: str | None
    payment_method: str | None
    risk_level: Risk
    severity: float | None
    reason: str
    contributions: dict[str, float | None] = Field(description="Feature to signed share.")
    detector: str = Field(description="Whose words these are.")
    detectors: list[str] = Field(description="All that raised an alarm.")
    anomaly_id: str = Field(description="For a review.")


class Transactions(BaseModel):
    """A page of payments."""

    transactions: list[Transaction]
    next: str | None = Field(description="The `cursor` of the next page, null on the last.")


class DetectorStats(BaseModel):
    """What one detector found."""

    detector: str
    anomalies: int
    max_severity: float | None
    ts_last: Moment | None


class Rates(BaseModel):
    """The stretch of tape that the results are of."""

    records: int
    ts_first: Moment | None
    ts_last: Moment | None
    records_per_second: float | None = Field(description="Of the tape, not of the computer.")
    anomalies_per_day: float | None


class Stats(BaseModel):
    """What the store holds."""

    counts: dict[str, int] = Field(description="Rows of each table.")
    counters: dict[str, int] = Field(description="What the flows counted, by name.")
    detectors: list[DetectorStats]
    rates: Rates
    lag_seconds: float | None = Field(description="How long ago the newest event was.")


class NewReview(BaseModel):
    """What a person says of an anomaly, or of a transaction: one of the two must be named.

    A transaction need not be an anomaly: a fraud that was missed can be told, too.
    """

    model_config = ConfigDict(extra="forbid")

    anomaly_id: AnomalyId | None = None
    transaction_id: str | None = Field(None, min_length=1, max_length=256)
    label: Annotated[Literal[0, 1], Field(description="1 confirmed, 0 false alarm.")]
    reviewer: str | None = Field(None, min_length=1, max_length=200)
    notes: str | None = Field(None, max_length=10_000)
    reviewed_at: Time | None = Field(None, description="Now, if it is not given.")

    @model_validator(mode="after")
    def _of_one(self) -> Self:
        if (self.anomaly_id is None) == (self.transaction_id is None):
            msg = "either `anomaly_id` or `transaction_id` must be given"
            raise ValueError(msg)
        return self


class Review(BaseModel):
    """What a person said of an anomaly or a transaction."""

    anomaly_id: str | None
    transaction_id: str | None
    label: Literal[0, 1]
    reviewer: str | None
    notes: str | None
    reviewed_at: Moment


class Reviews(BaseModel):
    """A page of reviews, newest first."""

    reviews: list[Review]
    next: str | None = Field(description="The `cursor` of the next page, null on the last.")


class Start(BaseModel):
    """Which flow to start, and on what."""

    model_config = ConfigDict(extra="forbid")

    flow: Literal["market", "transactions"] = "market"
    source: Literal["configured", "simulation"] = Field(
        "configured",
        description="What the settings say, or the next day of a simulated market, or simulated payments.",
    )


class Status(BaseModel):
    """Whether a flow runs that was started here, and how the last one ended."""

    running: bool
    flow: str | None = None
    source: str | None = None
    process: int | None = Field(None, description="Its process id.")
    started_at: Moment | None = None
    ended_at: Moment | None = None
    exit_status: int | None = Field(
        None, description="0 done, 2 bad settings or input, negative if a signal ended it."
    )
    error: str | None = Field(None, description="The line with which it said what is wrong.")


class Health(BaseModel):
    """That the server answers and can read the results."""

    status: Literal["ok"]
    version: str
