"""What predictions are made with before any flow has published what it knows."""

from __future__ import annotations

from functools import cache

import orjson

from connectors.store_judges import judge_of
from operators.onnx_models import FOLDER
from tapewatch.documents import PublishedJudge
from tapewatch.errors import UserError

_FILE = FOLDER / "transactions_cold_start.json"


@cache
def cold_start() -> PublishedJudge:
    """Return what the flow knows after a simulated stream, by the default settings.

    `models.transaction_cold_start` has made it, with the models that come with tapewatch.

    Raises
    ------
    UserError
        If the file is not there, or damaged.
    """
    try:
        told = orjson.loads(_FILE.read_bytes())
        told |= {"partition": "", "version": told["format"], "state": orjson.dumps(told["state"])}
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"{_FILE} is missing or damaged; install tapewatch again") from error
    return judge_of(told)
