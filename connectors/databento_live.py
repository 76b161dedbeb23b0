"""Databento Live as a Bytewax source: one partition, whose position is in the recovery state."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.dbn_records import _BAR_SCHEMAS, _SIZES, _TRADE_SCHEMAS
from connectors.live_decoder import Mapping, Run
from connectors.live_feed import LiveFeed, Opened
from connectors.live_position import LivePosition, Replay, latest_possible
from connectors.validity import valid
from tapewatch import stopping
from tapewatch.credit import Credit
from tapewatch.errors import UserError
from tapewatch.log import log
from tapewatch.records import DAY, OHLCV, OHLCV_WIDTHS, TRADE, Array, Gap, Kind, Tape
from tapewatch.settings import LiveSettings, secret
from tapewatch.symbology import Interval, Symbols

KEY_VARIABLE = "DATABENTO_API_KEY"
_KEY = re.compile(r"db-[A-Za-z0-9]{29}")
_STATE_VERSION = 1
#: Batches under way between the source and the slowest sink.
_BATCHES_UNDER_WAY = 2
_NAP, _IDLE_NAP = timedelta(milliseconds=1), timedelta(milliseconds=4)
_FOREVER = 1 << 31


@dataclass(slots=True)
class _State:
    """What of a live tape is in the recovery store; ``lost_since`` is a gap no record has come behind yet."""

    subscription: str
    position: LivePosition = field(default_factory=LivePosition)
    clock: int = 0
    lost_since: int | None = None
    counters: dict[str, int] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        return {
            "version": _STATE_VERSION,
            "subscription": self.subscription,
            "position": self.position.dump(),
            "clock": self.clock,
            "lost_since": self.lost_since,
            "counters": dict(self.counters),
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> _State:
        position = LivePosition.load(saved["position"])
        return cls(
            saved["subscription"], position, saved["clock"], saved["lost_since"], dict(saved["counters"])
        )


def subscription(settings: LiveSettings) -> str:
    """Return what makes a live tape another one when it changes."""
    return "|".join([settings.schema, settings.stype_in, *sorted(settings.symbols)])


def part_name(settings: LiveSettings) -> str:
    """Return the name of the source's only part."""
    return f"live/{settings.dataset}"


def api_key() -> str:
    """Return the key for Databento's services.

    Raises
    ------
    UserError
        If there is none, or what there is cannot be one; the line does not show it.
    """
    key = secret(KEY_VARIABLE)
    if not key:
        raise UserError(
            f'`source.kind = "live"` needs a key of Databento in the environment: {KEY_VARIABLE} is not set'
        )
    if _KEY.fullmatch(key) is None:
        raise UserError(
            f"{KEY_VARIABLE} is no key of Databento: that is `db-` and 29 letters or digits, 32 in all"
        )
    return key


class LivePartition(StatefulSourcePartition[Tape, dict[str, Any]]):
    """The tape of one subscription, over any number of sessions."""

    def __init__(
        self, settings: LiveSettings, key: str, batch_records: int, slots: int, resume: dict[str, Any] | None
    ) -> None:
        self._settings = settings
        own = subscription(settings)
        self._state = _State(own) if resume is None else _State.load(resume)
        # Of another subscription the gateway replays other records: the first need not be a known one.
        self._same = self._state.subscription == own
        self._state.subscription = own
        rtype = (_TRADE_SCHEMAS | _BAR_SCHEMAS)[settings.schema]
        self._kind: Kind = "bars" if settings.schema in _BAR_SCHEMAS else "trades"
        self._width_ns = OHLCV_WIDTHS.get(rtype, 0)
        self._most = batch_records * _SIZES[rtype]
        self._feed = LiveFeed(settings, key, lambda: self._state.position.start, self._count)
        self._replay: Replay | None = None
        self._symbols, self._handed_out = Symbols(), False
        self._credit = Credit(slots, _BATCHES_UNDER_WAY)
        self._seq = 0
        self._told: dict[str, int] = dict(self._state.counters)
        self._awake: datetime | None = None
        #: Records on their way into the next batch.
        self._parts: list[tuple[Array, Array]] = []

    def _count(self, counts: dict[str, int]) -> None:
        totals = self._state.counters
        for name, number in counts.items():
            totals[name] = totals.get(name, 0) + number

    def next_batch(self) -> list[Tape]:
        """Return what has come; nothing while the results are behind, or nothing comes."""
        self._awake = None
        if stopping.stopping():
            self._feed.close()
            raise StopIteration
        if not self._credit.free(self._seq):
            self._awake = datetime.now(UTC) + _NAP
            return []
        tapes: list[Tape] = []
        for item in self._feed.read(self._most):
            match item:
                case Run():
                    self._take(item)
                case Mapping():
                    tapes += self._map(item)
                case Opened(begun):
                    self._replay = self._state.position.replay()
                    self._state.position.begin(begun)
                case _:
                    tapes += self._lost()
        if self._parts or (not tapes and self._told != self._state.counters):
            tapes.append(self._tape())
        if not tapes:
            self._awake = datetime.now(UTC) + _IDLE_NAP
        return tapes

    def _take(self, run: Run) -> None:
        """Put the new records of a run with those that wait to go out."""
        if self._replay is not None:
            fresh = self._replay.fresh(run.keys, run.times)
            if self._replay.missed and self._same and self._state.lost_since is None:
                self._state.lost_since = self._state.clock
                log.error(
                    "%s: the gateway replays less than was missed; records are missing",
                    self._settings.dataset,
                )
            if self._replay.missed is not None:
                self._replay.missed, self._same = False, True
            if self._replay.over:
                self._replay = None
            if not fresh.all():
                run = run.only(fresh)
        if not len(run.keys):
            return
        self._feed.new()
        self._state.position.advance(run.keys, run.times, run.events)
        records, times, others = run.records()
        if others:
            self._count({"not_a_trade": others})
        if len(records):
            self._parts.append((records, times))

    def _map(self, mapping: Mapping) -> list[Tape]:
        """Follow a symbol from its day on; what came before goes out with what was known then."""
        number, symbol, day = mapping.instrument_id, mapping.symbol, mapping.day
        if not symbol or self._symbols.key(number, day) == symbol:
            return []
        tapes = [self._tape()] if self._parts else []
        if self._handed_out:
            known, self._symbols, self._handed_out = self._symbols, Symbols(), False
            self._symbols.merge(known)
        # The first symbol of an id holds for what is replayed from the days before, too.
        first = day if self._symbols.mapped(number, day) else 0
        self._symbols.add(Interval(symbol, number, first, _FOREVER))
        return tapes

    def _lost(self) -> list[Tape]:
        """Note that the gateway has left out records behind those that came before."""
        tapes = [self._tape()] if self._parts else []
        if self._state.lost_since is None:
            self._state.lost_since = self._state.clock
        return tapes

    def _tape(self) -> Tape:
        state = self._state
        empty = np.empty(0, OHLCV if self._kind == "bars" else TRADE), np.empty(0, np.uint64)
        records = np.concatenate([part for part, _ in self._parts] or [empty[0]])
        times = np.concatenate([part for _, part in self._parts] or [empty[1]])
        self._parts = []
        self._count({"records": len(records)})
        records, times = self._fit(records, times)
        gaps: tuple[Gap, ...] = ()
        if state.lost_since is not None and len(records):
            key = self._symbols.key(int(records["instrument_id"][0]), int(times[0]) // DAY)
            gaps = (Gap(0, state.lost_since, 0, key),)
            state.lost_since = None
            self._count({"gaps": 1})
        if len(times):
            state.clock = max(state.clock, int(times.max()) + self._width_ns)
        self._told, self._handed_out = dict(state.counters), True
        tape = Tape(
            partition=part_name(self._settings),
            seq=self._seq,
            kind=self._kind,
            dataset=self._settings.dataset,
            records=records,
            times=times.view("i8"),
            symbols=self._symbols,
            clock=state.clock,
            width_ns=self._width_ns,
            counters=self._told,
            credit=self._credit.path,
            gaps=gaps,
        )
        self._seq += 1
        return tape

    def _fit(self, records: Array, times: Array) -> tuple[Array, Array]:
        """Return the records that can be judged; the others are counted."""
        mask, reasons = valid(records, times)
        latest = np.uint64(latest_possible())
        if len(times) and times.max() > latest:
            # One record from the future must not close everyone's windows.
            possible = times <= latest
            ahead = int((~possible if mask is None else mask & ~possible).sum())
            mask = possible if mask is None else mask & possible
            reasons["impossible_time"] = reasons.get("impossible_time", 0) + ahead
        if mask is None:
            return records, times
        self._count(reasons)
        return records[mask], times[mask]

    def next_awake(self) -> datetime | None:
        """Return when to ask again after an empty batch."""
        return self._awake

    def snapshot(self) -> dict[str, Any]:
        """Return the position, and note that what came before the last snapshot has been dealt with."""
        self._credit.settle(self._seq - 1)
        return self._state.dump()

    def close(self) -> None:
        """Leave the gateway."""
        self._feed.close()
        self._credit.close()


class LiveSource(FixedPartitionedSource[Tape, dict[str, Any]]):
    """The subscription of the section ``live``.

    Parameters
    ----------
    settings
        The section ``live``.
    batch_records
        Most records of a batch, about.
    slots
        How many consumers acknowledge each batch.

    Raises
    ------
    UserError
        If the settings name no dataset or no symbols, or there is no key.
    """

    def __init__(self, settings: LiveSettings, batch_records: int, slots: int) -> None:
        if not settings.dataset:
            raise UserError("`live.dataset` is empty; name the dataset to subscribe to, such as EQUS.MINI")
        if not settings.symbols:
            raise UserError(
                '`live.symbols` is empty; name those to subscribe to, such as ["SPY"], or ["ALL_SYMBOLS"]'
            )
        self._settings, self._batch, self._slots = settings, batch_records, slots
        self._key = api_key()

    @property
    def width_ns(self) -> int:
        """Width of the bars that come, ns; 0 if trades do."""
        return OHLCV_WIDTHS[_BAR_SCHEMAS[s]] if (s := self._settings.schema) in _BAR_SCHEMAS else 0

    def list_parts(self) -> list[str]:
        """Return the one part there is."""
        return [part_name(self._settings)]

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> LivePartition:
        """Go on where the tape was left."""
        if resume_state is not None and resume_state.get("version") != _STATE_VERSION:
            stopping.abort("the recovery store was written by another version; start with a new one", 2)
        return LivePartition(self._settings, self._key, self._batch, self._slots, resume_state)
