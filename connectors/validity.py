"""Which records of a tape are fit to be judged, decided over whole arrays and counted by reason.

One broken record must not move a clock, a price range or a volume, so what cannot be true is kept apart:
undefined or absurd prices, undefined or zero sizes, and impossible times (undefined, before 1990, beyond
what an int64 holds, or a receive time more than a day away from the record's own event time).
"""

from __future__ import annotations

import numpy as np

from tapewatch.records import DAY, EARLIEST, LARGEST_PRICE, LATEST, OHLCV, UNDEF_PRICE, UNDEF_SIZE, Array

#: More than this in one bar is taken for damage.
_LARGEST_VOLUME = 2**53


def valid(records: Array, times: Array) -> tuple[Array | None, dict[str, int]]:
    """Return a mask of the fit records (None if all are) and the others' number by reason.

    Parameters
    ----------
    records
        ``TRADE`` or ``OHLCV``, shape ``(n,)``.
    times
        Event times, uint64 ns, shape ``(n,)``.

    Examples
    --------
    >>> from tapewatch.records import TRADE
    >>> trades = np.zeros(2, TRADE)
    >>> trades["price"], trades["size"] = [UNDEF_PRICE, 5], 1
    >>> trades["ts_event"] = EARLIEST
    >>> mask, counts = valid(trades, trades["ts_event"])
    >>> mask.tolist(), counts
    ([False, True], {'undefined_price': 1})
    """
    if not len(records):
        return None, {}
    return (_valid_bars if records.dtype == OHLCV else _valid_trades)(records, times)


def _valid_trades(records: Array, times: Array) -> tuple[Array | None, dict[str, int]]:
    price, size = records["price"], records["size"]
    # Differences of unsigned numbers wrap around, so that one comparison covers both directions.
    apart = times - records["ts_event"]
    apart += np.uint64(DAY)
    if (
        times.min() >= EARLIEST
        and times.max() <= LATEST
        and apart.max() <= 2 * DAY
        and price.min() > -LARGEST_PRICE
        and price.max() < LARGEST_PRICE
        and size.min() > 0
        and size.max() < UNDEF_SIZE
    ):
        return None, {}
    undefined = price == UNDEF_PRICE
    return _first_reason(
        {
            "impossible_time": (times < EARLIEST) | (times > LATEST) | (apart > 2 * DAY),
            "undefined_price": undefined,
            "absurd_price": ~undefined & ((price >= LARGEST_PRICE) | (price <= -LARGEST_PRICE)),
            "undefined_size": size == UNDEF_SIZE,
            "zero_size": size == 0,
        }
    )


def _valid_bars(records: Array, times: Array) -> tuple[Array | None, dict[str, int]]:
    prices = np.stack([records[name] for name in ("open", "high", "low", "close")])
    undefined = (prices == UNDEF_PRICE).any(axis=0)
    _, high, low, _ = prices
    mask, counts = _first_reason(
        {
            "impossible_time": (times < EARLIEST) | (times > LATEST),
            "undefined_price": undefined,
            "absurd_price": np.any((prices >= LARGEST_PRICE) | (prices <= -LARGEST_PRICE), axis=0),
            "inconsistent_bar": (prices > high).any(axis=0) | (prices < low).any(axis=0),
            "absurd_volume": records["volume"] > _LARGEST_VOLUME,
        }
    )
    return (None, {}) if not counts else (mask, counts)


def _first_reason(reasons: dict[str, Array]) -> tuple[Array, dict[str, int]]:
    """Return what has no reason against it, and every other record counted under its first one."""
    fit = ~np.zeros_like(next(iter(reasons.values())))
    counts = {}
    for name, found in reasons.items():
        number = int((fit & found).sum())
        fit &= ~found
        if number:
            counts[name] = number
    return fit, counts
