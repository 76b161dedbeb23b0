"""What predictions are made with before any flow has published what it knows."""

from __future__ import annotations

from operators.transaction_scoring import TransactionForecast, TransactionJudgeSettings
from operators.transaction_settings import judging
from tapewatch.settings import Settings


def cold_start(settings: Settings) -> tuple[TransactionJudgeSettings, TransactionForecast]:
    """Return the settings, and what scores with the models that come with tapewatch."""
    wanted = judging(settings)
    return wanted, TransactionForecast(wanted)
