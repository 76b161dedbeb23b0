"""Late records as rows: what an encoding cannot tell is unknown, not zero."""

from __future__ import annotations

import numpy as np
import pytest

from tapewatch.documents import LateTable, to_json
from tapewatch.late_rows import LATE_FIELDS, late_rows
from tapewatch.records import OHLCV, SECOND, TRADE, UNDEF_TIME


@pytest.mark.parametrize("received", [0, UNDEF_TIME, 9])
def test_trades(received: int) -> None:
    records = np.zeros(1, TRADE)
    records["instrument_id"], records["publisher_id"], records["ts_event"] = 7, 95, 8
    records["ts_recv"], records["price"], records["size"], records["side"] = received, 1_500_000_000, 3, b"A"
    records["sequence"] = 2**32 - 1
    (row,) = late_rows(LateTable(["SPY"], records, np.array([60 * SECOND]), np.array([1])), "XNAS.ITCH")
    known = 9 if received == 9 else None
    assert row == ("SPY", 7, "XNAS.ITCH", 60 * SECOND, 1, 95, 8, known, 1.5, 3, "A", 2**32 - 1)
    document = to_json(LATE_FIELDS, row)
    assert document["ts_clock"] == "1970-01-01T00:01:00.000000000Z"
    assert document["@timestamp"] == "1970-01-01T00:00:00.000000008Z"
    assert document["ts_recv"] == ("1970-01-01T00:00:00.000000009Z" if known else None)


def test_bars() -> None:
    records = np.zeros(1, OHLCV)
    records["ts_event"], records["close"], records["volume"] = 8, 2_000_000_000, 2**40
    (row,) = late_rows(LateTable(["SPY"], records, np.array([9]), np.array([0])), "")
    assert row == ("SPY", 0, "", 9, 0, 0, 8, None, 2.0, 2**40, None, None)
