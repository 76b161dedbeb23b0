"""Numbers and times written as text, read a whole column at a time.

A column is a pair of int64 arrays, where each field starts and ends in one buffer. Every reader returns
``(values, good)``: where ``good`` is False the text is no such value (an empty field is none either) and
the value means nothing. Eight digits are read at once as one 64-bit word.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from tapewatch.records import PRICE_SCALE, Int64s

UInt64s: TypeAlias = NDArray[np.uint64]
Bools: TypeAlias = NDArray[np.bool_]

_U64_MAX = 2**64 - 1
_I64_MAX = 2**63 - 1
#: Bytes of padding before the text: three words may be read backwards from its very start.
_PAD = 24
#: By count: the word's last, or its first, bytes.
_LAST = np.array([(_U64_MAX << 8 * (8 - n)) & _U64_MAX for n in range(9)], dtype=np.uint64)
_FIRST = np.array([_U64_MAX >> 8 * (8 - n) for n in range(9)], dtype=np.uint64)
_TENS = np.array([10**n for n in range(10)], dtype=np.uint64)
_ZEROS = np.uint64(0x3030303030303030)
_DASH, _DOT, _ZERO, _COLON, _Z = b"-.0:Z"
_UTC = np.uint64(int.from_bytes(b"+00:00", "little"))


class Text:
    """A buffer of text that can be read in words of eight bytes from any place.

    Parameters
    ----------
    data
        The text; places in it are counted from its first byte.

    Examples
    --------
    >>> text = Text(b"17,-0.25")
    >>> unsigned(text, np.array([0]), np.array([2]), 255)
    (array([17], dtype=uint64), array([ True]))
    >>> decimal(text, np.array([3]), np.array([8]))
    (array([-250000000]), array([ True]))
    """

    def __init__(self, data: bytes) -> None:
        self.data = data
        padded = np.frombuffer(b"".join((b" " * _PAD, data, b" " * 16)), dtype=np.uint8)
        #: Each byte of the text, and some of padding behind it.
        self.bytes = padded[_PAD:]
        self._words: UInt64s = np.ndarray((len(padded) - 7,), "<u8", buffer=padded, strides=(1,))

    def word(self, place: Int64s) -> UInt64s:
        """Return the eight bytes from each place (at least -24) as one little-endian number."""
        words: UInt64s = self._words[place + _PAD]
        return words

    def slice(self, start: int, end: int) -> bytes:
        """Return the bytes ``[start, end)``."""
        return self.data[start:end]


def first_bytes(word: UInt64s, count: Int64s) -> UInt64s:
    """Return words of which only the first ``count`` (0 to 8) bytes are kept."""
    kept: UInt64s = word & _FIRST[count]
    return kept


def unsigned(text: Text, start: Int64s, end: Int64s, largest: int = _U64_MAX) -> tuple[UInt64s, Bools]:
    """Read whole numbers from 0 to ``largest``, of at most 20 digits, as uint64."""
    count = end - start
    good = (count > 0) & (count <= 20)
    most = int(count.max(initial=0))
    if most > 20:
        count = np.minimum(count, 20)
    total, digits = _eight(text, end, count)
    good &= digits
    if most > 8:
        upper, digits = _eight(text, end - 8, count - 8)
        total = total + upper * np.uint64(10**8)
        good &= digits
    if most > 16:
        top, digits = _eight(text, end - 16, count - 16)
        good &= digits & ((top < 1844) | ((top == 1844) & (total <= np.uint64(_U64_MAX - 1844 * 10**16))))
        total = total + top * np.uint64(10**16)
    if largest < _U64_MAX:
        good &= total <= np.uint64(largest)
    return total, good


def signed(text: Text, start: Int64s, end: Int64s, largest: int = _I64_MAX) -> tuple[Int64s, Bools]:
    """Read whole numbers from ``-largest - 1`` to ``largest`` as int64."""
    minus = text.bytes[start] == _DASH
    if not minus.any():
        size, good = unsigned(text, start, end, largest)
        return size.view(np.int64), good
    size, good = unsigned(text, start + minus, end, largest + 1)
    good &= minus | (size <= np.uint64(largest))
    return _negated(size, minus), good


def decimal(text: Text, start: Int64s, end: Int64s) -> tuple[Int64s, Bools]:
    """Read decimals of 0 to 9 fraction digits as int64 units of 1e-9, exactly."""
    fraction = fraction_digits(text, start, end)
    minus = text.bytes[start] == _DASH
    dotted = fraction >= 0
    fraction = np.maximum(fraction, 0)
    # A dot without digits behind it is no decimal.
    good = ~dotted | (fraction > 0)
    behind, digits = _eight(text, end, fraction)
    good &= digits
    if fraction.max(initial=0) > 8:
        ninth, digits = _eight(text, end - 8, fraction - 8)
        behind = behind + ninth * np.uint64(10**8)
        good &= digits
    behind = behind * _TENS[9 - fraction]
    whole, digits = unsigned(text, start + minus, end - fraction - dotted, _I64_MAX // PRICE_SCALE)
    size = whole * np.uint64(PRICE_SCALE) + behind
    good &= digits & (size <= np.uint64(_I64_MAX) + minus.astype(np.uint64))
    return _negated(size, minus), good


def fraction_digits(text: Text, start: Int64s, end: Int64s) -> Int64s:
    """Return how many characters follow the dot, if it is among a field's last ten; else -1."""
    size = end - start
    nine = (size >= 10) & (text.bytes[end - 10] == _DOT)
    if nine.all():
        return np.full(len(end), 9, dtype=np.int64)
    found = np.where(nine, 9, -1)
    for digits in range(9):
        found[(size > digits) & (text.bytes[end - 1 - digits] == _DOT)] = digits
    return found


def timestamp(text: Text, start: Int64s, end: Int64s) -> tuple[UInt64s, Bools]:
    """Read times, uint64 ns since the epoch: nanoseconds, or RFC 3339 in UTC with 0 to 9 fraction digits.

    >>> line = b"2013-10-07T08:00:00.464165Z,1381132800464165000"
    >>> timestamp(Text(line), np.array([0, 28]), np.array([27, 47]))[0].tolist()
    [1381132800464165000, 1381132800464165000]
    """
    written = (end - start >= 20) & (text.bytes[start + 4] == _DASH)
    if written.all():
        return _rfc3339(text, start, end)
    values, good = unsigned(text, start, end)
    if written.any():
        values[written], good[written] = _rfc3339(text, start[written], end[written])
    return values, good


def _rfc3339(text: Text, start: Int64s, end: Int64s) -> tuple[UInt64s, Bools]:
    zulu = text.bytes[end - 1] == _Z
    good = zulu | ((text.word(end - 8) >> np.uint64(16)) == _UTC)
    until = end - np.where(zulu, 1, 6)
    digits = until - start - 20
    good &= (digits == -1) | ((digits > 0) & (digits < 10) & (text.bytes[start + 19] == _DOT))
    digits = np.clip(digits, 0, 9)
    nanos, fine = _eight(text, until, digits)
    ninth, more = _eight(text, until - 8, digits - 8)
    nanos = (nanos + ninth * np.uint64(10**8)) * _TENS[9 - digits]
    second, sixty = _eight(text, start + 19, np.full_like(start, 2))
    good &= fine & more & sixty & (second < 60) & (text.bytes[start + 16] == _COLON)
    minute, written = _minutes(text.word(start), text.word(start + 8))
    seconds = minute * np.uint64(60) + second
    last, rest = divmod(_U64_MAX, PRICE_SCALE)
    good &= written & ((seconds < last) | ((seconds == last) & (nanos <= rest)))
    return seconds * np.uint64(PRICE_SCALE) + nanos, good


def _minutes(date: UInt64s, clock: UInt64s) -> tuple[UInt64s, Bools]:
    """Read ``YYYY-MM-`` and ``DDTHH:MM`` as minutes since the epoch.

    Neighbours on a tape mostly share their minute: each run of equal ones is read once.
    """
    new = np.ones(len(date), dtype=np.bool_)
    new[1:] = (date[1:] != date[:-1]) | (clock[1:] != clock[:-1])
    characters = np.stack([date[new], clock[new]], axis=1).view(np.uint8).reshape(-1, 16)
    at = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15]
    digit = characters[:, at].astype(np.int64) - _ZERO
    good: Bools = np.all((digit >= 0) & (digit <= 9), axis=1)
    good &= np.all(characters[:, [4, 7, 10, 13]] == np.frombuffer(b"--T:", dtype=np.uint8), axis=1)
    year = digit[:, :4] @ np.array([1000, 100, 10, 1])
    month, day, hour, minute = (digit[:, 4::2] * 10 + digit[:, 5::2]).T
    good &= (year >= 1970) & (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60)
    months = np.where(good, (year - 1970) * 12 + month - 1, 0)
    first = months.astype("M8[M]").astype("M8[D]").astype(np.int64)
    good &= day <= (months + 1).astype("M8[M]").astype("M8[D]").astype(np.int64) - first
    total = np.where(good, ((first + day - 1) * 24 + hour) * 60 + minute, 0).astype(np.uint64)
    run = np.cumsum(new) - 1
    return total[run], good[run]


def _negated(size: UInt64s, minus: Bools) -> Int64s:
    return np.where(minus, np.uint64(0) - size, size).view(np.int64)


def _eight(text: Text, end: Int64s, count: Int64s) -> tuple[UInt64s, Bools]:
    """Read up to eight digits that end before ``end``; a count out of [0, 8] is taken for its nearest."""
    low, high = int(count.min(initial=8)), int(count.max(initial=0))
    # Where fields end before the text begins, nothing is read of them.
    word = text.word(end - 8)
    mask = _LAST[min(max(high, 0), 8)] if low == high else _LAST[np.clip(count, 0, 8)]
    word = (word ^ _ZEROS) & mask
    # Carries reach only into words that are no digits already.
    high_bits = ((word + np.uint64(0x7676767676767676)) | word) & np.uint64(0x8080808080808080)
    word = (word * np.uint64(10 * 2**8 + 1)) >> np.uint64(8)
    word = ((word & np.uint64(0x00FF00FF00FF00FF)) * np.uint64(100 * 2**16 + 1)) >> np.uint64(16)
    word = ((word & np.uint64(0x0000FFFF0000FFFF)) * np.uint64(10_000 * 2**32 + 1)) >> np.uint64(32)
    return word, high_bits == 0
