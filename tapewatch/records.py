"""Record batches: what flows from the sources, in Databento's own record layout.

Times are int64 nanoseconds since the Unix epoch (UTC), prices int64 units of 1e-9.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tapewatch.surveys import Survey
    from tapewatch.symbology import Symbols

UNDEF_PRICE = 2**63 - 1
UNDEF_SIZE = 2**32 - 1
UNDEF_TIME = 2**64 - 1
PRICE_SCALE = 1_000_000_000

SECOND = 1_000_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
#: In ``flags``: the publisher doubts the receive time, or lost records of this channel for good.
BAD_TS_RECV, MAYBE_BAD_BOOK = 8, 4
#: In ``depth`` of a trade that came with quotes: what the best bid and ask beside it were, if not in order.
LOCKED, CROSSED = 1, 2
#: Nothing on a tape is older than 1990-01-01, or so late that adding days to it could overflow.
EARLIEST = 631_152_000 * SECOND
LATEST = 2**63 - 1 - 2 * DAY
#: Prices beyond this (in units of 1e-9, about 288 million) are taken for damage.
LARGEST_PRICE = 2**58

Array = NDArray[Any]
Int64s = NDArray[np.int64]
Floats = NDArray[np.float64]
Kind = Literal["trades", "bars"]


def book(bids: Int64s, asks: Int64s) -> NDArray[np.uint8]:
    """Return what is to be in ``depth`` of trades with these best bids and asks beside them.

    >>> book(np.array([5, 6, 7, UNDEF_PRICE]), np.array([6, 6, 6, 6])).tolist()
    [0, 1, 2, 0]
    """
    known = (bids != UNDEF_PRICE) & (asks != UNDEF_PRICE)
    return np.where(known & (bids == asks), LOCKED, np.where(known & (bids > asks), CROSSED, 0)).astype("u1")


#: One trade: the layout of DBN's ``TradeMsg``, 48 bytes.
TRADE = np.dtype(
    [
        ("length", "u1"),
        ("rtype", "u1"),
        ("publisher_id", "<u2"),
        ("instrument_id", "<u4"),
        ("ts_event", "<u8"),
        ("price", "<i8"),
        ("size", "<u4"),
        ("action", "S1"),
        ("side", "S1"),
        ("flags", "u1"),
        ("depth", "u1"),
        ("ts_recv", "<u8"),
        ("ts_in_delta", "<i4"),
        ("sequence", "<u4"),
    ]
)

#: One bar of an ``ohlcv-*`` schema: the layout of DBN's ``OhlcvMsg``, 56 bytes.
OHLCV = np.dtype(
    [
        ("length", "u1"),
        ("rtype", "u1"),
        ("publisher_id", "<u2"),
        ("instrument_id", "<u4"),
        ("ts_event", "<u8"),
        ("open", "<i8"),
        ("high", "<i8"),
        ("low", "<i8"),
        ("close", "<i8"),
        ("volume", "<u8"),
    ]
)

#: Bar width in nanoseconds by the ``rtype`` of its record.
OHLCV_WIDTHS = {32: SECOND, 33: MINUTE, 34: HOUR, 35: DAY}


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that a source knows to be missing: numbers were skipped, or a session was interrupted.

    Attributes
    ----------
    at
        Index of the batch's first record behind the gap, or the number of its records.
    since
        Event time of the last record before the gap, int64 ns.
    lost
        How many records; 0 if nobody knows.
    key
        The instrument of which it is told.
    alone
        Whether that is the only one that lost any.
    told
        Whether it is to be told of the instrument, or only not judged across.
    """

    at: int
    since: int
    lost: int
    key: str
    alone: bool = False
    told: bool = True


class Home(NamedTuple):
    """Which of a source's partitions it is, and of how many when it was first read.

    One of one is a partition without others to share the workers with.
    """

    number: int = 0
    of: int = 1


@dataclass(frozen=True, slots=True)
class Tape:
    """One batch from a source partition, in the order of the tape.

    Attributes
    ----------
    partition
        Name of the source partition (a chain of files, a Kafka partition, a live session).
    seq
        Ordinal of the batch within its partition, for the source's credit; no result depends on it.
    records
        ``TRADE`` or ``OHLCV`` records that passed validation, shape ``(n,)``.
    times
        Event time of each record (``ts_recv`` where the schema has it), int64 ns, shape ``(n,)``.
    symbols
        Keys of the instruments by their ids.
    codes, names
        Where the records carry symbols themselves: ``names[codes[i]]`` is the key of record ``i``.
    clock
        The partition's clock: the latest event time seen so far, int64 ns. It travels with every batch.
    width_ns
        Width of the bars of an ``ohlcv-*`` tape, 0 for trades.
    counters
        Totals of this partition so far (records, undefined prices, ...), by name.
    credit
        Path of the file in which consumers acknowledge ``seq`` (see ``tapewatch.credit``), or empty.
    gaps
        What is known to be missing before some of the records, in their order.
    unfit
        By key: of each record that did not pass validation, the index of the batch's first record behind it
        (or their number), int64, in their order.
    survey
        What is known of the records already.
    home
        Where the partition stands among those of its source; no result depends on it.
    """

    partition: str
    seq: int
    kind: Kind
    dataset: str
    records: Array
    times: Int64s
    symbols: Symbols
    clock: int
    codes: NDArray[np.intp] | None = None
    names: tuple[str, ...] = ()
    width_ns: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    credit: str = ""
    gaps: tuple[Gap, ...] = ()
    unfit: dict[str, Int64s] = field(default_factory=dict)
    survey: Survey | None = None
    home: Home = field(default_factory=Home)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive records of one file, as a decoder yields them: not yet validated.

    Attributes
    ----------
    records
        ``TRADE`` or ``OHLCV``, shape ``(n,)``. Fields an encoding lacks are zero (``side``: ``b"N"``,
        ``price``: `UNDEF_PRICE` if undefined, ``size``: `UNDEF_SIZE` if undefined).
    times
        Event time, uint64 ns: ``ts_recv`` where the record has one, else ``ts_event``; `UNDEF_TIME` if none.
    end
        Offset in the file's decompressed bytes just behind the last record read (a place to resume).
    codes, names
        Where the records carry symbols: ``names[codes[i]]`` is the symbol of record ``i``.
    passed_over
        Records read and not delivered, counted by reason.
    """

    records: Array
    times: NDArray[np.uint64]
    end: int
    codes: NDArray[np.intp] | None = None
    names: tuple[str, ...] = ()
    passed_over: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself before its first record."""

    kind: Kind
    dataset: str
    schema: str
    symbols: Symbols
    width_ns: int = 0
