"""Reviews as they reach the transaction flow: from a file, from the store of the results, from a topic.

Those of a file are known beforehand and come with the transactions of their time, so that a run is exact.
Those of the store and of a topic come when they are there: with the next batch, or with that of their time if
it is still ahead. What has come to a source partition is part of its recovery state, so each comes once.
"""

from __future__ import annotations

import csv
import hashlib
import threading
import time
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import islice
from operator import attrgetter
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from connectors.store import Store, open_results
from connectors.store_questions import Document, review_cursor
from connectors.transaction_columns import parse_time
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.records import DAY
from tapewatch.settings import Settings
from tapewatch.transactions import Review, in_order

#: Reviews that are kept for partitions which have not asked for them yet; the oldest go.
MOST = 100_000
_PAGE = 1_000
#: A review may be written so much later than it says; the store is not asked for older ones again.
_LATE = DAY
#: A review of the store: its hash and ``reviewed_at``; of a topic: partition and offset.
Place: TypeAlias = tuple[int, int]
_REVIEWED_AT = attrgetter("reviewed_at")


class Arrived(NamedTuple):
    """A review, and which one it is of its source."""

    place: Place
    review: Review


class Arriving(ABC):
    """A source of reviews that come while the flow runs, shared by the partitions of a process."""

    def __init__(self) -> None:
        self.arrived: deque[Arrived] = deque()
        #: How many have been dropped from the front of `arrived`.
        self.dropped = 0

    @abstractmethod
    def look(self) -> None:
        """Take in what has come, not more often than the settings say."""

    def _take_in(self, found: Iterable[Arrived]) -> None:
        """Put reviews behind those that are there; if they are too many, the oldest go."""
        self.arrived.extend(found)
        while len(self.arrived) > MOST:
            self.arrived.popleft()
            self.dropped += 1


def read_reviews(path: Path) -> list[Review]:
    """Return the reviews of a CSV file, in the order of ``reviewed_at``.

    It has the columns ``transaction_id`` or ``anomaly_id`` (or both, of which one is filled in), ``label``
    and ``reviewed_at``.

    Raises
    ------
    UserError
        If the file cannot be read, or a line of it is no review.
    """
    reviews = []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = csv.DictReader(file)
            names = set(table.fieldnames or ())
            missing = {"label", "reviewed_at"} - names or (
                set() if names & {"transaction_id", "anomaly_id"} else {"transaction_id"}
            )
            if missing:
                raise UserError(f"{path} has no column {sorted(missing)[0]!r}; reviews need one")
            for row in table:
                review = review_of(row)
                if review is None:
                    raise UserError(
                        f"{path}, line {table.line_num}: a review is transaction_id (or anomaly_id), label "
                        "(0 or 1) and reviewed_at (RFC 3339 or ns)"
                    )
                reviews.append(review)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read `transactions.feedback.reviews` {path}: {error}") from error
    return in_order(reviews)


def review_of(document: Document) -> Review | None:
    """Return the review that a row or message stands for, None if it is none.

    >>> review_of({"transaction_id": "t1", "label": "1", "reviewed_at": "1970-01-01T00:00:01Z"})
    Review(transaction_id='t1', label=1, reviewed_at=1000000000, anomaly_id='')
    """
    transaction, anomaly = document.get("transaction_id") or "", document.get("anomaly_id") or ""
    moment = parse_time(document.get("reviewed_at"))
    known = all(isinstance(name, str) and len(name) <= 256 for name in (transaction, anomaly))
    if str(document.get("label")) not in ("0", "1") or moment < 0 or not known:
        return None
    if not (transaction or anomaly):
        return None
    return Review(transaction, int(document["label"]), moment, "" if transaction else anomaly)


class StoreReviews(Arriving):
    """What dashboard and API have written into the store of the results.

    Parameters
    ----------
    settings
        All of them: which store it is, and how often it is asked.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._every = settings.transactions.feedback.poll_seconds
        self._lock = threading.Lock()
        self._known: dict[int, int] = {}
        self._store: Store | None = None
        self._newest, self._next, self._told = 0, 0.0, False

    def look(self) -> None:
        """Ask the store; if it does not answer that is told once, and it is asked again later."""
        with self._lock:
            if time.monotonic() < self._next:
                return
            try:
                self._ask()
                self._told = False
            except UserError as error:
                if not self._told:
                    log.warning("the reviews in the store cannot be read, trying on: %s", error)
                self._told = True
            self._next = time.monotonic() + self._every

    def _ask(self) -> None:
        if self._store is None:
            self._store = open_results(self._settings, remember=True)
        self._store.look_again()
        now = time.time_ns()
        since = min(self._newest, now) - _LATE
        new: dict[Place, Document] = {}
        after = None
        while len(new) < MOST:
            page = self._store.reviews(limit=_PAGE, after=after, start=max(since, 0))
            for row in page:
                place = _place(row)
                if place[0] not in self._known and row["reviewed_at"] <= now + DAY:
                    new[place] = row
            if len(page) < _PAGE:
                break
            after = review_cursor(page[-1])
        others = self._of_markets([row["anomaly_id"] for row in new.values() if row["anomaly_id"]])
        found = [
            Arrived(place, review)
            for place, row in new.items()
            if row["anomaly_id"] not in others and (review := review_of(row)) is not None
        ]
        found.sort(key=lambda each: (each.review.reviewed_at, each.place))
        self._known |= dict(new.keys())
        if new:
            self._newest = max(self._newest, *(moment for _, moment in new))
            least = self._newest - 2 * _LATE
            self._known = {name: moment for name, moment in self._known.items() if moment >= least}
        self._take_in(found)

    def _of_markets(self, names: Sequence[str]) -> set[str]:
        """Return those of these anomalies that are no payments."""
        found: set[str] = set()
        for first in range(0, len(names), _PAGE):
            some = names[first : first + _PAGE]
            rows = self._store.anomalies(ids=some, limit=_PAGE) if self._store is not None else []
            found |= {row["id"] for row in rows if row["flow"] != "transactions"}
        return found


def _place(row: Document) -> Place:
    words = [row[name] for name in ("anomaly_id", "transaction_id", "reviewer", "reviewed_at", "label")]
    return int.from_bytes(hashlib.blake2b(repr(words).encode(), digest_size=8).digest()), row["reviewed_at"]


class ReviewFeed:
    """What of all reviews has come to one source partition.

    Parameters
    ----------
    of_file
        Those of the file, in the order of ``reviewed_at``.
    store, topic
        Those that come, if they are wanted.
    resume
        A `snapshot` to go on from.
    """

    def __init__(
        self,
        of_file: Sequence[Review] = (),
        store: Arriving | None = None,
        topic: Arriving | None = None,
        resume: dict[str, Any] | None = None,
    ) -> None:
        saved = resume or {}
        self._of_file, self._store, self._topic = of_file, store, topic
        self._pending: list[Review] = list(saved.get("pending", ()))
        self._seen: dict[int, int] = dict(saved.get("seen", ()))
        self._newest: int = saved.get("newest", 0)
        self._positions: dict[int, int] = dict(saved.get("positions", ()))
        self._taken = [0, 0]

    def take(self, before: int, clock: int) -> tuple[Review, ...]:
        """Return the reviews that are known once the clock has gone from ``before`` to ``clock``, ns."""
        first = bisect_right(self._of_file, before, key=_REVIEWED_AT)
        due = self._of_file[first : bisect_right(self._of_file, clock, key=_REVIEWED_AT)]
        if self._store is None and self._topic is None:
            return tuple(due)
        new = [*self._arrivals(0, self._store), *self._arrivals(1, self._topic)]
        if new:
            self._pending = in_order([*self._pending, *new])
        number = bisect_right(self._pending, clock, key=_REVIEWED_AT)
        known, self._pending = self._pending[:number], self._pending[number:]
        return tuple(in_order([*due, *known]))

    def _arrivals(self, kind: int, source: Arriving | None) -> Iterable[Review]:
        if source is None:
            return
        source.look()
        first = max(self._taken[kind] - source.dropped, 0)
        self._taken[kind] = source.dropped + len(source.arrived)
        # At once, not one by one: other partitions look as well, and add to it.
        for place, review in list(islice(source.arrived, first, None)):
            if self._is_new_of_topic(place) if kind else self._is_new_of_store(place):
                yield review

    def _is_new_of_store(self, place: Place) -> bool:
        name, moment = place
        if name in self._seen or moment < self._newest - _LATE:
            return False
        self._seen[name] = moment
        if moment > self._newest:
            self._newest = moment
        return True

    def _is_new_of_topic(self, place: Place) -> bool:
        partition, offset = place
        if offset < self._positions.get(partition, 0):
            return False
        self._positions[partition] = offset + 1
        return True

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""
        least = self._newest - _LATE
        self._seen = {name: moment for name, moment in self._seen.items() if moment >= least}
        return {
            "pending": tuple(self._pending), "seen": tuple(self._seen.items()), "newest": self._newest,
            "positions": dict(self._positions),
        }  # fmt: skip


class ReviewSources:
    """Where the settings say that reviews come from, for all partitions of a process.

    Parameters
    ----------
    settings
        All of them.

    Raises
    ------
    UserError
        If the file cannot be read, or no broker answers for the topic.
    """

    def __init__(self, settings: Settings) -> None:
        wanted = settings.transactions.feedback
        self._of_file = read_reviews(Path(wanted.reviews)) if wanted.reviews else []
        self._store: Arriving | None = StoreReviews(settings) if wanted.store else None
        self._topic: Arriving | None = None
        if wanted.topic:
            from connectors.transaction_review_topic import TopicReviews  # whose libraries not everybody has

            self._topic = TopicReviews(settings.transactions.kafka, wanted.topic)

    def feed(self, resume: dict[str, Any] | None) -> ReviewFeed:
        """Return what comes to one partition, from where its run before left off."""
        return ReviewFeed(self._of_file, self._store, self._topic, resume)
