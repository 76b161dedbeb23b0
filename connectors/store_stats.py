"""What a store holds, in one JSON document: for ``tapewatch stats --json`` and the API."""

from __future__ import annotations

from typing import Any

from connectors.store import Store
from tapewatch.documents import rfc3339

Document = dict[str, Any]


def stats(store: Store, now: int) -> Document:
    """Return ``counts``, ``counters``, ``detectors``, ``rates`` and ``lag_seconds``.

    Parameters
    ----------
    store
        The results.
    now
        The time, ns; the lag is how long before it the newest event was, None without any.

    Raises
    ------
    UserError
        If the store cannot be read.
    """
    detectors, rates = store.by_detector(), store.rates()
    last = rates["ts_last"]
    for document in (rates, *detectors):
        for name in ("ts_first", "ts_last"):
            if document.get(name) is not None:
                document[name] = rfc3339(document[name])
    return {
        "counts": store.counts(),
        "counters": store.totals(),
        "detectors": detectors,
        "rates": rates,
        "lag_seconds": None if last is None else (now - last) / 1e9,
    }
