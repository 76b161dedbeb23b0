"""Columns of raw values as transactions: what they are called, what they may hold, and which rows are bad."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from sys import intern
from typing import Any

import numpy as np

from connectors.text_records import printable
from tapewatch.errors import UserError
from tapewatch.records import Floats, Int64s
from tapewatch.transactions import NUMBERS, REQUIRED, WORDS, Words

#: Names that columns bear elsewhere, in small letters.
_ALIASES = {
    "tx_id": "transaction_id", "tx_datetime": "timestamp", "customer_id": "user_id",
    "tx_amount": "amount", "terminal_id": "merchant_id",
}  # fmt: skip
_KNOWN = (*REQUIRED, *WORDS, *NUMBERS)
_EARLIEST = 631_152_000_000_000_000  # 1990
_LATEST = 4_102_444_800_000_000_000  # 2100
_LARGEST_AMOUNT = 1e15
_LONGEST_WORD = 256
_MOST = {"hour": 23.0, "day_of_week": 6.0, "is_online": 1.0, "is_weekend": 1.0}
_UTC = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?)Z?")
_TRUTHS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}


@dataclass(frozen=True, slots=True)
class Parsed:
    """Columns of the rows that are good, where they were, and why others are bad (row, reason)."""

    ids: list[str]
    users: list[str]
    times: Int64s
    amounts: Floats
    words: dict[str, Words]
    numbers: dict[str, Floats]
    places: Int64s
    faults: list[tuple[int, str]]

    def part(self, rows: Int64s) -> Parsed:
        """Return some of the rows, without faults."""
        kept = rows.tolist()
        return Parsed(
            [self.ids[i] for i in kept], [self.users[i] for i in kept], self.times[rows], self.amounts[rows],
            {name: [column[i] for i in kept] for name, column in self.words.items()},
            {name: column[rows] for name, column in self.numbers.items()}, self.places[rows], [],
        )  # fmt: skip

    @staticmethod
    def together(parts: Sequence[Parsed]) -> Parsed:
        """Return the rows of all parts, without faults; a column that a part lacks is unknown there."""
        words = sorted({name for part in parts for name in part.words})
        numbers = sorted({name for part in parts for name in part.numbers})
        return Parsed(
            [name for part in parts for name in part.ids], [user for part in parts for user in part.users],
            np.concatenate([part.times for part in parts]), np.concatenate([part.amounts for part in parts]),
            {name: [w for p in parts for w in p.words.get(name, [None] * len(p.ids))] for name in words},
            {
                name: np.concatenate([p.numbers.get(name, np.full(len(p.ids), np.nan)) for p in parts])
                for name in numbers
            },
            np.concatenate([part.places for part in parts]), [],
        )  # fmt: skip


def layout(found: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the column of each of our names.

    Parameters
    ----------
    found
        Names of the columns there are.
    given
        ``transactions.columns``: our name to theirs.

    Raises
    ------
    UserError
        If a column is missing that must be there, or one is named that is not there, or two are named alike.

    Examples
    --------
    >>> layout(["TRANSACTION_ID", "TX_DATETIME", "client", "TX_AMOUNT"], {"user_id": "client"})["user_id"]
    'client'
    """
    columns: dict[str, str] = {}
    if len(set(found)) < len(found):
        raise UserError(f"two columns have one name; the columns are {_list(found)}")
    for column in found:
        small = column.strip().lower()
        name = _ALIASES.get(small, small)
        if name in _KNOWN:
            columns.setdefault(name, column)
    for name, column in given.items():
        if column not in found:
            raise UserError(f"`transactions.columns.{name}` names {column!r}; the columns are {_list(found)}")
        columns[name] = column
    missing = [name for name in REQUIRED if name not in columns]
    if missing:
        raise UserError(
            f"there is no column {missing[0]!r} among {_list(found)}; `transactions.columns` can say which "
            "it is"
        )
    return columns


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(printable(str(name)[:40]) for name in names[:20])
    return f"{shown}, …" if len(names) > 20 else shown or "none"


def parse(columns: Mapping[str, Sequence[Any]], count: int) -> Parsed:
    """Return the transactions that columns of raw values (texts, numbers, None) stand for.

    Parameters
    ----------
    columns
        Values by our names; each has ``count``.

    Examples
    --------
    >>> found = parse({"transaction_id": ["a", "b"], "timestamp": ["2024-05-01T12:00:00Z", "soon"],
    ...                "user_id": [7, 8], "amount": ["9.90", "1"]}, 2)
    >>> found.ids, found.users, found.times.tolist(), found.faults
    (['a'], ['7'], [1714564800000000000], [(1, "`timestamp` must be RFC 3339 or ns, was 'soon'")])
    """
    bad: dict[int, str] = {}
    ids = _texts(columns["transaction_id"], "transaction_id", bad)
    users = [intern(user) for user in _texts(columns["user_id"], "user_id", bad)]
    times = _times(columns["timestamp"], bad)
    amounts = _numbers(columns["amount"], "amount", bad)
    for row in np.flatnonzero(~((amounts >= 0) & (amounts < _LARGEST_AMOUNT))).tolist():
        bad.setdefault(row, f"`amount` must be a number from 0, was {_shown(columns['amount'][row])}")
    words = {name: _words(columns[name], name, bad) for name in WORDS if name in columns}
    numbers: dict[str, Floats] = {}
    for name in NUMBERS:
        if name in columns:
            numbers[name] = values = _numbers(columns[name], name, bad)
            most = _MOST.get(name, 1e12)
            for row in np.flatnonzero((values < 0) | (values > most)).tolist():
                bad.setdefault(row, f"`{name}` must be from 0 to {most:g}, was {_shown(columns[name][row])}")
    places = np.arange(count)
    if bad:
        places = np.delete(places, list(bad))
        kept = places.tolist()
        ids, users = [ids[i] for i in kept], [users[i] for i in kept]
        words = {name: [column[i] for i in kept] for name, column in words.items()}
        numbers = {name: column[places] for name, column in numbers.items()}
        times, amounts = times[places], amounts[places]
    return Parsed(ids, users, times, amounts, words, numbers, places, sorted(bad.items()))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _texts(values: Sequence[Any], name: str, bad: dict[int, str]) -> list[str]:
    found = []
    for row, value in enumerate(values):
        text = value if type(value) is str else _word(value)
        if not text or len(text) > _LONGEST_WORD or "\0" in text:
            # Who it is belongs into no log.
            found_ = f", was {_shown(value)}" if name != "user_id" or not value else ""
            bad.setdefault(row, f"`{name}` must be a text of 1 to {_LONGEST_WORD} characters{found_}")
            text = ""
        found.append(text)
    return found


def _words(values: Sequence[Any], name: str, bad: dict[int, str]) -> Words:
    known: dict[Any, str | None] = {}
    found: Words = []
    for row, value in enumerate(values):
        try:
            found.append(known[value])
            continue
        except KeyError:
            text: str | None = value if type(value) is str else _word(value)
        except TypeError:
            text = None
        if value is None or value == "" or value != value:
            known[value] = None
        elif text is None or len(text) > _LONGEST_WORD:
            bad.setdefault(row, f"`{name}` must be a text, was {_shown(value)}")
            found.append(None)
            continue
        else:
            known[value] = intern(text)
        found.append(known[value])
    return found


def _word(value: Any) -> str | None:  # noqa: ANN401 - whatever is in a file
    if isinstance(value, bool) or not isinstance(value, int | float | str | np.integer):
        return None
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else None
    return str(value)


def _numbers(values: Sequence[Any], name: str, bad: dict[int, str]) -> Floats:
    try:
        found = np.array(values, np.float64)
    except (TypeError, ValueError):
        found = np.array([_number(value) for value in values])
        for row in np.flatnonzero(np.isinf(found)).tolist():
            bad.setdefault(row, f"`{name}` must be a number, was {_shown(values[row])}")
    for row in np.flatnonzero(np.isinf(found)).tolist():
        bad.setdefault(row, f"`{name}` must be a finite number, was {_shown(values[row])}")
    return found


def _number(value: Any) -> float:  # noqa: ANN401 - whatever is in a file
    """Return a number, NaN for nothing, infinity for what is none."""
    if value is None or value == "":
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError):
        return _TRUTHS.get(str(value).strip().lower(), math.inf)


def _times(values: Sequence[Any], bad: dict[int, str]) -> Int64s:
    if isinstance(values, np.ndarray):
        found = values.astype("datetime64[ns]").astype(np.int64)
    else:
        try:
            # NumPy reads UTC only, and takes bare numbers for years.
            plain = [_UTC.fullmatch(value)[1] for value in values]  # type: ignore[index]
            found = np.array(plain, "datetime64[ns]").astype(np.int64)
        except (TypeError, ValueError, IndexError, KeyError):
            found = np.array([parse_time(value) for value in values], np.int64)
    for row in np.flatnonzero((found < _EARLIEST) | (found > _LATEST)).tolist():
        value = values[row]
        reason = (
            "`timestamp` must be RFC 3339 or ns" if found[row] < 0 else "`timestamp` must be 1990 to 2100"
        )
        bad.setdefault(row, f"{reason}, was {_shown(str(value))}")
    return found


def parse_time(value: Any) -> int:  # noqa: ANN401 - whatever is in a file
    """Return ns, -1 for what is no time; times without a zone are UTC."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if abs(value) < 2**62 else -1
    if not isinstance(value, str) or not value:
        return -1
    if value.isascii() and value.isdigit():
        return int(value) if len(value) < 20 else -1
    text = value.strip()
    try:
        moment = dt.datetime.fromisoformat(text)
        zone = dt.timedelta(0) if moment.tzinfo is None else moment.utcoffset() or dt.timedelta(0)
        # The microseconds of `datetime` would lose the last three digits.
        fraction = text.partition(".")[2]
        digits = fraction[: next((i for i, c in enumerate(fraction) if not c.isdigit()), len(fraction))]
        whole = moment.replace(microsecond=0, tzinfo=dt.UTC) - zone
        return int(whole.timestamp()) * 1_000_000_000 + int((digits or "0")[:9].ljust(9, "0"))
    except (ValueError, OverflowError):
        return -1
