"""The read side of the results: what commands, dashboard and API ask, while the flow goes on writing.

One interface, with the embedded store (`store_sqlite`) and Elasticsearch (`store_elasticsearch`) behind it,
which give the same answers. Documents come as dicts with the contract's names; times are int64 ns, prices
decimals.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from connectors.store_incidents import incidents, verdicts
from connectors.store_payments import precision
from connectors.store_questions import (
    Document,
    SeverityOf,
    Wanted,
    WantedReviews,
)
from connectors.store_tape import StoredTape
from tapewatch.documents import PublishedJudge
from tapewatch.settings import Settings


class Store(StoredTape):
    """The results, read-only; one `Store` may be used from several threads.

    Any method raises `UserError` if the store cannot be read.
    """

    #: Where the results are, for a person.
    place: str

    @abstractmethod
    def anomalies(
        self, *, limit: int = 100, after: str | None = None, order: str = "newest", **wanted: Unpack[Wanted]
    ) -> list[Document]:
        """Return anomalies in an order, those behind the cursor ``after`` if it is given.

        ``newest`` and ``oldest`` go by ``ts_event``, ``worst`` by severity, then by time; equal ones go by
        ``id``.
        """

    def worst(self, limit: int = 10) -> list[Document]:
        """Return the anomalies of highest severity, the worst first, equal ones in order of time."""
        return self.anomalies(limit=limit, order="worst")

    def incidents(
        self, *, limit: int = 25, after: str | None = None, order: str = "worst", **wanted: Unpack[Wanted]
    ) -> list[Document]:
        """Return incidents in an order, each as the first of its anomalies in that order.

        Only anomalies that are wanted count. Beside the fields of that anomaly a row has ``anomalies``, how
        many the incident has, and ``detectors``, the names of those that found them. A cursor of the last
        row goes on behind it.
        """
        return incidents(self, limit, after, order, wanted)

    @abstractmethod
    def heads(self, names: Sequence[str], order: str = "worst", **wanted: Unpack[Wanted]) -> list[Document]:
        """Return the first anomaly of each incident of these names in an order, of those that are wanted.

        Rows hold ``incident``, ``id``, ``anomalies`` (their number) and ``detectors`` (names in order), in
        order of the incident.
        """

    def verdicts(self, most: int = 2000) -> list[Document]:
        """Return how the newest ``most`` reviews judge what each detector found.

        Rows hold ``detector``, ``reviewer``, ``confirmed`` and ``false_alarms``. Of several reviews of an
        anomaly by one person the newest counts. Reviews of anomalies that are gone do not.
        """
        return verdicts(self, most)

    def transactions(
        self, *, limit: int = 100, after: str | None = None, order: str = "newest", **wanted: Unpack[Wanted]
    ) -> list[Document]:
        """Return the transactions that were judged to be anomalies, each once, in an order.

        Each as the worst of its anomalies that are wanted, of equally severe ones the one with the smallest
        ``id``, whatever the order. A transaction has an incident of its own: rows are those of `incidents`.
        """
        wanted["flow"] = "transactions"
        return incidents(self, limit, after, order, wanted, first_by="worst")

    @abstractmethod
    def amounts(self, group: str, limit: int = 30, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return what the transactions with anomalies come to, by one of `store_questions.GROUPS`.

        Rows hold ``group`` (its value, None if unknown), ``transactions`` (their number, whichever detectors
        found them), ``amount`` (their sum), ``amount_mean`` and ``amount_max``; the largest sums first,
        equal ones by value, at most ``limit``. Sums are exact, then rounded once.
        """

    def precision(self, step_ns: int, most: int = 10_000, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return how many of each detector's anomalies reviews confirm, by step of ``ts_event``.

        Rows hold ``ts_start`` (a multiple of ``step_ns``), ``detector``, ``confirmed``, ``false_alarms`` and
        ``precision``, in order of time and detector. A review of a transaction judges all of its anomalies.
        The newest review of an anomaly counts; only the newest ``most`` reviews are looked at.
        """
        return precision(self, step_ns, most, wanted)

    @abstractmethod
    def lanes(
        self, start: int, end: int, step_ns: int, *, min_severity: float = 0.0, limit: int = 30
    ) -> list[Document]:
        """Return the worst anomaly of each key and step of ``step_ns`` in ``[start, end)`` ns.

        Rows hold ``key``, ``ts_start`` of the step (a multiple of ``step_ns``), ``severity``, ``detector``
        and ``reason`` of the worst (of equal ones the first), and ``anomalies``, how many there are. Only the
        ``limit`` keys with the worst anomalies are told of, in that order, each in order of time.
        """

    @abstractmethod
    def histogram(self, step_ns: int, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return how many anomalies each detector has in each step; ``start`` and ``end`` must be given.

        Rows hold ``ts_start`` (a multiple of ``step_ns``), ``detector``, ``anomalies`` and ``max_severity``,
        in order of time and detector; steps without any are left out.
        """

    @abstractmethod
    def top_keys(self, limit: int = 10, **wanted: Unpack[Wanted]) -> list[Document]:
        """Return the keys with the worst anomalies, the worst first, equal ones by name.

        Rows hold ``key``, ``anomalies`` (their number), ``max_severity``. Anomalies without a severity do not
        count.
        """

    @abstractmethod
    def by_detector(self) -> list[Document]:
        """Return ``detector``, ``anomalies`` (their number), ``max_severity``, ``ts_last``; most first."""

    @abstractmethod
    def severities(self, of: SeverityOf, step_ns: int, start: int, end: int) -> list[Document]:
        """Return how the severities of each detector are spread in each step of ``[start, end)`` ns.

        Of ``anomalies`` (in time of ``ts_event``) or of ``scores`` (``ts_start``), where these are kept. Rows
        hold ``ts_start`` (a multiple of ``step_ns``), ``detector``, ``bin`` (from 0; see
        `store_questions.SEVERITY_BINS`) and ``count``, in this order; what is empty is left out. What has no
        severity does not count.
        """

    @abstractmethod
    def profiles(
        self,
        user_id: str | None = None,
        *,
        prefix: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[Document]:
        """Return what is usual for users, by ``user_id``; those behind the user ``after`` if it is given.

        With a ``prefix`` only of users whose id begins with it.
        """

    def profile(self, user_id: str) -> Document | None:
        """Return what is usual for a user, None for one who is not known."""
        return next(iter(self.profiles(user_id)), None)

    @abstractmethod
    def profile_states(self, user_ids: Sequence[str]) -> dict[str, str]:
        """Return the exact state of users' profiles by user, for predictions; those not known are missing."""

    @abstractmethod
    def judges(self) -> list[Document]:
        """Return what the transaction flow has published for predictions, without its state.

        Rows hold ``source``, ``partition``, ``ts_last`` (ns) and ``transactions``, the newest first, equal
        ones by name.
        """

    @abstractmethod
    def judge(self, source: str, partition: str) -> PublishedJudge | None:
        """Return what was published of a partition with its state, None if there is none."""

    @abstractmethod
    def reviews(
        self, *, limit: int = 100, after: str | None = None, **wanted: Unpack[WantedReviews]
    ) -> list[Document]:
        """Return what people said of anomalies and transactions, newest first.

        Those behind the cursor ``after`` if it is given (`store_questions.review_cursor`); those of one time
        in order of what they are of and of whom.
        """

    @abstractmethod
    def counts(self) -> dict[str, int]:
        """Return the number of documents of each kind."""

    @abstractmethod
    def counters(self) -> list[Document]:
        """Return what the flows counted: flow, source, partition, name, value."""

    def totals(self) -> dict[str, int]:
        """Return the counters summed over flows and partitions, by name."""
        sums: dict[str, int] = {}
        for counter in sorted(self.counters(), key=lambda row: row["name"]):
            sums[counter["name"]] = sums.get(counter["name"], 0) + counter["value"]
        return sums

    @abstractmethod
    def span(self) -> tuple[int, int] | None:
        """Return the first and the last event time (ns) of bars and anomalies, None without any."""

    def rates(self) -> Document:
        """Return ``records``, ``ts_first``, ``ts_last`` (ns or None) and how many a stretch of tape has.

        ``records_per_second`` and ``anomalies_per_day`` are None where nothing is stored.
        """
        records, anomalies = self.totals().get("records", 0), self.counts()["anomalies"]
        span = self.span()
        seconds = (span[1] - span[0]) / 1e9 if span else 0.0
        return {
            "records": records,
            "ts_first": span[0] if span else None,
            "ts_last": span[1] if span else None,
            "records_per_second": records / seconds if seconds else None,
            "anomalies_per_day": anomalies / seconds * 86_400 if seconds else None,
        }

    def prepare(self, *questions: Callable[[], object]) -> None:
        """Let a store that remembers find out side by side what it is going to be asked.

        Worth it where each answer takes a journey to a server; elsewhere nothing happens.

        Parameters
        ----------
        questions
            Each asks this store something; what they return is not looked at.
        """

    @abstractmethod
    def look_again(self) -> None:
        """Forget what was remembered and has changed since."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the store."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_results(settings: Settings, *, remember: bool = False) -> Store:
    """Return the store that the settings write to: the first of ``sinks.kinds`` that can be read.

    One that is to ``remember`` does not ask the same again while nothing has changed; `Store.look_again`
    says when to find out.

    Raises
    ------
    UserError
        If there is none yet, or it cannot be read.

    Examples
    --------
    >>> open_results(Settings(sinks={"sqlite": {"path": "none-here.db"}}))
    Traceback (most recent call last):
      ...
    tapewatch.errors.UserError: there are no results at `sinks.sqlite.path` ...none-here.db; run the flow ...
    """
    if settings.sinks.store == "elasticsearch":
        from connectors.store_elasticsearch import ElasticsearchStore

        return ElasticsearchStore(settings.sinks.elasticsearch, remember=remember)
    from connectors.store_sqlite import SqliteStore

    return SqliteStore(Path(settings.sinks.sqlite.path), remember=remember)
