"""What is made of several answers of a store, the same for each: incidents, and what reviews say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Protocol, Unpack

from connectors.store_questions import Document, Wanted, WantedReviews, cursor

#: Most anomalies that are looked at in one go for the next incidents.
_MOST_AT_ONCE = 1000


class _Answers(Protocol):
    def anomalies(
        self, *, limit: int = 100, after: str | None = None, order: str = "newest", **wanted: Unpack[Wanted]
    ) -> list[Document]: ...

    def heads(
        self, names: Sequence[str], order: str = "worst", **wanted: Unpack[Wanted]
    ) -> list[Document]: ...

    def reviews(
        self, *, limit: int = 100, after: str | None = None, **wanted: Unpack[WantedReviews]
    ) -> list[Document]: ...


def incidents(
    store: _Answers,
    limit: int,
    after: str | None,
    order: str,
    wanted: Wanted,
    *,
    first_by: str | None = None,
) -> list[Document]:
    """Return the next incidents; see `Store.incidents`.

    Anomalies are gone through in the order of the list, and one of each incident stands for it, at its own
    place: the first in the order ``first_by``, which is that of the list unless another is named. So a
    cursor of anomalies serves, and no page costs more than what is on it.
    """
    found: list[Document] = []
    # Two or three anomalies an incident are usual; what one page has is not asked for in two.
    size = max(2 * limit, min(4 * limit, 200))
    while len(found) < limit:
        page = store.anomalies(limit=size, after=after, order=order, **wanted)
        named = sorted({row["incident"] for row in page if row["incident"] is not None})
        heads = (
            {head["id"]: head for head in store.heads(named, first_by or order, **wanted)} if named else {}
        )
        for row in page:
            if row["incident"] is None:
                found.append({**row, "anomalies": 1, "detectors": [row["detector"]]})
            elif (head := heads.get(row["id"])) is not None:
                found.append({**row, "anomalies": head["anomalies"], "detectors": head["detectors"]})
        if len(page) < size:
            break
        after = cursor(page[-1])
        size = min(2 * size, _MOST_AT_ONCE)
    return found[:limit]


def verdicts(store: _Answers, most: int) -> list[Document]:
    """Return how reviews judge what each detector found; see `Store.verdicts`."""
    newest: dict[tuple[str, str | None], int] = {}
    for review in store.reviews(limit=most):
        if review["anomaly_id"] is not None:
            newest.setdefault((review["anomaly_id"], review["reviewer"]), review["label"])
    ids = sorted({anomaly for anomaly, _ in newest})
    known = {row["id"]: row["detector"] for row in store.anomalies(limit=len(ids), ids=ids)} if ids else {}
    counted = Counter(
        (known[anomaly], reviewer or "", label)
        for (anomaly, reviewer), label in newest.items()
        if anomaly in known
    )
    return [
        {
            "detector": detector,
            "reviewer": reviewer,
            "confirmed": counted[detector, reviewer, 1],
            "false_alarms": counted[detector, reviewer, 0],
        }
        for detector, reviewer in sorted({(detector, reviewer) for detector, reviewer, _ in counted})
    ]
