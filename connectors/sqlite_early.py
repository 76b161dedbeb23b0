"""What was told early, of windows that may still change, and was never taken back because the run was killed.

Anomalies of unfinished windows are marked in the table ``provisional``, each with the window it hangs on and
with the anomaly as it stands without it. A run that is killed forgets what it told since its last snapshot;
the marks remain, and whichever run comes to judge that window again settles them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import orjson

from tapewatch.documents import BarTable, Early, Results, anomaly_row

#: Key, instrument id and start of a window.
_Window = tuple[str, int, int]
#: Id, flow, detector, key, instrument id and start of a window, and what stands without it as JSON.
Mark: TypeAlias = tuple[str, str, str, str, int, int, str | None]


@dataclass(frozen=True, slots=True)
class Settled:
    """A mark that is settled: the row that takes the anomaly's place, None if there was nothing."""

    id: str
    row: tuple[Any, ...] | None


class Leftovers:
    """Marks of earlier runs whose windows this run has not judged yet.

    Parameters
    ----------
    marks
        Of each its id, flow, detector, key, instrument id, start of the window, and what stands without it as
        JSON, None if nothing does.
    """

    def __init__(self, marks: Iterable[Mark]) -> None:
        self._windows: dict[tuple[str, str], dict[_Window, str]] = {}
        self._standing: dict[str, tuple[Any, ...] | None] = {}
        for name, flow, detector, key, instrument_id, start, standing in marks:
            self._windows.setdefault((flow, detector), {})[key, instrument_id, start] = name
            self._standing[name] = None if standing is None else tuple(orjson.loads(standing))

    def settle(self, results: Results) -> list[Settled]:
        """Return the marks that these results settle without telling their anomalies anew."""
        if not self._standing:
            return []
        for name in (*(anomaly.id for anomaly in results.anomalies), *results.deleted):
            self._standing.pop(name, None)
        names = [
            name for detector, table in results.judged for name in self._judged(results.flow, detector, table)
        ]
        return [Settled(name, self._standing.pop(name)) for name in names if name in self._standing]

    def _judged(self, flow: str, detector: str, table: BarTable) -> Iterable[str]:
        windows = self._windows.get((flow, detector))
        if not windows:
            return
        starts = table.bars["ts_start"]
        for i in np.flatnonzero(np.isin(starts, [start for _, _, start in windows])):
            window = table.keys[i], int(table.bars["instrument_id"][i]), int(starts[i])
            if window in windows:
                yield windows.pop(window)


def left_in(connection: sqlite3.Connection, source: str) -> Leftovers:
    """Return the marks in a store."""
    return Leftovers(
        connection.execute(
            "SELECT id, flow, detector, key, instrument_id, ts_start, standing FROM provisional "
            "WHERE source = ?",
            (source,),
        )
    )


def mark(connection: sqlite3.Connection, source: str, results: Results) -> None:
    """Mark what these results tell early, and nothing else of what they tell or take back."""
    names = [*(anomaly.id for anomaly in results.anomalies), *results.deleted]
    connection.executemany("DELETE FROM provisional WHERE id = ?", [(name,) for name in names])
    connection.executemany(
        "INSERT INTO provisional (id, flow, source, detector, key, instrument_id, ts_start, standing) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (e.id, results.flow, source, e.detector, e.key, e.instrument_id, e.ts_start, standing_of(e))
            for e in results.early
        ],
    )


def standing_of(early: Early) -> str | None:
    """Return what stands without the early windows as JSON, None if nothing does."""
    if early.standing is None:
        return None
    return orjson.dumps(anomaly_row(early.standing), option=orjson.OPT_SERIALIZE_NUMPY).decode()
