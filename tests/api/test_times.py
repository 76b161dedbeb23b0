"""Times in requests: exact to the nanosecond, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.times import parse
from tapewatch.documents import rfc3339
from tapewatch.records import DAY, HOUR, MINUTE, SECOND

FIRST, LAST = parse("1678-01-01"), parse("2261-12-31T23:59:59.999999999Z")


@given(st.integers(FIRST, LAST))
def test_what_is_told_can_be_asked_for(ns: int) -> None:
    assert parse(rfc3339(ns)) == ns


@given(st.integers(0, LAST), st.integers(-14 * 60, 14 * 60))
def test_zones(ns: int, minutes: int) -> None:
    ns -= abs(minutes) * MINUTE
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    local = rfc3339(ns + minutes * MINUTE).removesuffix("Z")
    assert parse(f"{local}{sign}{hours:02d}:{rest:02d}") == ns
    # As it arrives when nobody escaped the plus.
    assert parse(f"{local}{sign.replace('+', ' ')}{hours:02d}:{rest:02d}") == ns


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-02", DAY),
        ("1970-01-01T01:00", HOUR),
        ("1970-01-01 01:00:01", HOUR + SECOND),
        ("1970-01-01t00:00:00.5z", SECOND // 2),
        ("1969-12-31T23:59:59.999999999", -1),
    ],
)
def test_without_a_zone_it_is_utc(text: str, ns: int) -> None:
    assert parse(text) == ns


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", "1970-13-01", "1970-02-30", "1970-01-01T24:00", "1970-01-01T00:00:60", "1677-12-31",
        "2262-01-01", "0001-01-01T00:00+14:00", "9999-12-31T23:59:59-14:00", "1970-01-01T00:00:00.1234567891Z",
        "1970-01-01T00:00+24:00", "٢٠٢٤-01-01", "1717430340", 1717430340, None, True, ["1970-01-01"],
    ],
)  # fmt: skip
def test_what_is_no_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be a time such as 2024-06-03T14:30:00Z"):
        parse(text)
