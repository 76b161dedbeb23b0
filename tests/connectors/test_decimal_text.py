"""Numbers and times in text against Python's own arithmetic."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Sequence
from decimal import Decimal

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from connectors.decimal_text import Text, decimal, signed, timestamp, unsigned
from tapewatch.records import Array

_NOISE = st.text(alphabet="0123456789.-+:TZ eE", max_size=34)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def _read(read: Callable[..., tuple[Array, Array]], words: Sequence[str], *more: int) -> list[int | None]:
    """Return what is read of each word, all of them in one column; None if it cannot be read."""
    encoded = [word.encode() for word in words]
    ends = np.cumsum([len(word) + 1 for word in encoded]) - 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    values, good = read(Text(b",".join(encoded)), starts, ends, *more)
    return [int(value) if fine else None for value, fine in zip(values, good, strict=True)]


def _integer(word: str, low: int, high: int) -> int | None:
    if not re.fullmatch(r"-?[0-9]{1,20}" if low < 0 else "[0-9]{1,20}", word):
        return None
    return int(word) if low <= int(word) <= high else None


def _decimal(word: str) -> int | None:
    if not re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,9})?", word):
        return None
    value = int(Decimal(word).scaleb(9))
    return value if -(2**63) <= value < 2**63 else None


_INTEGERS = st.integers(-(2**65), 2**65).map(str) | st.integers(-12, 300).map(str) | _NOISE
_DECIMALS = (
    st.decimals(-(10**11), 10**11, places=9).map("{:f}".format)
    | st.decimals(-1000, 1000, allow_nan=False, allow_infinity=False).map("{:f}".format)
    | _NOISE
)


@given(st.lists(_INTEGERS, min_size=1, max_size=20))
@example(["18446744073709551615", "18446744073709551616", "00000000000000000007", "", "99999999999999999999"])
def test_whole_numbers_are_pythons(words: list[str]) -> None:
    for largest in (255, 2**32 - 1, 2**64 - 1):
        assert _read(unsigned, words, largest) == [_integer(word, 0, largest) for word in words]


@given(st.lists(_INTEGERS, min_size=1, max_size=20))
@example(["-9223372036854775808", "9223372036854775808", "-9223372036854775809", "-", "--1", "-0"])
def test_signed_numbers_are_pythons(words: list[str]) -> None:
    for largest in (2**31 - 1, 2**63 - 1):
        assert _read(signed, words, largest) == [_integer(word, -largest - 1, largest) for word in words]


@given(st.lists(_DECIMALS, min_size=1, max_size=20))
@example(
    ["9223372036.854775807", "-9223372036.854775808", "9223372036.854775808", "-0.000000001", "1.", ".5"]
)
@example(["1.2.3", "1.0000000001", "-.1", "1-", "0.1", "167", "-0", "00167.41", "..........", ""])
def test_decimals_are_exact(words: list[str]) -> None:
    assert _read(decimal, words) == [_decimal(word) for word in words]


@given(st.lists(st.tuples(st.integers(0, 2**64 - 1), st.sampled_from(["Z", "+00:00"])), min_size=1))
def test_times_are_exact(times: list[tuple[int, str]]) -> None:
    words = []
    for ns, zone in times:
        seconds, nanos = divmod(ns, 10**9)
        moment = _EPOCH + dt.timedelta(seconds=seconds)
        fraction = f"{nanos:09d}".rstrip("0")
        words.append(f"{moment:%Y-%m-%dT%H:%M:%S}{'.' * bool(fraction)}{fraction}{zone}")
    assert _read(timestamp, words) == [ns for ns, _ in times]
    assert _read(timestamp, [str(ns) for ns, _ in times]) == [ns for ns, _ in times]
    mixed = [word if at % 2 else str(times[at][0]) for at, word in enumerate(words)]
    assert _read(timestamp, mixed) == [ns for ns, _ in times]


@given(st.integers(0, 10**9 - 1), st.integers(0, 29), st.integers(32, 126))
def test_an_edited_time_is_another_time_or_none(nanos: int, at: int, character: int) -> None:
    written = f"2024-02-28T23:59:59.{nanos:09d}Z"
    edited = written[:at] + chr(character) + written[at + 1 :]
    value = _read(timestamp, [edited])[0]
    try:
        moment = dt.datetime.fromisoformat(edited[:19] + "+00:00")
        fits = re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", edited) is not None
    except ValueError:
        fits = False
    if not fits or not 1970 <= moment.year <= 2554:
        assert value is None
    else:
        seconds = (moment - _EPOCH) // dt.timedelta(seconds=1)
        assert value == seconds * 10**9 + int(edited[20:29])


def test_what_is_no_time() -> None:
    wrong = [
        "2013-02-29T00:00:00Z", "2013-13-01T00:00:00Z", "2013-00-01T00:00:00Z", "2013-01-00T00:00:00Z",
        "1969-12-31T23:59:59Z", "2554-07-21T23:34:33.709551616Z", "2013-10-07T24:00:00Z",
        "2013-10-07T08:60:00Z", "2013-10-07T08:00:60Z", "2013-10-07T08:00:00.Z", "2013-10-07T08:00:00",
        "2013-10-07 08:00:00Z", "2013-10-07T08:00:00+01:00", "2013-10-07T08:00:00.1234567890Z",
        "2013-10-07", "-1", "1e18", "18446744073709551616", "", "2013-10-07T08:00:00,5Z",
    ]  # fmt: skip
    assert _read(timestamp, wrong) == [None] * len(wrong)
    assert _read(timestamp, ["2554-07-21T23:34:33.709551615Z", "2000-02-29T00:00:00Z"]) == [
        2**64 - 1,
        951_782_400 * 10**9,
    ]
