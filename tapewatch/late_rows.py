"""Late records as rows and documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tapewatch.documents import LateTable, decimals
from tapewatch.records import TRADE, UNDEF_TIME, Array

#: ``ts_clock`` is the instrument's clock when a record came, ``ordinal`` its place among those of then.
LATE_FIELDS = (
    "key", "instrument_id", "dataset", "ts_clock", "ordinal", "publisher_id", "ts_event", "ts_recv", "price",
    "size", "side", "sequence",
)  # fmt: skip


def late_rows(table: LateTable, dataset: str) -> Iterator[tuple[Any, ...]]:
    """Yield one tuple per record in the order of `LATE_FIELDS`; prices as decimals, what is unknown as None.

    Of bars the price is the close and the size the volume.
    """
    records = table.records
    nothing = [None] * len(records)
    trades = records.dtype == TRADE
    return zip(
        table.keys,
        records["instrument_id"].tolist(),
        [dataset] * len(records),
        table.clocks.tolist(),
        table.ordinals.tolist(),
        records["publisher_id"].tolist(),
        records["ts_event"].tolist(),
        _received(records) if trades else nothing,
        decimals(records["price" if trades else "close"]),
        records["size" if trades else "volume"].tolist(),
        [side.decode("latin-1") for side in records["side"].tolist()] if trades else nothing,
        records["sequence"].tolist() if trades else nothing,
        strict=True,
    )


def _received(records: Array) -> list[int | None]:
    return [time if 0 < time < UNDEF_TIME else None for time in records["ts_recv"].tolist()]
