"""Lists and tables that people write as JSON in environment variables."""

from __future__ import annotations

from typing import Any

import orjson


def from_json(value: Any) -> Any:  # noqa: ANN401 - whatever a person wrote
    """Return the list or table that a text of JSON stands for; anything else unchanged."""
    if isinstance(value, str) and value[:1] in "[{" and value:
        try:
            return orjson.loads(value)
        except orjson.JSONDecodeError:
            return value
    return value
