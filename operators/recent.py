"""What an instrument's last records were, so that those of a batch can be seen beside what came before.

Everything here works on whole batches: values of many instruments side by side, each instrument's behind the
last ones of the batch before. All sums are of integers, so no cut into batches changes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from operators.detector import grown
from operators.ordered import Ordered
from operators.stretches import ranges
from tapewatch.records import Array, Int64s

#: Values to an instrument from which on they are copied instrument by instrument.
_LONG_STRETCH = 128


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
        #: Copying stretch by stretch is faster where they are long.
        self._long = int(starts[-1]) > _LONG_STRETCH * self._count
        self._length = np.diff(starts)

    def join(self, old: Array, new: Array) -> Array:
        """Return new values, shape ``(n,)``, each instrument's behind its old ones, shape ``(k, tail)``."""
        out: Array = np.empty(self._count * self._tail + len(new), new.dtype)
        if self._long:
            for i, (begin, at, length) in enumerate(self._places()):
                out[at : at + self._tail] = old[i]
                out[at + self._tail : at + self._tail + length] = new[begin : begin + length]
        else:
            out[(self._begin[:, None] + np.arange(self._tail)).ravel()] = old.ravel()
            out[self._new()] = new
        return out

    def pick(self, joined: Array, back: int) -> Array:
        """Return for each new value the one ``back`` places before it, shape ``(n,)``.

        Where ``joined`` was made by a moving window, its entry ``j`` being about the places from ``j`` on,
        that is the window that begins there.
        """
        if self._long:
            first = self._tail - back
            parts = [joined[at + first : at + first + length] for _, at, length in self._places()]
            return parts[0] if self._count == 1 else np.concatenate(parts)
        picked: Array = joined[self._new() - back]
        return picked

    def _places(self) -> Iterator[tuple[int, int, int]]:
        """Yield of each instrument where its new values begin, where it begins when joined, and how many."""
        return zip(self._starts.tolist(), self._begin.tolist(), self._length.tolist(), strict=False)

    def _new(self) -> Int64s:
        """Return the place of each new value."""
        shift = self._begin + self._tail - self._starts[:-1]
        new: Int64s = np.arange(self._starts[-1]) + np.repeat(shift, self._length)
        return new

    def last(self, joined: Array) -> Array:
        """Return the last ``tail`` values of each instrument, shape ``(k, tail)``."""
        ends = self._starts[1:] + self._tail * np.arange(1, self._count + 1)
        last: Array = joined[ends[:, None] + np.arange(-self._tail, 0)]
        return last

    def sums(self, joined: Int64s) -> Int64s:
        """Return the sum of the ``tail`` values before each new value, exactly, shape ``(n,)``."""
        total = np.concatenate([[0], np.cumsum(joined)])
        return self.pick(total[self._tail :] - total[: -self._tail], self._tail)

    def early(self, seen: Int64s, least: int) -> Int64s:
        """Return the indices of new values that have fewer than ``least`` of their instrument before them.

        ``seen`` is the number of values of each instrument before this batch, shape ``(k,)``.
        """
        few = np.flatnonzero(seen < least)
        if not len(few):
            return few
        return ranges(self._starts[few], np.minimum(least - seen[few], self._length[few]))


def at_places(new: Array | Ordered, old: Array, starts: Int64s, segment: Int64s, place: Int64s) -> Array:
    """Return values of instruments by their place, 0 being the first new one and -1 the last old one.

    Parameters
    ----------
    new
        Shape ``(n,)``; those of instrument ``i`` are ``starts[i]:starts[i + 1]``.
    old
        The last ones before, shape ``(k, tail)``.
    segment, place
        Which instrument, and which place; any one shape.

    Examples
    --------
    >>> new, old, starts = np.array([5, 6, 7]), np.array([[1, 2], [3, 4]]), np.array([0, 1, 3])
    >>> at_places(new, old, starts, np.array([0, 1, 1]), np.array([-1, -2, 1])).tolist()
    [2, 3, 7]
    """
    if not len(new):
        return old[segment, place]
    values: Array = new[np.maximum(starts[segment] + place, 0)]
    past = place < 0
    values[past] = old[segment[past], place[past]]
    return values


def latest(new: Array | Ordered, old: Array, starts: Int64s) -> Array:
    """Return the last values of each instrument, as many as ``old`` has of each, shape ``(k, tail)``."""
    tail = old.shape[1]
    segment = np.repeat(np.arange(len(old)), tail).reshape(old.shape)
    place = np.diff(starts)[:, None] + np.arange(-tail, 0)
    return at_places(new, old, starts, segment, place)


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
        begin
            First value of each stretch; the last one ends at ``n``.
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
        line = Joined(bounds, blocks).join(self._past[rows], sums)
        place = np.arange(bounds[-1]) + np.repeat(blocks * np.arange(1, len(rows) + 1), pieces)
        past = line[place[:, None] + np.arange(-blocks, 0)]
        known = np.minimum(np.repeat(seen // size, pieces) + ordinal, blocks)
        if learn:
            self._seen[rows] += length
            whole = self._seen[rows] % size == 0
            self._partial[rows] = np.where(whole, 0, sums[bounds[1:] - 1])
            # A block that is not whole yet is no part of the past.
            ends = place[bounds[1:] - 1] + whole
            self._past[rows] = line[ends[:, None] + np.arange(-blocks, 0)]
        return past, known, begin
