"""The log of the API, through structlog: whatever is said while a request is answered carries its id.

A line is a time, a level and a sentence, as other processes of tapewatch write them, and behind it what
belongs to it as JSON. Only the fields in `FIELDS` are ever written: no secret, no amount, no body.
"""

from __future__ import annotations

import logging
from typing import Final

import orjson
import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from tapewatch.log import log as plain

#: What may stand beside a sentence.
FIELDS: Final = ("request_id", "client", "method", "path", "status", "seconds")

_KNOWN: Final[list[Processor]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper("iso", utc=True),
    structlog.processors.format_exc_info,
]
log: structlog.stdlib.BoundLogger = structlog.wrap_logger(
    plain,
    processors=[*_KNOWN, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    wrapper_class=structlog.stdlib.BoundLogger,
)


def use() -> None:
    """Write the lines of this process, those of uvicorn and of our other modules too, as the API's."""
    for handler in plain.handlers:
        handler.setFormatter(formatter())
    theirs = logging.getLogger("uvicorn")
    theirs.handlers = plain.handlers
    theirs.setLevel(logging.WARNING)
    theirs.propagate = False


def formatter() -> logging.Formatter:
    """Return what makes a line of a record."""
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=_KNOWN,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _line],
    )


def _line(logger: WrappedLogger, name: str, event: EventDict) -> str:
    """Return a line, and behind it a traceback if there is one.

    >>> _line(None, "", {"timestamp": "2024-06-03T14:30:00Z", "level": "info", "event": "request",
    ...                  "request_id": "r1", "amount": 12.5})
    '2024-06-03T14:30:00Z INFO request {"request_id":"r1"}'
    """
    told = {field: event[field] for field in FIELDS if field in event}
    words = [event["timestamp"], event["level"].upper(), str(event["event"])]
    if told:
        words.append(orjson.dumps(told).decode())
    trace = event.get("exception")
    return " ".join(words) + (f"\n{trace}" if trace else "")
