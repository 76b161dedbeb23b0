"""What may be asked of the results: which anomalies, in which order, from which page on, in which steps."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import orjson

from tapewatch.documents import PAYMENT_FIELDS
from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR, MINUTE, SECOND

Document = dict[str, Any]

#: Steps that a chart may have, finest first.
STEPS = tuple(
    number * unit
    for unit, numbers in (
        (SECOND, (1, 2, 5, 10, 15, 30)),
        (MINUTE, (1, 2, 5, 10, 15, 30)),
        (HOUR, (1, 2, 4, 6, 12)),
        (DAY, (1, 2, 4, 7, 14, 28, 56, 112, 364)),
    )
    for number in numbers
)
#: Most steps of an answer over time.
MOST_STEPS = 10_000
ORDERS = ("newest", "oldest", "worst")
#: Fields of which a value may be wanted.
TERMS = ("key", "detector", "flow", "user_id", "merchant_category", "location", "payment_method")
#: What amounts may be added up by.
GROUPS = ("location", "merchant_category", "payment_method")
#: Severities from 0 to 100 are counted in so many equal bins; 100 belongs to the last.
SEVERITY_BINS = 20
SeverityOf = Literal["anomalies", "scores"]
#: The time by which their severities are told.
TIME_OF: dict[SeverityOf, str] = {"anomalies": "ts_event", "scores": "ts_start"}


class Wanted(TypedDict, total=False):
    """Which anomalies are meant; without a word, all.

    ``start`` and ``end`` bound ``ts_event`` as ``[start, end)`` ns. Each word of ``text`` must be somewhere
    in the reason or the key, whatever the case of its ASCII letters. ``feature`` is one that has a share in
    the score (``contributions``): ``lost_records``, say. ``reviewed`` tells those that somebody has reviewed
    from those that nobody has. ``user_id``, ``transactions`` (by their ids), ``merchant_category``,
    ``location`` and ``payment_method`` are those of payments.
    """

    key: str | None
    detector: str | None
    min_severity: float | None
    start: int | None
    end: int | None
    text: str | None
    feature: str | None
    reviewed: bool | None
    ids: Sequence[str] | None
    incidents: Sequence[str] | None
    flow: str | None
    user_id: str | None
    transactions: Sequence[str] | None
    merchant_category: str | None
    location: str | None
    payment_method: str | None


class WantedReviews(TypedDict, total=False):
    """Which reviews are meant; without a word, all.

    ``of_anomalies`` leaves out those of transactions alone. ``start`` and ``end`` bound ``reviewed_at`` as
    ``[start, end)`` ns.
    """

    anomaly_id: str | None
    transaction_id: str | None
    reviewer: str | None
    label: int | None
    of_anomalies: bool
    start: int | None
    end: int | None


def without_empty_payments(rows: list[Document]) -> list[Document]:
    """Return anomalies, taking from those that are of no payment what belongs to payments.

    >>> without_empty_payments([dict.fromkeys(("id", *PAYMENT_FIELDS))])
    [{'id': None}]
    """
    for row in rows:
        if row["transaction_id"] is None:
            for name in PAYMENT_FIELDS:
                del row[name]
    return rows


def of_incidents(wanted: Wanted, names: Sequence[str]) -> Wanted:
    """Return what is wanted, of these incidents only."""
    narrowed = wanted.copy()
    narrowed["incidents"] = names
    return narrowed


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ends: what the orders of anomalies are made of."""

    severity: float | None
    ts_event: int
    id: str


def cursor(document: Document) -> str:
    """Return what ``after`` takes to go on behind this anomaly, whatever the order.

    >>> place_of(cursor({"severity": 51.5, "ts_event": 7, "id": "00ff"}))
    Place(severity=51.5, ts_event=7, id='00ff')
    """
    place = orjson.dumps([document["severity"], document["ts_event"], document["id"]])
    return base64.urlsafe_b64encode(place).decode()


def place_of(after: str) -> Place:
    """Return the place that a cursor stands for; `UserError` if it is none."""
    try:
        severity, ts_event, name = orjson.loads(base64.urlsafe_b64decode(after.encode()))
    except ValueError:
        raise UserError(f"`after` must be a cursor of an earlier page, was {after[:80]!r}") from None
    number = severity is None or (isinstance(severity, (int, float)) and not isinstance(severity, bool))
    if not (number and type(ts_event) is int and 0 <= ts_event < 2**63 and isinstance(name, str)):
        raise UserError(f"`after` must be a cursor of an earlier page, was {after[:80]!r}")
    return Place(severity, ts_event, name)


@dataclass(frozen=True, slots=True)
class ReviewPlace:
    """Where a page of reviews ends: what they are named by."""

    reviewed_at: int
    anomaly_id: str | None
    transaction_id: str | None
    reviewer: str | None


def review_cursor(review: Document) -> str:
    """Return what ``after`` takes to go on behind this review.

    >>> review_place_of(review_cursor({"reviewed_at": 7, "anomaly_id": "00ff", "reviewer": "ana"}))
    ReviewPlace(reviewed_at=7, anomaly_id='00ff', transaction_id=None, reviewer='ana')
    """
    place = [review.get(name) for name in ("reviewed_at", "anomaly_id", "transaction_id", "reviewer")]
    return base64.urlsafe_b64encode(orjson.dumps(place)).decode()


def review_place_of(after: str) -> ReviewPlace:
    """Return the place that a cursor of reviews stands for; `UserError` if it is none."""
    try:
        reviewed_at, *names = orjson.loads(base64.urlsafe_b64decode(after.encode()))
        anomaly_id, transaction_id, reviewer = names
    except (TypeError, ValueError):
        raise UserError(f"`after` must be a cursor of an earlier page, was {after[:80]!r}") from None
    known = type(reviewed_at) is int and 0 <= reviewed_at < 2**63
    if not known or not all(name is None or isinstance(name, str) for name in names):
        raise UserError(f"`after` must be a cursor of an earlier page, was {after[:80]!r}")
    return ReviewPlace(reviewed_at, anomaly_id, transaction_id, reviewer)


def step_name(step_ns: int) -> str:
    """Return a step as bar widths are written.

    >>> step_name(5 * MINUTE), step_name(7 * DAY)
    ('5m', '7d')
    """
    units = ((DAY, "d"), (HOUR, "h"), (MINUTE, "m"), (SECOND, "s"))
    unit, name = next((unit, name) for unit, name in units if step_ns % unit == 0)
    return f"{step_ns // unit}{name}"


def check_step(start: int, end: int, step_ns: int) -> None:
    """Refuse steps that are not whole milliseconds, or too many of them; `UserError` says so."""
    if step_ns < 1_000_000 or step_ns % 1_000_000:
        raise UserError(f"`step_ns` must be a whole number of milliseconds in ns, was {step_ns}")
    if (end - start) // step_ns > MOST_STEPS:
        raise UserError(f"`step_ns` must cut the range into at most {MOST_STEPS:,} steps, was {step_ns}")


def check_points(points: int) -> None:
    """Refuse more points than a screen can show; `UserError` says so."""
    if not 2 <= points <= MOST_STEPS:
        raise UserError(f"`points` must be from 2 to {MOST_STEPS:,}, was {points}")


def check_range(step_ns: int, wanted: Wanted) -> tuple[int, int]:
    """Return the bounds of what is wanted over time; `UserError` if one is missing or steps are too many."""
    start, end = wanted.get("start"), wanted.get("end")
    if start is None or end is None:
        raise UserError("`start` and `end` must be given for an answer over time")
    check_step(start, end, step_ns)
    return start, end


def check_group(group: str) -> None:
    """Refuse what amounts cannot be added up by; `UserError` says so."""
    if group not in GROUPS:
        raise UserError(f"`group` must be one of {', '.join(GROUPS)}, was {group!r}")
