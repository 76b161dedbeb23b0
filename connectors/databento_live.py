"""Databento Live as a Bytewax source: one partition, whose position is in the recovery state."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from connectors.live_decoder import Loss, Mapping
from connectors.live_feed import LiveFeed
from connectors.live_tape import STATE_VERSION, LiveState, LiveTape, part_name, record_bytes, width_ns
from tapewatch import stopping
from tapewatch.credit import Credit
from tapewatch.errors import UserError
from tapewatch.records import Tape
from tapewatch.settings import LiveSettings, secret

KEY_VARIABLE = "DATABENTO_API_KEY"
_KEY = re.compile(r"db-[A-Za-z0-9]{29}")
#: Batches under way between the source and the slowest sink.
_BATCHES_UNDER_WAY = 2
_NAP, _IDLE_NAP = timedelta(milliseconds=1), timedelta(milliseconds=4)


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
    """The tape of one subscription, over any number of sessions.

    Parameters
    ----------
    settings
        The section ``live``.
    key
        The secret.
    batch_records
        Most records of a batch, about.
    slots
        How many consumers acknowledge each batch.
    resume
        What the recovery store holds, None at first.
    """

    def __init__(
        self, settings: LiveSettings, key: str, batch_records: int, slots: int, resume: dict[str, Any] | None
    ) -> None:
        self._credit = Credit(slots, _BATCHES_UNDER_WAY)
        state = None if resume is None else LiveState.load(resume)
        self._tape = LiveTape(settings, state, self._credit.path)
        self._most = batch_records * record_bytes(settings)
        self._feed = LiveFeed(settings, key, lambda: self._tape.state.position.start, self._tape.count)
        self._awake: datetime | None = None

    def next_batch(self) -> list[Tape]:
        """Return what has come; nothing while the results are behind, or nothing comes."""
        self._awake = None
        if stopping.stopping():
            self._feed.close()
            raise StopIteration
        if not self._credit.free(self._tape.seq):
            self._awake = datetime.now(UTC) + _NAP
            return []
        tapes: list[Tape] = []
        for item in self._feed.read(self._most):
            if isinstance(item, Mapping | Loss) and self._tape.divides(item):
                tapes.append(self._tape.batch())
            if self._tape.follow(item):
                self._feed.new()
        if self._tape.waiting:
            tapes.append(self._tape.batch())
        if not tapes:
            self._awake = datetime.now(UTC) + _IDLE_NAP
        return tapes

    def next_awake(self) -> datetime | None:
        """Return when to ask again after an empty batch."""
        return self._awake

    def snapshot(self) -> dict[str, Any]:
        """Return the position, and note that what came before the last snapshot has been dealt with."""
        self._credit.settle(self._tape.seq - 1)
        return self._tape.state.dump()

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
        return width_ns(self._settings)

    def list_parts(self) -> list[str]:
        """Return the one part there is."""
        return [part_name(self._settings)]

    def build_part(self, step_id: str, for_part: str, resume_state: dict[str, Any] | None) -> LivePartition:
        """Go on where the tape was left."""
        if resume_state is not None:
            stopping.refuse_other_versions(resume_state.get("version"), STATE_VERSION)
        return LivePartition(self._settings, self._key, self._batch, self._slots, resume_state)
