"""Payments with anomalies and profiles of their users, for the tests of the pages."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import orjson

from tapewatch.documents import PROFILE_FIELDS, Payment
from tapewatch.records import DAY

make: Any = import_module("tests.connectors.made_results")


def payment(number: int = 1, user: str = "ana", amount: float = 50.0, **changes: Any) -> Any:
    """Return an anomaly of a payment; its id and time follow from the number."""
    words = {"merchant_category": "fuel", "location": "DE", "payment_method": "card", "risk_level": "medium"}
    words |= {name: changes.pop(name) for name in [*words] if name in changes}
    of = {"flow": "transactions", "detector": "rules", "key": user, "symbol": user, "instrument_id": 0}
    paid = Payment(f"t{number}", user, amount, **words)
    return make.anomaly(number, **(of | {"payment": paid, "contributions": {"own_place": 1.0}} | changes))


def profile(user: str = "ana", **changes: Any) -> tuple[Any, ...]:
    """Return a profile as a flow writes it."""
    values: dict[str, Any] = {
        "user_id": user, "locations": {"DE": 9.0, "NL": 1.0}, "merchant_categories": {"fuel": 4.0},
        "payment_methods": {"card": 10.0}, "hours": {"8": 3.0, "9": 1.0}, "amount_min": 5.0,
        "amount_max": 80.0, "amount_mean": 20.0, "transactions": 10, "anomalies": 1, "threshold": 8.0,
        "ts_first": make.MONDAY - 30 * DAY, "ts_last": make.MONDAY, "state": None,
    }  # fmt: skip
    values |= changes
    return tuple(
        orjson.dumps(value).decode() if isinstance(value := values[name], dict) else value
        for name in PROFILE_FIELDS
    )
