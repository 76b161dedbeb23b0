"""Numbers, times and sentences as the pages write them."""

from __future__ import annotations

import csv
import datetime as dt
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from tapewatch.documents import ANOMALY_FIELDS, PAYMENT_FIELDS, rfc3339, to_json
from tapewatch.records import DAY, HOUR, MINUTE, SECOND

Document = dict[str, Any]

#: Ranges that the pages offer, back from the newest event.
RANGES: dict[str, int | None] = {
    "1 hour": HOUR,
    "6 hours": 6 * HOUR,
    "1 day": DAY,
    "7 days": 7 * DAY,
    "30 days": 30 * DAY,
    "all": None,
}
#: Detectors that come with tapewatch.
DETECTORS = (
    "high_volume", "block_trade", "price_jump", "feed_integrity", "half_space_trees", "isolation_forest",
    "autoencoder", "tail_combination", "ensemble", "transformer", "value_novelty", "river",
)  # fmt: skip
#: What an anomaly is about, and the feature by whose share in the score it is known.
KINDS = {
    "silence": "rhythm_before",
    "lost records": "lost_records",
    "bad tick": "distance_before",
    "price move": "within_window",
    "large trade": "size",
    "more or larger trades": "average_size",
}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def time_of(ts: int) -> str:
    """Return a time (ns) in UTC to the second.

    >>> time_of(1_717_425_822_425_752_562)
    '2024-06-03 14:43:42'
    """
    return f"{_EPOCH + dt.timedelta(microseconds=ts // 1000):%Y-%m-%d %H:%M:%S}"


def ns_of(moment: dt.datetime | None) -> int | None:
    """Return ns since 1970 of a time that a person chose, in UTC."""
    if moment is None:
        return None
    return (moment.replace(tzinfo=moment.tzinfo or dt.UTC) - _EPOCH) // dt.timedelta(microseconds=1) * 1000


def moment_of(ts: int) -> dt.datetime:
    """Return the whole minute in which a time (ns) is, as people choose times: UTC without a zone."""
    return (_EPOCH + dt.timedelta(minutes=ts // MINUTE)).replace(tzinfo=None)


def span_of(ns: float) -> str:
    """Return a length of time in the unit that suits it.

    >>> span_of(90 * SECOND), span_of(3.5 * DAY), span_of(0.25 * SECOND)
    ('1.5 min', '3.5 d', '250 ms')
    """
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (SECOND, "s")):
        if abs(ns) >= unit:
            return f"{ns / unit:.3g} {name}"
    return f"{ns / 1e6:.3g} ms"


def number(value: float | None) -> str:
    """Return a number to six figures, with separators where it is large.

    >>> number(120255.0), number(6253.54139), number(0.00787878), number(None)
    ('120,255', '6,253.54', '0.00787878', '–')
    """
    if value is None:
        return "–"
    if abs(value) >= 1e6 or float(value).is_integer():
        return f"{value:,.0f}"
    text = f"{value:,.6g}" if abs(value) < 1e5 else f"{value:,.1f}"
    return text if "e" not in text else f"{value:.3g}"


def money(amount: float | None) -> str:
    """Return an amount as it is written: to the hundredth.

    >>> money(10_140.3), money(31.304), money(None)
    ('10,140.30', '31.30', '–')
    """
    return "–" if amount is None else f"{amount:,.2f}"


def plain(text: str) -> str:
    r"""Return a text that Markdown shows as it is: symbols come from outside.

    >>> print(plain("a [link](x) $5 *"))
    a \[link\]\(x\) \$5 \*
    """
    return re.sub(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])", r"\\\1", text.replace("\n", " "))


def table_of(documents: Sequence[Document]) -> str:
    """Return anomalies as CSV with the contract's names and times, which a spreadsheet runs nothing of.

    >>> table_of([]).splitlines()[0][:20]
    'id,incident,revision'
    """
    # Those of payments only where there are some.
    payments = any(is_payment(document) for document in documents)
    names = [*ANOMALY_FIELDS, *(PAYMENT_FIELDS if payments else ())]
    rows = map(told, documents)
    return csv_of(names, ([row.get(name) for name in names] for row in rows))


def csv_of(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    r"""Return a table as CSV, which a spreadsheet runs nothing of.

    >>> csv_of(["user", "share"], [["=1+1", {"amount": 0.25}]])
    "user,share\n'=1+1,amount=0.25\n"
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:  # noqa: ANN401 - whatever a document holds
    if isinstance(value, dict):
        return ";".join(f"{name}={share:.6g}" for name, share in value.items() if share is not None)
    # A spreadsheet would take such a text for a formula.
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@\t\r" else value


def told(document: Document) -> Document:
    """Return an anomaly as the other sinks tell it: times as RFC 3339."""
    names = (*ANOMALY_FIELDS, *(PAYMENT_FIELDS if is_payment(document) else ()))
    return to_json(names, tuple(document[name] for name in names))


def is_payment(document: Document) -> bool:
    """Return whether an anomaly is one of a payment."""
    return document.get("transaction_id") is not None


def when(ts: int) -> str:
    """Return a time (ns) to the nanosecond, RFC 3339."""
    return rfc3339(ts)
