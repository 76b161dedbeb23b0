"""What is told of scored transactions: the verdict, its severity, and why."""

from __future__ import annotations

from typing import Literal, TypedDict

import numpy as np

from operators.transaction_scoring import Scored, TransactionForecast
from tapewatch.records import Array, Floats
from tapewatch.risk import CUTS, risk_level
from tapewatch.transactions import Transactions


class Prediction(TypedDict):
    """What the flow would say of a transaction.

    ``anomaly_score`` is the severity / 100; ``detectors`` has that of each detector. ``basis`` is what the
    transaction was compared with: the user's own ``profile``, the ``population`` (an unknown user, or
    standard mode), or, before any flow has published what it knows, a simulated one: ``cold start``.
    """

    transaction_id: str
    is_anomaly: bool
    anomaly_score: float
    risk_level: str
    reason: str
    contributions: dict[str, float]
    basis: Literal["profile", "population", "cold start"]
    detectors: dict[str, float]


def predictions(
    forecast: TransactionForecast, batch: Transactions, measured: Floats, scored: Scored, own: Array, *,
    cold: bool,
) -> list[Prediction]:  # fmt: skip
    """Return what is told of each of the rows that were scored last.

    The verdict is that of the ensemble, or, where it is switched off, of the most severe detector. What is
    at least a medium risk is explained as in the flow's anomalies; of the rest the feature is named that is
    furthest from usual.
    """
    names = list(scored.severity)
    told_of = {name: np.nan_to_num(scored.severity[name]).tolist() for name in names}
    # Rounded as anomalies are.
    severities = np.array([[round(severity, 3) for severity in told_of[name]] for name in names])
    heads = severities.argmax(axis=0)
    if "ensemble" in names:
        heads[:] = names.index("ensemble")
    found: list[Prediction] = []
    for index, head in enumerate(heads.tolist()):
        name, severity = names[head], float(severities[head, index])
        alarm = bool(scored.alarm[name][index])
        if alarm or severity >= CUTS[0]:
            told = forecast.explained(name, batch, measured, scored, index)
            reason, contributions = told.reason, dict(told.contributions)
        else:
            reason, contributions = forecast.unremarkable(
                name, batch, measured, scored, index, own=bool(own[index])
            )
        found.append(
            {
                "transaction_id": batch.ids[index],
                "is_anomaly": alarm,
                "anomaly_score": round(severity / 100, 5),
                "risk_level": risk_level(severity),
                "reason": reason,
                "contributions": contributions,
                "basis": "cold start" if cold else "profile" if own[index] else "population",
                "detectors": {
                    n: round(float(severities[place, index]) / 100, 5) for place, n in enumerate(names)
                },
            }
        )
    return found
