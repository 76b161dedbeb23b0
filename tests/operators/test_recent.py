"""Values beside those before them, and sums over blocks, whatever the batches and instruments."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators import recent
from operators.recent import BlockSums, Joined, latest
from tapewatch.records import Int64s

lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5)


def starts_of(lengths: list[int]) -> Int64s:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@pytest.mark.parametrize("long_stretch", [0, 10**9])
@settings(deadline=None)
@given(lengths=lengths, tail=st.integers(1, 6), data=st.data())
def test_joined_values_are_where_they_should_be(
    long_stretch: int, lengths: list[int], tail: int, data: st.DataObject
) -> None:
    starts = starts_of(lengths)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    old, new = rng.integers(0, 99, (len(lengths), tail)), rng.integers(0, 99, starts[-1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent, "_LONG_STRETCH", long_stretch)
        joined = Joined(starts, tail)
    line = joined.join(old, new)
    whole = [[*old[i], *new[starts[i] : starts[i + 1]]] for i in range(len(lengths))]
    assert line.tolist() == [value for values in whole for value in values]
    assert joined.last(line).tolist() == [values[-tail:] for values in whole]
    assert latest(new, old, starts).tolist() == [values[-tail:] for values in whole]
    back = data.draw(st.integers(0, tail))
    picked = [values[at - back] for values in whole for at in range(tail, len(values))]
    assert joined.pick(line, back).tolist() == picked
    sums = [sum(values[at - tail : at]) for values in whole for at in range(tail, len(values))]
    assert joined.sums(line).tolist() == sums
    seen = rng.integers(0, 8, len(lengths))
    few = [seen[i] + at < 4 for i in range(len(lengths)) for at in range(lengths[i])]
    assert joined.early(seen, 4).tolist() == np.flatnonzero(few).tolist()


@settings(deadline=None)
@given(
    batches=st.lists(st.dictionaries(st.integers(0, 3), st.integers(1, 25), min_size=1), max_size=6),
    size=st.integers(1, 7),
    blocks=st.integers(1, 4),
    seed=st.integers(0, 99),
    resumed=st.booleans(),
)
def test_block_sums_are_those_of_whole_blocks_before(
    batches: list[dict[int, int]], size: int, blocks: int, seed: int, resumed: bool
) -> None:
    rng = np.random.default_rng(seed)
    sums = BlockSums(size, blocks)
    history: dict[int, list[int]] = {}
    for batch in batches:
        rows = np.array(sorted(batch), np.int32)
        starts = starts_of([batch[row] for row in rows.tolist()])
        values = rng.integers(0, 1_000, starts[-1])
        looked = sums.before(rows, starts, values, learn=False)
        past, known, begin = sums.before(rows, starts, values, learn=True)
        assert all((a == b).all() for a, b in zip(looked, (past, known, begin), strict=True))
        at = np.searchsorted(begin, np.arange(starts[-1]), "right") - 1
        for i, row in enumerate(rows.tolist()):
            mine = history.setdefault(row, [])
            for place in range(starts[i], starts[i + 1]):
                whole = len(mine) // size
                each = [sum(mine[k * size : (k + 1) * size]) for k in range(whole)][-blocks:]
                assert past[at[place]].tolist() == [0] * (blocks - len(each)) + each
                assert known[at[place]] == len(each)
                mine.append(int(values[place]))
        if resumed:
            sums = BlockSums(size, blocks, sums.snapshot())
