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
    severities = np.nan_to_num(np.stack([scored.severity[name] for name in names], axis=1))
    heads = severities.argmax(axis=1)
    if "ensemble" in names:
        heads[:] = names.index("ensemble")
    detectors = np.round(severities / 100, 5).tolist()
    highest = severities[np.arange(len(batch)), heads].tolist()
    alarms = np.stack([scored.alarm[name] for name in names], axis=1)[np.arange(len(batch)), heads].tolist()
    known = own.tolist()
    found: list[Prediction] = []
    for index, head in enumerate(heads.tolist()):
        # Rounded as that of an anomaly is.
        name, severity, alarm = names[head], round(highest[index], 3), alarms[index]
        if alarm or severity >= CUTS[0]:
            told = forecast.explained(name, batch, measured, scored, index)
            reason, contributions = told.reason, dict(told.contributions)
        else:
            reason, contributions = forecast.unremarkable(
                name, batch, measured, scored, index, own=known[index]
            )
        found.append(
            {
                "transaction_id": batch.ids[index],
                "is_anomaly": alarm,
                "anomaly_score": round(severity / 100, 5),
                "risk_level": risk_level(severity),
                "reason": reason,
                "contributions": contributions,
                "basis": "cold start" if cold else "profile" if known[index] else "population",
                "detectors": dict(zip(names, detectors[index], strict=True)),
            }
        )
    return found
