"""Records in another order are like an array of them."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.ordered import Ordered
from tapewatch.records import TRADE


def _trades(count: int, stride: int) -> np.ndarray:
    records = np.zeros(count * stride, TRADE)
    for name in ("price", "size", "ts_event"):
        records[name] = np.arange(len(records))
    records["side"] = np.array([b"A", b"B", b"N"])[np.arange(len(records)) % 3]
    return records[::stride]


@given(st.data(), st.integers(1, 30), st.sampled_from([1, 2]))
def test_it_reads_like_the_array_in_that_order(data: st.DataObject, count: int, stride: int) -> None:
    records = _trades(count, stride)
    order = np.array(data.draw(st.permutations(range(count))), np.intp)
    first, last = sorted(data.draw(st.tuples(st.integers(0, count), st.integers(0, count))))
    seen, expected = Ordered(records, order)[first:last], records[order][first:last]

    assert len(seen) == len(expected)
    assert seen.dtype == expected.dtype
    for name in ("price", "side", "size"):
        assert seen[name].flags.c_contiguous
        np.testing.assert_array_equal(seen[name], expected[name])
    np.testing.assert_array_equal(np.asarray(seen), expected)
    mask = expected["size"] % 2 == 0
    np.testing.assert_array_equal(seen[mask], expected[mask])
    np.testing.assert_array_equal(np.asarray(pickle.loads(pickle.dumps(seen))), expected)
    if len(expected):
        assert seen[0] == expected[0]


def test_a_part_of_a_batch_travels_without_the_rest() -> None:
    whole = Ordered(_trades(10_000, 1), np.arange(10_000))
    assert len(pickle.dumps(whole[:10])) < 2_000


def test_an_index_outside_a_part_is_an_error() -> None:
    part = Ordered(_trades(10, 1), np.arange(10))[2:4]
    with pytest.raises(IndexError):
        part[2]
