"""A simulated market: trades that look like a session's, with labelled anomalies in it.

The model, per instrument and minute: activity is U-shaped over the day and clusters (a slowly varying
log-intensity), volatility follows it, returns share a market and a sector factor, trades bounce between
bid and ask, and sizes mix odd lots, round lots and a Pareto tail.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, replace

import numpy as np

from connectors.injection_plan import plan
from connectors.injections import KINDS, inject_all
from connectors.sessions import Session
from tapewatch.errors import UserError
from tapewatch.records import MINUTE, TRADE, Array, Floats, Int64s

#: Minutes of a trading day, 13:30 to 20:00 UTC.
SESSION_MINUTES = 390
_OPEN_NS = (13 * 60 + 30) * MINUTE
_EPOCH = dt.date(1970, 1, 1)
_TICK = 10_000_000
_PUBLISHER = 9_999
_FIRST_ID = 1_001
_SECTORS = 5
_MOST_TRADES = 50_000_000


@dataclass(frozen=True, slots=True)
class MarketSimulation:
    """What is simulated.

    Attributes
    ----------
    symbols
        Number of instruments, named ``SIM001`` and so on, 1 to 1000.
    minutes
        Trading minutes in all; a day has `SESSION_MINUTES`, what is above goes on on the next weekday.
    seed
        The same seed gives the same session.
    anomalies
        Kinds that are injected, of `connectors.injections.KINDS`; empty for a clean tape.
    trades_per_minute
        Mean trades of an instrument in a minute; the busiest have several times as many, the quietest
        at least 0.15 times as many.
    start
        The first day; a Saturday or Sunday stands for the Monday after.

    Raises
    ------
    UserError
        For a value out of range.
    """

    symbols: int = 20
    minutes: int = SESSION_MINUTES
    seed: int = 1
    anomalies: tuple[str, ...] = KINDS
    trades_per_minute: float = 40.0
    start: dt.date = dt.date(2024, 6, 3)

    def __post_init__(self) -> None:
        for name, low, high in (
            ("symbols", 1, 1_000),
            ("minutes", 1, 250 * SESSION_MINUTES),
            ("seed", 0, 2**63 - 1),
            ("trades_per_minute", 0.01, 100_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise UserError(f"`{name}` must be from {low} to {high}, was {value}")
        for kind in self.anomalies:
            if kind not in KINDS:
                raise UserError(f"`anomalies` must be none or some of {', '.join(KINDS)}, was {kind!r}")
        if self.symbols * self.minutes * self.trades_per_minute > _MOST_TRADES:
            most = int(_MOST_TRADES / self.trades_per_minute)
            raise UserError(
                f"`symbols` times `minutes` must be at most {most}, was {self.symbols * self.minutes}"
            )


def simulate(config: MarketSimulation) -> Session:
    """Simulate trading days and inject what ``config`` asks for.

    The clean tape of a seed is the same whatever is injected; sizes of injections are relative to it.

    Examples
    --------
    >>> session = simulate(MarketSimulation(symbols=2, minutes=5, anomalies=()))
    >>> list(session.symbols.values()), session.records.dtype == TRADE
    (['SIM001', 'SIM002'], True)
    """
    rng = np.random.Generator(np.random.PCG64(config.seed))
    market = _Market.drawn(rng, config)
    hours = trading_hours(config.start, config.minutes)
    days = []
    for opens, closes in hours:
        records, market = _trading_day(rng, market, opens, (closes - opens) // MINUTE)
        days.append(records)
    records = np.concatenate(days)
    records["sequence"] = np.arange(1, len(records) + 1)
    symbols = {_FIRST_ID + i: f"SIM{i + 1:03d}" for i in range(config.symbols)}
    clean = Session(records, symbols, (), hours)
    # Plans never depend on the order in which a person names the kinds.
    kinds = tuple(kind for kind in KINDS if kind in config.anomalies)
    return inject_all(clean, plan(clean, kinds, rng), rng)


def trading_hours(start: dt.date, minutes: int) -> tuple[tuple[int, int], ...]:
    """Return opening and closing time, ns, of the weekdays that ``minutes`` of trading take.

    >>> [(close - open) // MINUTE for open, close in trading_hours(dt.date(2024, 6, 7), 400)]
    [390, 10]
    """
    hours = []
    day = start
    while minutes > 0:
        if day.weekday() < 5:
            opens = (day - _EPOCH).days * 24 * 60 * MINUTE + _OPEN_NS
            hours.append((opens, opens + min(minutes, SESSION_MINUTES) * MINUTE))
            minutes -= SESSION_MINUTES
        day += dt.timedelta(days=1)
    return tuple(hours)


@dataclass(frozen=True, slots=True)
class _Market:
    """What each of ``S`` instruments is like; arrays of shape ``(S,)``, prices in dollars."""

    rate: Floats
    log_price: Floats
    sigma: Floats
    beta: Floats
    sector: Int64s
    spread: Floats
    odd: Floats
    tail_size: Floats
    tail_alpha: Floats

    @classmethod
    def drawn(cls, rng: np.random.Generator, config: MarketSimulation) -> _Market:
        count = config.symbols
        share = np.arange(1, count + 1) ** -0.8
        rate = config.trades_per_minute * share / share.mean()
        return cls(
            rate=np.maximum(rate, 0.15 * config.trades_per_minute),
            log_price=np.log(15.0) + rng.random(count) * np.log(20.0),
            sigma=0.01 * np.exp(rng.normal(0.3, 0.35, count)) / np.sqrt(SESSION_MINUTES),
            beta=rng.uniform(0.35, 0.7, count),
            sector=np.arange(count) % _SECTORS,
            spread=rng.uniform(1e-4, 5e-4, count),
            odd=rng.uniform(0.25, 0.45, count),
            tail_size=np.exp(rng.uniform(np.log(300), np.log(900), count)),
            tail_alpha=rng.uniform(2.2, 2.8, count),
        )


def _u_shape(minutes: int) -> Floats:
    """Return the median activity of each minute of a day relative to midday's, shape ``(minutes,)``."""
    t = np.arange(minutes) + 0.5
    middle = ((t - SESSION_MINUTES / 2) / (SESSION_MINUTES / 2)) ** 2
    return 1.0 + 0.4 * middle + 3.5 * np.exp(-t / 12) + 2.2 * np.exp(-(SESSION_MINUTES - t) / 6)


_MEAN_ACTIVITY = float(_u_shape(SESSION_MINUTES).mean())


def _autoregression(rng: np.random.Generator, phi: float, sigma: float, rows: int, steps: int) -> Floats:
    """Return ``rows`` stationary AR(1) paths of standard deviation ``sigma``, shape ``(rows, steps)``."""
    noise = rng.normal(0.0, sigma, (rows, steps))
    noise[:, 1:] *= np.sqrt(1 - phi * phi)
    for step in range(1, steps):
        noise[:, step] += phi * noise[:, step - 1]
    return noise


def _trading_day(
    rng: np.random.Generator, market: _Market, opens: int, minutes: int
) -> tuple[Array, _Market]:
    """Return one day's records in time order and the market as the night leaves it."""
    count = len(market.rate)
    excitement = _autoregression(rng, 0.97, 0.15, 1, minutes) + _autoregression(
        rng, 0.9, 0.22, count, minutes
    )
    activity = _u_shape(minutes)
    bustle = excitement + rng.normal(0.0, 0.25, (count, minutes))
    trades = rng.poisson(market.rate[:, None] * activity / _MEAN_ACTIVITY * np.exp(bustle))
    cell = np.repeat(np.arange(count * minutes), trades.ravel())
    # The cells are in order, so sorting all positions at once sorts each minute's.
    position = np.sort(cell + rng.random(len(cell))) - cell
    position = np.clip(_clustered(rng, position, cell), 0.0, 1.0 - 1e-9)
    row, minute = np.divmod(cell, minutes)

    jumpy = 0.7 * bustle + rng.normal(0.0, 0.3, (count, minutes))
    sigma = market.sigma[:, None] * np.sqrt(activity / _MEAN_ACTIVITY) * np.exp(jumpy)
    path = _log_prices(rng, market, sigma)
    second = position * 60
    at = second.astype(np.int64)
    step = row * path.shape[1] + minute * 60 + at
    flat = path.ravel()
    log_price = flat[step] + (second - at) * (flat[step + 1] - flat[step])
    side = _sides(rng, len(cell))

    times = opens + minute * MINUTE + (position * MINUTE).astype(np.int64)
    order = np.argsort(times, kind="stable")
    records = np.zeros(len(cell), TRADE)
    records["length"] = TRADE.itemsize // 4
    records["publisher_id"] = _PUBLISHER
    records["action"] = b"T"
    records["flags"] = 128
    records["instrument_id"] = (_FIRST_ID + row)[order]
    records["price"] = _prices(np.exp(log_price), side, market.spread[row])[order]
    records["size"] = _sizes(rng, market, row)[order]
    records["side"] = np.array([b"A", b"N", b"B"])[side + 1][order]
    records["ts_recv"] = times[order]
    records["ts_event"] = records["ts_recv"] - rng.integers(20_000, 300_000, len(cell), dtype=np.uint64)
    records["ts_in_delta"] = rng.integers(10_000, 20_000, len(cell), dtype=np.int32)
    night = 0.004 * rng.normal() + 0.006 * rng.normal(size=count)
    return records, replace(market, log_price=path[:, -1] + night)


def _clustered(rng: np.random.Generator, position: Floats, cell: Int64s) -> Floats:
    """Return positions of which a third follow the trade before at once, as one order fills many."""
    follows = rng.random(len(position)) < 0.33
    if len(position):
        follows[0] = False
    follows[1:] &= cell[1:] == cell[:-1]
    leader = np.maximum.accumulate(np.where(follows, 0, np.arange(len(position))))
    return np.where(follows, position[leader] + 0.002 * (position - position[leader]), position)


def _log_prices(rng: np.random.Generator, market: _Market, sigma: Floats) -> Floats:
    """Return log-prices at each second's begin, shape ``(S, 60 * minutes + 1)``; ``sigma`` per minute."""
    count, minutes = sigma.shape
    seconds = 60 * minutes
    common = rng.normal(size=seconds)
    sectors = rng.normal(size=(_SECTORS, seconds))
    path = np.empty((count, seconds + 1))
    path[:, 0] = market.log_price
    own = np.sqrt(1 - market.beta**2 - 0.3**2)
    moves = rng.normal(size=(count, seconds))
    moves *= own[:, None]
    moves += market.beta[:, None] * common
    moves += 0.3 * sectors[market.sector]
    moves *= np.repeat(sigma / np.sqrt(60), 60, axis=1)
    np.cumsum(moves, axis=1, out=path[:, 1:])
    path[:, 1:] += market.log_price[:, None]
    return path


def _sides(rng: np.random.Generator, count: int) -> Int64s:
    """Return who was the aggressor: 1 a buyer (B), -1 a seller (A), 0 not known (N)."""
    draw = rng.random(count)
    return np.where(draw < 0.06, 0, np.where(draw < 0.53, 1, -1))


def _prices(middle: Floats, side: Int64s, spread: Floats) -> Int64s:
    """Return prices on the tick, buyers' at the ask and sellers' at the bid."""
    half = np.maximum(0.005, middle * spread / 2)
    ticks = np.rint((middle + side * half) * 100)
    return np.maximum(ticks, 1).astype(np.int64) * _TICK


def _sizes(rng: np.random.Generator, market: _Market, row: Int64s) -> Int64s:
    """Return shares of each trade: odd lots, hundreds, several hundreds, and a Pareto tail in round lots."""
    draw = rng.random(len(row))
    within = 1.0 - rng.random(len(row))
    odd = market.odd[row]
    tail = market.tail_size[row] * within ** (-1.0 / market.tail_alpha[row])
    sizes = np.full(len(row), 100.0)
    sizes = np.where(draw < odd, np.floor(100.0 ** (1.0 - within)), sizes)
    sizes = np.where(draw > 0.82, 100.0 * np.floor(2 * 5.0 ** (1.0 - within)), sizes)
    sizes = np.where(draw > 0.95, np.where(draw < 0.96, np.floor(tail), 100.0 * np.floor(tail / 100)), sizes)
    shares: Int64s = np.clip(sizes, 1, 10_000_000).astype(np.int64)
    return shares
