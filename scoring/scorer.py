"""Scores transactions in this process as the flow would if they came next; changes nothing anywhere."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from connectors.file_identity import file_identity
from connectors.store import Store, open_results
from connectors.transaction_columns import Parsed, parse
from operators.measured import Measured
from operators.profile_text import read
from operators.profiles import STATE_VERSION, Profile
from operators.transaction_published import forecast
from operators.transaction_scoring import (
    TransactionForecast,
    TransactionJudgeSettings,
    measured_without_profiles,
)
from scoring.cold_start import cold_start
from scoring.told import Prediction, predictions
from tapewatch.errors import UserError
from tapewatch.pseudonyms import pseudonyms_of
from tapewatch.records import Floats
from tapewatch.settings import Settings
from tapewatch.transactions import NUMBERS, REQUIRED, WORDS, Transactions

_COLUMNS = (*REQUIRED, *WORDS, *NUMBERS)
#: Profiles that are kept from one call to the next.
_REMEMBERED = 4_096
_FIELD = re.compile(r"`(\w+)`")


class BadTransactionError(UserError):
    """A row that is no transaction: its place, the field that is wrong, and a sentence on it."""

    def __init__(self, row: int, field: str, reason: str) -> None:
        super().__init__(reason)
        self.row, self.field = row, field


class _Judge(TypedDict):
    told: tuple[int, int]
    settings: TransactionJudgeSettings
    forecast: TransactionForecast
    clock: int


class Scorer:
    """Scores transactions by users' profiles and the flow's judge in the store.

    What has been published since the last call is used at once. Without any, the models that come with
    tapewatch judge by the calibration of a simulated stream, and results say so (``basis``). Calls from
    several threads wait for each other.

    Parameters
    ----------
    settings
        They say where the store is.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._store: Store | None = None
        self._file: tuple[int, int] | None = None
        self._judges: dict[tuple[str, str], _Judge] = {}
        self._cold: _Judge | None = None
        self._pseudonyms = pseudonyms_of(settings.transactions)
        #: Profiles that were asked for last, with the text of which each was read: reading takes longest.
        self._read: dict[str, tuple[str, tuple[str, Profile]]] = {}

    def score(self, rows: Sequence[Mapping[str, Any]]) -> list[Prediction]:
        """Return what the flow would say of each transaction, in their order.

        Parameters
        ----------
        rows
            Transactions by the names of the contract; other names are passed over, and what is None or
            missing is unknown. Each is judged for itself, as if it came next.

        Raises
        ------
        BadTransactionError
            For the first row that is no transaction.
        UserError
            If the store cannot be read, or what is in it is of another version.
        """
        parsed = parse({name: [row.get(name) for row in rows] for name in _COLUMNS}, len(rows))
        if parsed.faults:
            row, reason = parsed.faults[0]
            found = _FIELD.search(reason)
            raise BadTransactionError(row, found[1] if found else "", reason)
        if not len(rows):
            return []
        with self._lock:
            return self._score(parsed)

    def close(self) -> None:
        """Let go of the store."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _named(self, users: Sequence[str]) -> dict[str, str]:
        """Return the names that the flow gives users if these are their ids."""
        different = dict.fromkeys(users)
        if self._pseudonyms is None:
            return {user: user for user in different}
        return {user: self._pseudonyms.of(user) for user in different}

    def _score(self, parsed: Parsed) -> list[Prediction]:
        store = self._opened()
        names = self._named(parsed.users)
        profiles: dict[str, tuple[str, Profile]] = {}
        known: list[dict[str, Any]] = []
        if store is not None:
            profiles = self._profiles_of(store, dict.fromkeys([*names, *names.values()]))
            # Of several streams that of the settings, of its partitions the newest first.
            name = self._settings.transactions.source.name
            known = sorted(store.judges(), key=lambda row: row["source"] != name)
        # What the store knows is a name already.
        users = [user if user in profiles else names[user] for user in parsed.users]
        parsed = replace(parsed, users=users)
        by_partition: dict[str, int] = {}
        for place, row in enumerate(known):
            by_partition.setdefault(row["partition"], place)
        groups: dict[int, list[int]] = {}
        for index, user in enumerate(parsed.users):
            partition = profiles[user][0] if user in profiles else ""
            groups.setdefault(by_partition.get(partition, 0 if known else -1), []).append(index)
        found: dict[int, Prediction] = {}
        for place, indices in groups.items():
            judge = self._cold_start() if place < 0 else self._judge(known[place])
            part = parsed if len(indices) == len(parsed.ids) else parsed.part(np.array(indices, np.int64))
            found |= zip(indices, self._told(judge, part, profiles, cold=place < 0), strict=True)
        return [found[index] for index in range(len(parsed.ids))]

    def _profiles_of(self, store: Store, users: Iterable[str]) -> dict[str, tuple[str, Profile]]:
        """Return the partition and the profile of each user who has one, as the store has it now."""
        found = {}
        for user, text in store.profile_states(list(users)).items():
            known = self._read.pop(user, None)
            if known is None or known[0] != text:
                partition, state = read(text, STATE_VERSION)
                known = (text, (partition, Profile(state)))
            self._read[user] = known
            found[user] = known[1]
        while len(self._read) > _REMEMBERED:
            del self._read[next(iter(self._read))]
        return found

    def _told(
        self, judge: _Judge, parsed: Parsed, profiles: Mapping[str, tuple[str, Profile]], *, cold: bool
    ) -> list[Prediction]:
        batch = Transactions(
            "", 0, parsed.ids, parsed.users, parsed.times, parsed.amounts, parsed.words, parsed.numbers
        )
        own = np.zeros(len(batch), bool)
        if judge["settings"].personal:
            measured = _measured(batch, profiles, judge["clock"], judge["settings"].idle_ns, own)
        else:
            measured = measured_without_profiles(batch)
        scored = judge["forecast"].score(batch, measured)
        return predictions(judge["forecast"], batch, measured, scored, own, cold=cold)

    def _judge(self, row: Mapping[str, Any]) -> _Judge:
        name, told = (row["source"], row["partition"]), (row["ts_last"], row["transactions"])
        known = self._judges.get(name)
        if known is None or known["told"] != told:
            published = None if self._store is None else self._store.judge(*name)
            if published is None:
                raise UserError("what the transaction flow had published has just been removed; ask again")
            settings, scoring = forecast(published)
            known = {"told": told, "settings": settings, "forecast": scoring, "clock": published.ts_last}
            self._judges[name] = known
        return known

    def _cold_start(self) -> _Judge:
        if self._cold is None:
            settings, scoring = forecast(cold_start())
            # Its clock is that of a simulation.
            self._cold = {"told": (0, 0), "settings": settings, "forecast": scoring, "clock": 0}
        return self._cold

    def _opened(self) -> Store | None:
        """Return the store, opened anew if its file was replaced; None where there is none yet."""
        if self._settings.sinks.store == "sqlite":
            file = file_identity(Path(self._settings.sinks.sqlite.path))
            if file == (0, 0):
                return None
            if self._store is not None and self._file != file:
                self._store.close()
                self._store = None
            self._file = file
        if self._store is None:
            self._store = open_results(self._settings)
        return self._store


def _measured(
    batch: Transactions, profiles: Mapping[str, tuple[str, Profile]], clock: int, idle_ns: int, own: Floats
) -> Floats:
    """Return what the profiles make of rows, ``(n, fields)``; marks in ``own`` those of known users."""
    measured = np.empty((len(batch), len(Measured._fields)))
    nobody = Profile()
    for user, row in batch.rows():
        known = profiles.get(user)
        profile = nobody if known is None else known[1]
        if profile.idle(max(row.ts, clock), idle_ns):
            profile = nobody
        measured[row.number] = profile.measure(row)
        own[row.number] = profile is not nobody
    return measured
