"""The records of live sessions as batches of one tape: each once, with symbols and with what is missing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from connectors.dbn_records import _BAR_SCHEMAS, _SIZES, _TRADE_SCHEMAS
from connectors.live_decoder import Item, Loss, Mapping, Opened, Run
from connectors.live_position import LivePosition, Replay, latest_possible
from connectors.numbering import Numbering, Unchecked, unfit
from connectors.validity import valid
from tapewatch.log import log
from tapewatch.records import DAY, OHLCV, OHLCV_WIDTHS, TRADE, Array, Gap, Kind, Tape
from tapewatch.settings import LiveSettings
from tapewatch.symbology import Interval, Symbols

STATE_VERSION = 2
_FOREVER = 1 << 31


@dataclass(slots=True)
class LiveState:
    """What of a live tape is in the recovery store; ``lost_since`` is a gap no record has come behind yet."""

    subscription: str
    position: LivePosition = field(default_factory=LivePosition)
    clock: int = 0
    lost_since: int | None = None
    counters: dict[str, int] = field(default_factory=dict)
    numbering: Numbering = field(default_factory=Numbering)

    def dump(self) -> dict[str, Any]:
        """Return what `load` takes back."""
        return {
            "version": STATE_VERSION,
            "subscription": self.subscription,
            "position": self.position.dump(),
            "clock": self.clock,
            "lost_since": self.lost_since,
            "counters": dict(self.counters),
            "numbering": self.numbering.snapshot(),
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> LiveState:
        """Return a state that was saved."""
        return cls(
            saved["subscription"],
            LivePosition.load(saved["position"]),
            saved["clock"],
            saved["lost_since"],
            dict(saved["counters"]),
            Numbering(saved["numbering"]),
        )


def subscription(settings: LiveSettings) -> str:
    """Return what makes a live tape another one when it changes.

    >>> subscription(LiveSettings(symbols=["SPY", "QQQ"]))
    'trades|raw_symbol|QQQ|SPY'
    """
    return "|".join([settings.schema, settings.stype_in, *sorted(settings.symbols)])


def part_name(settings: LiveSettings) -> str:
    """Return the name of the tape, which tells its states from those of others.

    >>> part_name(LiveSettings(dataset="EQUS.MINI"))
    'live/EQUS.MINI'
    """
    return f"live/{settings.dataset}"


def width_ns(settings: LiveSettings) -> int:
    """Return the width of the bars subscribed to, ns; 0 if these are no bars.

    >>> width_ns(LiveSettings(schema="ohlcv-1s")), width_ns(LiveSettings(schema="mbo"))
    (1000000000, 0)
    """
    return OHLCV_WIDTHS[_BAR_SCHEMAS[settings.schema]] if settings.schema in _BAR_SCHEMAS else 0


def record_bytes(settings: LiveSettings) -> int:
    """Return the length of a record of the schema subscribed to.

    >>> record_bytes(LiveSettings(schema="mbo"))
    56
    """
    return _SIZES[(_TRADE_SCHEMAS | _BAR_SCHEMAS)[settings.schema]]


class LiveTape:
    """Turns what sessions bring into batches.

    Parameters
    ----------
    settings
        The section ``live``.
    state
        Where a tape was left, None at first.
    credit
        Path that consumers acknowledge in.

    Attributes
    ----------
    state
        How far the tape has been read.
    symbols
        Keys of the instruments; a batch has its own.
    """

    def __init__(self, settings: LiveSettings, state: LiveState | None = None, credit: str = "") -> None:
        own = subscription(settings)
        self.state = LiveState(own) if state is None else state
        # Of another subscription the gateway replays other records: the first need not be a known one.
        self._same = self.state.subscription == own
        self.state.subscription = own
        self._name, self._dataset, self._credit = part_name(settings), settings.dataset, credit
        self._width_ns = width_ns(settings)
        self._kind: Kind = "bars" if self._width_ns else "trades"
        self._nothing = np.empty(0, OHLCV if self._width_ns else TRADE), np.empty(0, np.uint64)
        self._replay: Replay | None = None
        self.symbols, self._handed_out = Symbols(), False
        self._told: dict[str, int] = dict(self.state.counters)
        #: Records on their way into the next batch.
        self._parts: list[tuple[Array, Array]] = []
        self.seq = 0

    @property
    def waiting(self) -> bool:
        """Whether there are records, or counts, that no batch has told of."""
        return bool(self._parts) or self._told != self.state.counters

    def count(self, counts: dict[str, int]) -> None:
        """Add to the totals of the tape."""
        totals = self.state.counters
        for name, number in counts.items():
            totals[name] = totals.get(name, 0) + number

    def follow(self, item: Item) -> bool:
        """Take in what a feed brings; return whether there were records in it that are new."""
        match item:
            case Run():
                return self._take(item)
            case Mapping():
                self._map(item)
            case Opened(begun):
                self._replay = self.state.position.replay()
                self.state.position.begin(begun)
            case Loss():
                self._lose()
        return False

    def _take(self, run: Run) -> bool:
        """Put the new records of a run with those that wait; return whether there were any."""
        if self._replay is not None:
            fresh = self._replay.fresh(run.keys, run.times)
            self._notice(self._replay)
            if not fresh.all():
                run = run.only(fresh)
        if not len(run.keys):
            return False
        self.state.position.advance(run.keys, run.times, run.events)
        records, times, others = run.records()
        if others:
            self.count({"not_a_trade": others})
        if len(records):
            self._parts.append((records, times))
        return True

    def _notice(self, replay: Replay) -> None:
        """See whether the session goes back as far as it had to."""
        if replay.missed and self._same:
            log.error("%s: the gateway replays less than was missed; records are missing", self._dataset)
            self._lose()
        if replay.missed is not None:
            replay.missed, self._same = False, True
        if replay.over:
            self._replay = None

    def divides(self, item: Mapping | Loss) -> bool:
        """Return whether what came before must go out by itself, with other symbols or no gap before it."""
        if not self._parts or isinstance(item, Loss):
            return bool(self._parts)
        return bool(item.symbol) and self.symbols.key(item.instrument_id, item.day) != item.symbol

    def _lose(self) -> None:
        """Note that records are missing behind those that have gone out."""
        if self.state.lost_since is None:
            self.state.lost_since = self.state.clock

    def _map(self, mapping: Mapping) -> None:
        """Follow a symbol from its day on."""
        number, symbol, day = mapping.instrument_id, mapping.symbol, mapping.day
        if not symbol or self.symbols.key(number, day) == symbol:
            return
        if self._handed_out:
            known, self.symbols, self._handed_out = self.symbols, Symbols(), False
            self.symbols.merge(known)
        # The first symbol of an id holds for what is replayed from the days before, too.
        first = day if self.symbols.mapped(number, day) else 0
        self.symbols.add(Interval(symbol, number, first, _FOREVER))

    def pop(self) -> tuple[Array, Array]:
        """Return the records that wait, and their times, as they came."""
        records = np.concatenate([part for part, _ in self._parts] or [self._nothing[0]])
        times = np.concatenate([part for _, part in self._parts] or [self._nothing[1]])
        self._parts = []
        return records, times

    def batch(self) -> Tape:
        """Return the records that wait, or none, with the counts so far."""
        state = self.state
        records, times = self.pop()
        self.count({"records": len(records)} if len(records) else {})
        fit = self.fit(records, times)
        gaps, left_out = self._missing(records, times, fit)
        if fit is not None:
            records, times = records[fit], times[fit]
        gaps = self._interruption(records, times) + gaps
        if len(times):
            state.clock = max(state.clock, int(times.max()) + self._width_ns)
        self._told, self._handed_out = dict(state.counters), True
        tape = Tape(
            partition=self._name,
            seq=self.seq,
            kind=self._kind,
            dataset=self._dataset,
            records=records,
            times=times.view("i8"),
            symbols=self.symbols,
            clock=state.clock,
            width_ns=self._width_ns,
            counters=self._told,
            credit=self._credit,
            gaps=gaps,
            unfit=left_out,
        )
        self.seq += 1
        return tape

    def fit(self, records: Array, times: Array) -> Array | None:
        """Return which records can be judged, None if all can; the others are counted."""
        mask, reasons = valid(records, times)
        latest = np.uint64(latest_possible())
        if len(times) and times.max() > latest:
            # One record from the future must not close everyone's windows.
            possible = times <= latest
            ahead = int((~possible if mask is None else mask & ~possible).sum())
            mask = possible if mask is None else mask & possible
            reasons["impossible_time"] = reasons.get("impossible_time", 0) + ahead
        self.count(reasons)
        return mask

    def _missing(
        self, records: Array, times: Array, fit: Array | None
    ) -> tuple[tuple[Gap, ...], dict[str, Any]]:
        """Return what the numbers show to be missing, and what is not fit to be judged."""
        if self._kind != "trades" or not len(records):
            return (), {}
        batch = Unchecked(records, times, self.state.clock, fit, self.symbols, None, ())
        return self.state.numbering.gaps(batch), unfit(batch)

    def _interruption(self, records: Array, times: Array) -> tuple[Gap, ...]:
        """Return the gap that these records are the first behind."""
        since = self.state.lost_since
        if since is None or not len(records):
            return ()
        self.state.lost_since = None
        self.count({"gaps": 1})
        key = self.symbols.key(int(records["instrument_id"][0]), int(times[0]) // DAY)
        return (Gap(0, since, 0, key),)
