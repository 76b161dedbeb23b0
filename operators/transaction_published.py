"""What the transaction flow publishes for predictions: its settings, and what each part of it knows.

It is made of numbers, texts, arrays, tuples and tables, so that a store can keep it as JSON, and small: what
only learning needs is left out. Predictions judge with the settings that are published, whatever theirs say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from operators.transaction_detectors import KNOWN, transaction_detectors
from operators.transaction_scoring import TransactionForecast, TransactionJudgeSettings, TransactionScoring
from tapewatch.documents import PublishedJudge
from tapewatch.errors import UserError

#: Raised whenever the form of what is published changes.
VERSION = 1


def published(
    settings: TransactionJudgeSettings, scoring: TransactionScoring, partition: str, clock: int
) -> PublishedJudge:
    """Return what `forecast` takes.

    Parameters
    ----------
    settings, scoring
        What is judged with, and what is known now.
    partition, clock
        Of the stream; ns.
    """
    state = {
        "detectors": {detector.name: detector.model_dump() for detector in settings.detectors},
        "budget": settings.budget,
        "personal": settings.personal,
        "idle_ns": settings.idle_ns,
        **scoring.published(),
    }
    return PublishedJudge(partition, VERSION, clock, scoring.seen, state)


def settings_of(state: Mapping[str, Any]) -> TransactionJudgeSettings:
    """Return the settings that were published.

    Raises
    ------
    UserError
        If this program does not allow them.
    """
    sections = {detector.name: {"enabled": False} for detector in KNOWN} | state["detectors"]
    return TransactionJudgeSettings(
        detectors=transaction_detectors(sections),
        budget=state["budget"],
        personal=state["personal"],
        keep_scores=False,
        source="",
        idle_ns=state["idle_ns"],
    )


def forecast(judge: PublishedJudge) -> tuple[TransactionJudgeSettings, TransactionForecast]:
    """Return the settings of what was published, and what scores with it.

    Raises
    ------
    UserError
        If it is of another version, damaged, or its models are not here.
    """
    if judge.version != VERSION:
        raise UserError(
            f"the judge in the store is of version {judge.version}, this program reads {VERSION}; run the "
            "transaction flow again with this version of tapewatch"
        )
    try:
        settings = settings_of(judge.state)
        return settings, TransactionForecast(settings, judge.state)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError("the judge in the store is damaged; run the transaction flow again") from error
