"""A flow as the settings are now, or one line on what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bytewax.dataflow import Dataflow

from tapewatch.cluster import check_asked
from tapewatch.errors import UserError
from tapewatch.settings import Settings, load


def configured(flow_of: Callable[[Settings], Dataflow]) -> Dataflow:
    """Return the flow of the settings as they are now, or end with one line and status 2."""
    try:
        check_asked()
        return flow_of(load())
    except UserError as error:
        sys.stderr.write(f"tapewatch: {error}\n")
        raise SystemExit(2) from None
