"""How rare each of several statistics is for its own instrument, as streaming tables of tail probabilities.

A statistic is binned, eight bins to an octave, and each instrument counts its own bars. The tail probability
of a bin is the share of the bars of the instrument in it or above, mixed with what is usual: a prior
that counts for some bars (a Dirichlet prior; Ferguson, "A Bayesian Analysis of Some Nonparametric Problems",
1973). So a short history is told as usual, and what an instrument has never shown is as rare as the prior's
tail says. The tables are renewed every `BLOCK` bars of an instrument; counts are integers: no cut of the
input into batches changes a bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.detector import grown
from tapewatch.records import Array, Floats, Int64s

#: Statistics from ``2**LOWEST`` to ``2**(LOWEST + OCTAVES)`` are told apart.
LOWEST, OCTAVES, _PER_OCTAVE = -2, 8, 8
BINS = OCTAVES * _PER_OCTAVE
#: Bars of an instrument after which its table is renewed.
BLOCK = 32
#: Beyond this many bars an instrument's counts are halved.
_MOST = 8_192


def bins_of(values: Array) -> Array:
    """Return the bin of each statistic, float32, not negative: uint8 of the same shape.

    >>> bins_of(np.array([0.0, 0.25, 1.0, 1.2, 1e9], np.float32)).tolist()
    [0, 0, 16, 17, 63]
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.int32) >> 20
    bins: Array = np.clip(bits - ((127 + LOWEST) << 3), 0, BINS - 1).astype(np.uint8)
    return bins


class TailTables:
    """Tail probabilities of statistics, by instrument.

    Parameters
    ----------
    prior
        Share of usual bars in each bin or above, float64, shape ``(statistics, BINS)``; 1 in the first.
    weight
        How many bars the prior counts for.
    resume
        A `snapshot` to go on from.
    """

    def __init__(self, prior: Floats, weight: float, resume: dict[str, Any] | None = None) -> None:
        self._prior, self._weight = prior * weight, weight
        statistics = len(prior)
        self._usual = self._told(np.zeros((1, statistics, BINS), np.int32), np.zeros(1, np.int64))[0]
        self._rows = 0
        self._counts = np.zeros((0, statistics, BINS), np.int32)
        self._block = np.zeros((0, BLOCK, statistics), np.uint8)
        #: Bars counted, and those of the block.
        self._seen = np.zeros((0, 2), np.int64)
        self._tables = np.zeros((0, statistics, BINS), np.float32)
        if resume is not None:
            self._grow(len(resume["seen"]))
            kept = slice(self._rows)
            for name in ("counts", "block", "seen"):
                getattr(self, f"_{name}")[kept] = resume[name]
            self._tables[kept] = self._told(self._counts[kept], self._seen[kept, 0])

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from; nothing in it changes later."""
        kept = slice(self._rows)
        return {name: getattr(self, f"_{name}")[kept].copy() for name in ("counts", "block", "seen")}

    def _grow(self, count: int) -> None:
        held = len(self._tables)
        self._rows = max(self._rows, count)
        self._counts, self._block = grown(self._counts, count), grown(self._block, count)
        self._seen, self._tables = grown(self._seen, count), grown(self._tables, count)
        self._tables[held:] = self._usual

    def decades(self, rows: Array, starts: Int64s, bins: Array, *, learn: bool) -> Array:
        """Return how rare each statistic is, as ``-log10`` of its tail probability, before it is counted.

        Parameters
        ----------
        rows, starts
            Bars of ``rows[i]`` are ``starts[i]:starts[i + 1]``.
        bins
            What `bins_of` says, shape ``(n, statistics)``.
        learn
            Without it nothing is counted.

        Returns
        -------
        Array
            Float32, shape ``(n, statistics)``.
        """
        self._grow(int(rows.max(initial=-1)) + 1)
        out = np.empty(bins.shape, np.float32)
        column = np.arange(bins.shape[1])
        if not learn:
            owner = np.repeat(rows, np.diff(starts))
            out[:] = self._tables[owner[:, None], column, bins]
            return out
        # Renewed at places of the instrument's own count, never at the end of a batch.
        for row, first, last in zip(rows.tolist(), starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            at = first
            while at < last:
                held = int(self._seen[row, 1])
                until = min(last, at + BLOCK - held)
                out[at:until] = self._tables[row][column, bins[at:until]]
                self._block[row, held : held + until - at] = bins[at:until]
                self._seen[row, 1] += until - at
                if held + until - at == BLOCK:
                    self._renew(row)
                at = until
        return out

    def _renew(self, row: int) -> None:
        column = np.arange(self._block.shape[2]) * BINS
        added = np.bincount((self._block[row] + column).ravel(), minlength=self._counts[row].size)
        self._counts[row] += added.reshape(self._counts[row].shape).astype(np.int32)
        self._seen[row] += BLOCK, -BLOCK
        if self._seen[row, 0] > _MOST:
            self._counts[row] //= 2
            self._seen[row, 0] //= 2
        self._tables[row] = self._told(self._counts[row : row + 1], self._seen[row : row + 1, 0])[0]

    def _told(self, counts: Array, seen: Int64s) -> Array:
        above = np.cumsum(counts[:, :, ::-1], axis=2)[:, :, ::-1]
        share = (above + self._prior) / (seen + self._weight)[:, None, None]
        told: Array = (-np.log10(np.ascontiguousarray(np.clip(share, 1e-12, 1.0)))).astype(np.float32)
        return told


def prior_of(bins: Array, least: float = 1e-3) -> Floats:
    """Return the share of bars in each bin or above, its far tail a Pareto law, shape ``(statistics, BINS)``.

    Parameters
    ----------
    bins
        What `bins_of` says of the statistics of many instruments, shape ``(n, statistics)``.
    least
        Share of the bars from which on the tail is the Pareto law that Hill's estimator gives
        ("A Simple General Approach to Inference About the Tail of a Distribution", 1975).
    """
    told = np.empty((bins.shape[1], BINS))
    upper = np.exp2(LOWEST + (np.arange(BINS) + 0.5) / _PER_OCTAVE)
    for statistic in range(bins.shape[1]):
        counts = np.bincount(bins[:, statistic], minlength=BINS)
        above = counts[::-1].cumsum()[::-1] / max(len(bins), 1)
        from_bin = max(int((above >= least).sum()) - 1, 0)
        tail = counts[from_bin:]
        mean_log = float((tail * np.log(upper[from_bin:] / upper[from_bin])).sum() / max(tail.sum(), 1))
        exponent = 1.0 / max(mean_log, 0.05)
        told[statistic] = above
        told[statistic, from_bin:] = above[from_bin] * (upper[from_bin:] / upper[from_bin]) ** -exponent
    told[:, 0] = 1.0
    return np.maximum(told, 1e-12)
