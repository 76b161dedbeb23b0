"""Results as operations of Elasticsearch: under which id, in which index, and which of two versions stands.

What SQLite says by ``ON CONFLICT … WHERE`` is said here by the version of a document, which Elasticsearch
compares itself: a finished bar is never replaced by an unfinished one, a counter never goes back, of several
scores in one instant the largest stands. So writing twice is writing once, in whatever order.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import orjson

from connectors.elasticsearch_schema import daily_index, document_id, index_of, timeless_index
from connectors.plain_state import plain
from connectors.sqlite_early import Leftovers, Settled
from tapewatch.documents import (
    ANOMALY_FIELDS,
    BAR_FIELDS,
    PROFILE_FIELDS,
    SCORE_FIELDS,
    BarTable,
    Early,
    LateTable,
    Payment,
    PublishedJudge,
    Results,
    ScoreTable,
    bar_rows,
    profile_document,
    rfc3339,
    score_rows,
    to_json,
)
from tapewatch.late_rows import LATE_FIELDS, late_rows
from tapewatch.records import DAY, Array

#: The version of a finished bar; that of an unfinished one is its volume, which only grows.
_FINAL = 2**62
_ID, _EVENT, _DETECTED_AT = (ANOMALY_FIELDS.index(name) for name in ("id", "ts_event", "detected_at"))
_SEEN, _LAST = (PROFILE_FIELDS.index(name) for name in ("transactions", "ts_last"))
_NUMPY = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


class Operation(NamedTuple):
    """One line pair of a bulk request, which goes to the index ``target``.

    ``rank`` decides between two operations on one document before they are sent. ``action`` is what a bulk
    request calls it; ``external`` is the version that decides on the server, ``gte`` whether an equal one
    replaces.
    """

    kind: str
    target: str
    id: str
    body: bytes
    rank: tuple[Any, ...] = ()
    action: str = "index"
    external: int | None = None
    gte: bool = True

    @property
    def lines(self) -> bytes:
        """The operation as it goes into a bulk request."""
        head = f'{{"{self.action}":{{"_index":"{self.target}","_id":"{self.id}"'
        if self.external is not None:
            kind = "external_gte" if self.gte else "external"
            head += f',"version":{self.external},"version_type":"{kind}"'
        return b"%s}}\n%s\n" % (head.encode(), self.body) if self.body else b"%s}}\n" % head.encode()


@dataclass(frozen=True, slots=True)
class Changes:
    """What several results lead to, each document once.

    Attributes
    ----------
    operations
        By the id of their document.
    gone
        Ids of anomalies that were taken back and not told again.
    marks
        By the id of an anomaly, the flow that tells it early and how, None if it is not, or no longer.
    """

    operations: dict[str, Operation] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    marks: dict[str, tuple[str, Early] | None] = field(default_factory=dict)


def merged(results: Iterable[Results], prefix: str, source: str, now: int, left: Leftovers) -> Changes:
    """Return what is to be written of several results in their order.

    Parameters
    ----------
    prefix
        ``sinks.elasticsearch.index_prefix``.
    source
        Name of the stream (``source.name``), part of what a counter is about.
    now
        The moment of detection, ns.
    left
        What earlier runs told early and did not take back; these results settle some of it.
    """
    changes = Changes()
    standing, gone = changes.operations, changes.gone
    for part in results:
        for settled in left.settle(part):
            _put_or_drop(changes, settled, prefix, now)
        for name in part.deleted:
            standing.pop(name, None)
            gone.add(name)
        for operation in _operations(part, prefix, source, now):
            known = standing.get(operation.id)
            if known is None or operation.rank >= known.rank:
                standing[operation.id] = operation
        told = [anomaly.id for anomaly in part.anomalies]
        gone.difference_update(told)
        changes.marks.update(dict.fromkeys((*told, *part.deleted)))
        changes.marks.update((early.id, (part.flow, early)) for early in part.early)
    return changes


def _put_or_drop(changes: Changes, settled: Settled, prefix: str, now: int) -> None:
    changes.marks[settled.id] = None
    if settled.row is None:
        changes.operations.pop(settled.id, None)
        changes.gone.add(settled.id)
    else:
        changes.operations[settled.id] = _anomaly(settled.row, prefix, now)
        changes.gone.discard(settled.id)


def _operations(results: Results, prefix: str, source: str, now: int) -> Iterator[Operation]:
    for anomaly in results.anomalies:
        row = tuple(getattr(anomaly, name) for name in ANOMALY_FIELDS)
        yield _anomaly(row, prefix, now, anomaly.payment)
    for bars in results.bars:
        yield from _bars(bars, results.dataset, prefix)
    for scores in results.scores:
        yield from _scores(scores, results.flow, prefix)
    if results.late is not None:
        yield from _late(results.late, results.dataset, prefix)
    for judge in results.judges:
        yield _judge(judge, prefix, source)
    for profile in results.profiles:
        yield profile_operation(profile, prefix)
    index = timeless_index(prefix, "counters")
    for name, value in results.counters.items():
        counter = {
            "flow": results.flow,
            "source": source,
            "partition": results.partition,
            "name": name,
            "value": value,
        }
        place = document_id(results.flow, source, results.partition, name)
        yield Operation(
            "counters", index, place, orjson.dumps(counter, option=_NUMPY), (value,), external=value
        )


def _judge(judge: PublishedJudge, prefix: str, source: str) -> Operation:
    document = {
        "source": source, "partition": judge.partition, "version": judge.version,
        "ts_last": rfc3339(judge.ts_last), "transactions": judge.transactions,
        "state": orjson.dumps(plain(judge.state)).decode(),
    }  # fmt: skip
    return Operation(
        "judges", timeless_index(prefix, "judges"), document_id("judges", source, judge.partition),
        orjson.dumps(document), (judge.ts_last, judge.transactions), external=judge.ts_last,
    )  # fmt: skip


def profile_operation(row: tuple[Any, ...], prefix: str) -> Operation:
    """Return what writes a user's profile, in the order of `PROFILE_FIELDS`; of two the later one stands."""
    body = orjson.dumps(profile_document(row, state=True), option=_NUMPY)
    latest = max(row[_LAST], 0)
    name = document_id("profiles", row[0])
    return Operation(
        "profiles", timeless_index(prefix, "profiles"), name, body, (latest, row[_SEEN]), external=latest
    )


def _anomaly(row: tuple[Any, ...], prefix: str, now: int, payment: Payment | None = None) -> Operation:
    document = to_json(ANOMALY_FIELDS, row)
    if payment is not None:
        document |= payment._asdict()
    if not row[_DETECTED_AT]:
        document["detected_at"] = rfc3339(now)
    # Created, so that one which is there already comes back and can keep its first `detected_at`.
    return Operation(
        "anomalies",
        daily_index(prefix, "anomalies", row[_EVENT] // DAY),
        row[_ID],
        orjson.dumps(document, option=_NUMPY),
        action="create",
    )


def _series_id(*names: object) -> str:
    words = "\0".join(f"{len(str(name))}:{name}" for name in names)
    digest = hashlib.blake2b(words.encode(errors="surrogatepass"), digest_size=15).digest()
    return base64.urlsafe_b64encode(digest).decode()


def _bars(table: BarTable, dataset: str, prefix: str) -> Iterator[Operation]:
    start = BAR_FIELDS.index("ts_start")
    volume, final = BAR_FIELDS.index("volume"), BAR_FIELDS.index("final")
    series: dict[tuple[str, int], str] = {}
    for row in bar_rows(table, dataset):
        ts, whole = row[start], row[final]
        name = series.get(row[:2])
        if name is None:
            # Documents of one series share the beginning of their ids, which keeps the index of ids small.
            name = series[row[:2]] = _series_id("bar", row[0], table.width, dataset, row[1])
        version = _FINAL if whole else max(row[volume] or 0, 0)
        yield Operation(
            "bars",
            daily_index(prefix, "bars", ts // DAY),
            f"{name}{ts:x}",
            orjson.dumps(to_json(BAR_FIELDS, row)),
            (version,),
            external=version,
        )


def _scores(table: ScoreTable, flow: str, prefix: str) -> Iterator[Operation]:
    series: dict[tuple[str, int], str] = {}
    start, end = SCORE_FIELDS.index("ts_start"), SCORE_FIELDS.index("ts_end")
    for row, version in zip(score_rows(table, flow), _order(table.scores), strict=True):
        ts = row[start]
        name = series.get(row[2:4])
        if name is None:
            name = series[row[2:4]] = _series_id("score", flow, table.detector, row[2], row[3])
        yield Operation(
            "scores",
            daily_index(prefix, "scores", ts // DAY),
            f"{name}{ts:x}-{row[end]:x}",
            orjson.dumps(to_json(SCORE_FIELDS, row)),
            _score_rank(row[6], row[8], row[7]),
            external=version,
            gte=False,
        )


def _late(table: LateTable, dataset: str, prefix: str) -> Iterator[Operation]:
    clock, ordinal, event = (LATE_FIELDS.index(name) for name in ("ts_clock", "ordinal", "ts_event"))
    for row in late_rows(table, dataset):
        name = _series_id("late", row[0], row[1], dataset)
        yield Operation(
            "late",
            daily_index(prefix, "late", row[event] // DAY),
            f"{name}{row[clock]:x}-{row[ordinal]}",
            orjson.dumps(to_json(LATE_FIELDS, row)),
        )


def _order(scores: Array) -> list[int]:
    """Return whole numbers in [0, 2**63) in the order of the scores, NaN lowest; neighbours may share one.

    >>> order = _order(np.array([np.nan, -2.0, -0.0, 0.0, 1.0, np.inf]))
    >>> order[0] < order[1] < order[2] == order[3] < order[4] < order[5]
    True
    """
    values = np.where(np.isnan(scores), -np.inf, scores.astype(np.float64)) + 0.0
    bits = np.ascontiguousarray(values).view(np.int64)
    ordered = np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)
    halves: list[int] = ((ordered >> 1) + 2**62).tolist()
    return halves


def _score_rank(score: float | None, severity: float | None, threshold: float | None) -> tuple[float, ...]:
    return tuple(-np.inf if v is None or v != v else v for v in (score, severity, threshold))


def settled(ours: Operation, stored: dict[str, Any] | None) -> Operation | None:
    """Return what is to be written over a document that was there before us, None if it is to stay.

    Parameters
    ----------
    ours
        An operation that Elasticsearch turned down because of the document's version.
    stored
        The document that is there, None if it has gone meanwhile.
    """
    if stored is None:
        return ours
    if ours.kind == "anomalies":
        document = orjson.loads(ours.body)
        # When an anomaly was first detected stays, however often it is told again.
        document["detected_at"] = min(document["detected_at"], stored.get("detected_at", "9"))
        return ours._replace(body=orjson.dumps(document), action="index")
    if ours.kind == "scores":
        theirs = _score_rank(stored.get("score"), stored.get("severity"), stored.get("threshold"))
        return ours._replace(gte=True) if ours.rank > theirs else None
    return None


def document_operations(
    kind: str, documents: Sequence[dict[str, Any]], prefix: str, now: int
) -> list[Operation]:
    """Return operations for reviews, profiles or dead letters; times are int64 ns.

    A review is named by what it is of, by whom and when; a profile by its user.
    """
    operations = []
    for document in documents:
        match kind:
            case "reviews":
                ts = document["reviewed_at"]
                names = ["anomaly_id", "transaction_id", "reviewer", "reviewed_at"]
            case "profiles":
                ts, names = document.get("ts_last") or now, ["user_id"]
            case "dead-letters":
                ts, names = now, ["index", "document_id"]
            case _:
                msg = f"{kind} are written as results"
                raise ValueError(msg)
        name = document_id(kind, *(document.get(n) for n in names))
        told = {n: rfc3339(v) if n in _NS and v is not None else v for n, v in document.items()}
        body = orjson.dumps({"@timestamp": rfc3339(ts), **told}, option=_NUMPY)
        operations.append(Operation(kind, index_of(prefix, kind, ts), name, body))
    return operations


_NS = frozenset({"reviewed_at", "ts_first", "ts_last"})
