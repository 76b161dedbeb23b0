"""How risky merchants and terminals are: frauds among their reviewed transactions, by day."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapewatch.records import DAY, Array, Floats, Int64s
from tapewatch.transactions import Words

#: Days that are remembered; windows, in days before now, over which frauds are counted: labels are late.
_DAYS = 40
_WINDOWS = (8, 14, 37)
#: What is believed of a merchant without reviews, and as how many transactions.
_USUAL, _PRIOR = 0.01, (2.0, 2.0, 4.0)
#: Merchants; who has none of the latest reviews gives way.
_MOST = 50_000
RISKS = ("risk_8d", "risk_14d", "risk_37d", "risky_8d", "risky_14d", "very_risky_14d", "risky_37d")


class MerchantRisk:
    """Counts by merchant and event day.

    Parameters
    ----------
    resume
        A `snapshot` to go on from.

    Examples
    --------
    >>> risk = MerchantRisk()
    >>> row = int(risk.rows(["m"], new=True)[0])
    >>> for _ in range(8):
    ...     risk.learn(row, 100 * DAY, 1, again=False)
    >>> risk.risks(np.array([row, -1]), np.array([105 * DAY, 105 * DAY]))[:, 4].tolist()
    [1.0, 0.0]
    """

    def __init__(self, resume: dict[str, Any] | None = None) -> None:
        self._rows: dict[str, int] = {}
        self._all = np.zeros((64, _DAYS), np.uint16)
        self._frauds = np.zeros((64, _DAYS), np.uint16)
        self._days = np.full(_DAYS, -1, np.int64)
        if resume is not None:
            self._rows = {name: row for row, name in enumerate(resume["names"])}
            self._all, self._frauds, self._days = (resume[n].copy() for n in ("all", "frauds", "days"))

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {
            "names": tuple(self._rows), "all": self._all.copy(), "frauds": self._frauds.copy(),
            "days": self._days.copy(),
        }  # fmt: skip

    def reviewed(self) -> dict[str, Any]:
        """Return what `risks` needs elsewhere: a `snapshot` of the merchants that have counts, no others."""
        names = list(self._rows)
        counted = np.flatnonzero(self._all[: len(names)].any(axis=1))
        return {
            "names": tuple(names[row] for row in counted.tolist()), "all": self._all[counted],
            "frauds": self._frauds[counted], "days": self._days.copy(),
        }  # fmt: skip

    def rows(self, merchants: Words, *, new: bool = False) -> Array:
        """Return the row of each merchant, -1 for one that is not known; ``new`` makes it known."""
        known = self._rows
        if new:
            for name in merchants:
                if name is not None and name not in known and len(known) < _MOST:
                    known[name] = len(known)
            while len(self._all) < len(known):
                self._all = np.concatenate([self._all, np.zeros_like(self._all)])
                self._frauds = np.concatenate([self._frauds, np.zeros_like(self._frauds)])
        return np.array([-1 if name is None else known.get(name, -1) for name in merchants], np.int32)

    def learn(self, row: int, ts: int, label: int, *, again: bool) -> None:
        """Count a labelled transaction; ``again`` if it was counted before with the other label."""
        if row < 0:
            return
        day = ts // DAY
        column = day % _DAYS
        if self._days[column] > day:
            return
        if self._days[column] < day:
            self._all[:, column], self._frauds[:, column], self._days[column] = 0, 0, day
        if not again and self._all[row, column] < 60_000:
            self._all[row, column] += 1
            self._frauds[row, column] += label
        elif again and self._all[row, column]:
            frauds = int(self._frauds[row, column]) + (1 if label else -1)
            self._frauds[row, column] = max(frauds, 0)

    def risks(self, rows: Array, times: Int64s) -> Floats:
        """Return `RISKS` of transactions at merchants, ``(n, len(RISKS))``; 0 for merchants not known."""
        found = np.zeros((len(rows), len(RISKS)))
        known = np.flatnonzero(rows >= 0)
        if not len(known):
            return found
        counts, frauds = self._all[rows[known]], self._frauds[rows[known]]
        age = (times[known] // DAY)[:, None] - self._days
        rates = []
        for window, prior in zip(_WINDOWS, _PRIOR, strict=True):
            within = (age >= 0) & (age <= window) & (self._days >= 0)
            total = np.where(within, counts, 0).sum(axis=1, dtype=np.int64)
            bad = np.where(within, frauds, 0).sum(axis=1, dtype=np.int64)
            rates.append((bad + prior * _USUAL) / (total + prior))
        for column, rate in enumerate(rates):
            odds = np.log(rate / (1 - np.minimum(rate, 0.999))) - np.log(_USUAL / (1 - _USUAL))
            found[known, column] = odds / 2.0
        for column, (which, least) in enumerate(((0, 0.4), (1, 0.1), (1, 0.4), (2, 0.2)), 3):
            found[known, column] = rates[which] > least
        return found
