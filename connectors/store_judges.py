"""What the transaction flow has published for predictions, as it is in a store."""

from __future__ import annotations

import zlib
from typing import Any

import orjson

from connectors.plain_state import restored
from tapewatch.documents import PublishedJudge
from tapewatch.errors import UserError

_DAMAGED = "what the transaction flow published for predictions is damaged in the store; run it again"


def judge_of(row: dict[str, Any]) -> PublishedJudge:
    """Return what a row, or document, stands for.

    Raises
    ------
    UserError
        If its state is damaged.
    """
    try:
        state = restored(orjson.loads(row["state"]))
    except (ValueError, TypeError, zlib.error) as error:
        raise UserError(_DAMAGED) from error
    if not isinstance(state, dict):
        raise UserError(_DAMAGED)
    return PublishedJudge(row["partition"], row["version"], row["ts_last"], row["transactions"], state)
