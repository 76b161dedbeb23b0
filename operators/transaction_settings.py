"""From the settings people write to what the judging step of transactions needs."""

from __future__ import annotations

from operators.transaction_detectors import transaction_detectors
from operators.transaction_scoring import TransactionJudgeSettings
from tapewatch.errors import UserError
from tapewatch.records import DAY, SECOND
from tapewatch.settings import Settings


def judging(settings: Settings) -> TransactionJudgeSettings:
    """Return what to judge transactions with, without what reviews need.

    Raises
    ------
    UserError
        For a detector there is not, a setting it does not allow, or if all are switched off.
    """
    wanted = settings.transactions
    detectors = transaction_detectors(wanted.detectors)
    if not detectors:
        raise UserError("all sections of `transactions.detectors` are switched off; at least one must be on")
    return TransactionJudgeSettings(
        detectors=detectors,
        budget=wanted.alerts_per_day,
        personal=wanted.mode == "personal",
        keep_scores=settings.sinks.scores,
        source=wanted.source.name,
        feedback_step_ns=wanted.feedback.step_seconds * SECOND,
        idle_ns=wanted.profiles.idle_days * DAY,
    )
