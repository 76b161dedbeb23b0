"""The transaction flow: payments in, explained anomalies and users' profiles out.

``python -m bytewax.run flows.transactions:flow``
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from bytewax.dataflow import Dataflow
from bytewax.inputs import FixedPartitionedSource

from connectors.transaction_source import TransactionFilesSource
from flows.configured import configured
from flows.metrics import metrics_of, timed
from flows.sinks import sinks_of
from operators.dataflow import store
from operators.transaction_dataflow import judge_transactions, transactions, user_profiles
from operators.transaction_detectors import Classifier
from operators.transaction_feedback import FeedbackSettings
from operators.transaction_scoring import TransactionJudgeSettings
from operators.transaction_settings import judging
from tapewatch.errors import UserError
from tapewatch.records import DAY
from tapewatch.settings import Settings
from tapewatch.transactions import Transactions


def payments(settings: Settings) -> Dataflow:
    """Return the transaction flow as the settings describe it."""
    wanted = _judging(settings)
    origin_of = settings.transactions.source
    metrics = metrics_of(settings, "transactions", origin_of.name, 1, live=origin_of.kind == "kafka")
    sinks = sinks_of(settings, origin_of.name, 1, metrics, profiles=wanted.personal)
    origin = _origin(settings, slots=len(sinks))

    flow = Dataflow("transactions")
    batches = transactions("transactions", flow, timed(origin, metrics))
    parts = user_profiles("users", batches, wanted.idle_ns) if wanted.personal else None
    judged = judge_transactions("judge", batches, parts, wanted)
    store("results", judged, sinks)
    return flow


def _judging(settings: Settings) -> TransactionJudgeSettings:
    without, wanted = judging(settings), settings.transactions.feedback
    classifier = next((d for d in without.detectors if isinstance(d, Classifier)), None)
    if not (wanted.reviews or wanted.store or wanted.topic) or classifier is None:
        return without
    _require_river()
    assume = int(wanted.assume_legitimate_days * DAY)
    feedback = FeedbackSettings(wanted.remember, assume, classifier.learning_rate)
    return replace(without, feedback=feedback)


def _require_river() -> None:
    try:
        import river  # noqa: F401
    except ImportError:
        raise UserError(
            'reviews teach a model of River: pip install "tapewatch[river]", or switch '
            "`transactions.detectors.classifier` off"
        ) from None


def _origin(settings: Settings, slots: int) -> FixedPartitionedSource[Transactions, dict[str, Any]]:
    """Return the source of the settings; what is wrong with it is told now."""
    if settings.transactions.source.kind == "kafka":
        from connectors.transaction_topic import TransactionTopic  # whose libraries not everybody has

        return TransactionTopic(settings, slots)
    return TransactionFilesSource(settings, slots)


flow = configured(payments)
