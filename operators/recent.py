"""What an instrument's last records were, so that those of a batch can be seen beside what came before.

Everything here works on whole batches: values of many instruments side by side, each instrument's behind the
last ones of the batch before. All sums are of integers, so no cut into batches changes them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from operators.detector import grown
from tapewatch.records import Array, Int64s


class Joined:
    """Places of each instrument's new values behind its ``tail`` last ones, instrument after instrument.

    Parameters
    ----------
    starts
        New values of instrument ``i`` are ``starts[i]:starts[i + 1]``.
    tail
        How many older values stand before the new ones of each.

    Examples
    --------
    >>> joined = Joined(np.array([0, 1, 3]), 2)
    >>> joined.join(np.array([[1, 2], [5, 6]]), np.array([3, 7, 8])).tolist()
    [1, 2, 3, 5, 6, 7, 8]
    >>> joined.last(joined.join(np.array([[1, 2], [5, 6]]), np.array([3, 7, 8]))).tolist()
    [[2, 3], [7, 8]]
    """

    def __init__(self, starts: Int64s, tail: int) -> None:
        self._starts, self._tail, self._count = starts, tail, len(starts) - 1
        self._begin = starts[:-1] + tail * np.arange(self._count)
        self._old = (self._begin[:, None] + np.arange(tail)).ravel()
        #: Place of each new value.
        self.new: Array = np.arange(starts[-1]) + (
            tail if self._count == 1 else np.repeat(tail * np.arange(1, self._count + 1), np.diff(starts))
        )

    def join(self, old: Array, new: Array) -> Array:
        """Return new values, shape ``(n,)``, each instrument's behind its old ones, shape ``(k, tail)``."""
        if self._count == 1:
            return np.concatenate([old[0], new])
        out = np.empty(self._count * self._tail + len(new), new.dtype)
        out[self._old] = old.ravel()
        out[self.new] = new
        return out

    def last(self, joined: Array) -> Array:
        """Return the last ``tail`` values of each instrument, shape ``(k, tail)``."""
        ends = self._starts[1:] + self._tail * np.arange(1, self._count + 1)
        last: Array = joined[ends[:, None] + np.arange(-self._tail, 0)]
        return last

    def pick(self, joined: Array, back: int) -> Array:
        """Return for each new value the one ``back`` places before it, shape ``(n,)``.

        Where ``joined`` was made by a moving window, its entry ``j`` being about the places from ``j`` on,
        that is the window that begins there.
        """
        if self._count == 1:
            return joined[self._tail - back : self._tail - back + len(self.new)]
        picked: Array = joined[self.new - back]
        return picked

    def sums(self, joined: Int64s) -> Int64s:
        """Return the sum of the ``tail`` values before each new value, exactly, shape ``(n,)``."""
        total = np.concatenate([[0], np.cumsum(joined)])
        return self.pick(total[self._tail :] - total[: -self._tail], self._tail)

    def early(self, seen: Int64s, least: int) -> Array | None:
        """Return which new values have fewer than ``least`` before them; None if none has.

        ``seen`` is the number of values of each instrument before this batch, shape ``(k,)``.
        """
        if not (seen < least).any():
            return None
        place = np.arange(self._starts[-1]) - np.repeat(self._starts[:-1], np.diff(self._starts))
        return place < np.repeat(least - seen, np.diff(self._starts))


def delayed(records: Array, waiting: Array, starts: Int64s) -> tuple[Array, Array]:
    """Return the records that the new ones were waited for, and those that go on waiting.

    Parameters
    ----------
    records
        New records, shape ``(n,)``.
    waiting
        The last records of each instrument before them, shape ``(k, delay)``.
    starts
        New records of instrument ``i`` are ``starts[i]:starts[i + 1]``.

    Returns
    -------
    due
        The record ``delay`` places before each new one of its instrument, shape ``(n,)``.
    waiting
        The last ones now, shape ``(k, delay)``.
    """
    delay = waiting.shape[1]
    joined = Joined(starts, delay)
    # Moving whole records as bytes is much faster than as fields.
    as_bytes = np.dtype((np.void, records.itemsize))
    whole = joined.join(
        np.ascontiguousarray(waiting).view(as_bytes), np.ascontiguousarray(records).view(as_bytes)
    )
    due = np.ascontiguousarray(joined.pick(whole, delay)).view(records.dtype)
    return due, joined.last(whole).view(records.dtype)


class BlockSums:
    """Sums of integers over the last whole blocks of each instrument's values, as a slow rolling mean.

    An instrument's values are counted from its first one, and every ``size`` of them are a block.

    Parameters
    ----------
    size
        Values to a block.
    blocks
        How many whole blocks are remembered.
    """

    def __init__(self, size: int, blocks: int, resume: dict[str, Any] | None = None) -> None:
        self._size = size
        self._seen = np.zeros(0, np.int64)
        self._partial = np.zeros(0, np.int64)
        self._past = np.zeros((0, blocks), np.int64)
        if resume is not None:
            self._seen, self._partial, self._past = (
                resume[name].copy() for name in ("seen", "partial", "past")
            )

    def snapshot(self) -> dict[str, Any]:
        """Return the state to resume from."""
        return {"seen": self._seen.copy(), "partial": self._partial.copy(), "past": self._past.copy()}

    def before(
        self, rows: Array, starts: Int64s, values: Int64s, *, learn: bool
    ) -> tuple[Int64s, Int64s, Int64s]:
        """Return what the blocks before each value summed to, stretch by stretch.

        Parameters
        ----------
        rows
            Row of each instrument, shape ``(k,)``; none has no values.
        starts
            Values of ``rows[i]`` are ``starts[i]:starts[i + 1]``.
        values
            Not negative, int64, shape ``(n,)``.
        learn
            Whether to remember the values.

        Returns
        -------
        past
            Sums of the last blocks before each stretch, the latest last, 0 where there was none, int64, shape
            ``(stretches, blocks)``.
        known
            How many of them there were, shape ``(stretches,)``.
        length
            Values of each stretch; they add up to ``n``.
        """
        size, blocks = self._size, self._past.shape[1]
        count = int(rows.max(initial=-1)) + 1
        self._seen, self._partial = grown(self._seen, count), grown(self._partial, count)
        self._past = grown(self._past, count)
        length, seen = np.diff(starts), self._seen[rows]
        pieces = (seen + length - 1) // size - seen // size + 1
        bounds = np.concatenate([[0], np.cumsum(pieces)]).astype(np.int64)
        ordinal = np.arange(bounds[-1]) - np.repeat(bounds[:-1], pieces)
        begin = np.repeat(starts[:-1] - seen % size, pieces) + ordinal * size
        begin[bounds[:-1]] = starts[:-1]
        sums = np.add.reduceat(values, begin)
        sums[bounds[:-1]] += self._partial[rows]
        joined = Joined(bounds, blocks)
        line = joined.join(self._past[rows], sums)
        past = line[joined.new[:, None] + np.arange(-blocks, 0)]
        known = np.minimum(np.repeat(seen // size, pieces) + ordinal, blocks)
        if learn:
            self._seen[rows] += length
            whole = self._seen[rows] % size == 0
            self._partial[rows] = np.where(whole, 0, sums[bounds[1:] - 1])
            # A block that is not whole yet is no part of the past.
            ends = joined.new[bounds[1:] - 1] + whole
            self._past[rows] = line[ends[:, None] + np.arange(-blocks, 0)]
        return past, known, np.diff(np.concatenate([begin, starts[-1:]]))
