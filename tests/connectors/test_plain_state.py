"""A state comes back as it was, through JSON, and nothing else is taken for one."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.plain_state import plain, restored
from tapewatch.records import TRADE

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
)
_KEYS = st.integers(0, 99) | st.text(max_size=5)
_STATES = st.recursive(
    _LEAVES, lambda s: st.tuples(s, s) | st.dictionaries(_KEYS, s, max_size=3), max_leaves=10
)


@given(state=_STATES)
def test_a_state_comes_back_through_json(state: Any) -> None:
    assert restored(orjson.loads(orjson.dumps(plain(state)))) == state


@given(values=st.lists(st.integers(0, 255)), dtype=st.sampled_from(["uint8", "int64", "uint64", "float64"]))
def test_arrays_come_back_bit_for_bit_and_may_be_written_to(values: list[int], dtype: str) -> None:
    array = np.array(values, dtype).reshape(-1, 1)
    again = restored(orjson.loads(orjson.dumps(plain({"a": array}))))["a"]
    assert (again.dtype, again.shape, again.tobytes()) == (array.dtype, array.shape, array.tobytes())
    again[:] = 1


@pytest.mark.parametrize("state", [{1, 2}, object(), np.zeros(2, TRADE), {"a": [b"bytes"]}])
def test_what_is_no_state_is_refused(state: Any) -> None:
    with pytest.raises(TypeError, match="in a state"):
        plain(state)


@pytest.mark.parametrize(
    "written",
    [
        ["pickle", "x"],
        ["array", "object", [1], base64.b64encode(zlib.compress(b"x" * 8)).decode()],
        ["array", "int64", [3], base64.b64encode(zlib.compress(b"x" * 8)).decode()],
    ],
)
def test_what_was_not_written_so_is_refused(written: Any) -> None:
    with pytest.raises(ValueError, match=r"in a state|reshape"):
        restored(written)
