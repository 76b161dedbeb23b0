"""Scoring in the pages' own process, as the flow would score a payment that came next; nothing is changed."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tapewatch.risk import CUTS, LEVELS
from tapewatch.settings import Settings

if TYPE_CHECKING:
    from scoring.scorer import Scorer
    from scoring.told import Prediction

#: What each ``basis`` of a prediction means to a person.
BASES = {
    "profile": "compared with the user's own payments",
    "population": "compared with what all users pay: nothing is known of this user at that time",
    "cold start": (
        "compared with simulated payments, because no flow has stored what it knows yet; severities are "
        "rough. `python -m bytewax.run flows.transactions:flow` makes them those of your data"
    ),
}
#: Risk levels, and the severity from which each is.
RISKS = dict(zip(LEVELS, (0.0, *CUTS), strict=True))
_lock = threading.Lock()
_scorer: tuple[Settings, Scorer] | None = None


def score(settings: Settings, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
    """Return what the flow would say of each transaction, told by the names of the contract.

    All visitors share what scores. `scoring.scorer.BadTransactionError` names the first row that is none,
    and the field; `UserError` says that the store cannot be read.
    """
    return _shared(settings).score(rows)


def _shared(settings: Settings) -> Scorer:
    global _scorer
    # The models take a while to load; other pages need not wait for them.
    from scoring.scorer import Scorer

    with _lock:
        if _scorer is None or _scorer[0] != settings:
            if _scorer is not None:
                _scorer[1].close()
            _scorer = settings, Scorer(settings)
        return _scorer[1]
