"""What a user would reach for instead, doing the same work: bars, a volume rule and a size rule."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_LIMIT, _BLOCK = 20_000, 50_000


def to_ndarray(path: Path) -> int:
    """Only decode: the fastest that the tape can be read."""
    import databento

    return len(databento.DBNStore.from_file(path).to_ndarray())


def pandas_rule(path: Path) -> int:
    """Decode to a frame, resample to minutes by symbol, flag volumes and sizes over fixed limits."""
    import databento

    frame = databento.DBNStore.from_file(path).to_df()
    grouped = frame.groupby("symbol").resample("1min")
    bars = grouped["price"].ohlc()
    bars["volume"] = grouped["size"].sum()
    return int((bars["volume"] > _LIMIT).sum()) + int((frame["size"] > _BLOCK).sum())


def bytewax_windows(path: Path, most: int) -> int:
    """Bytewax's own window operators on records: tumbling minutes by symbol, fixed limits."""
    import bytewax.operators as op
    import bytewax.operators.windowing as win
    import databento
    from bytewax.dataflow import Dataflow
    from bytewax.testing import TestingSink, TestingSource, run_main

    align = datetime(2000, 1, 1, tzinfo=UTC)

    def records() -> Iterator[tuple[str, tuple[datetime, int]]]:
        tape: Any = databento.DBNStore.from_file(path)
        for number, record in enumerate(tape):
            if number == most:
                return
            moment = datetime.fromtimestamp(record.ts_recv / 1e9, UTC)
            yield str(record.instrument_id), (moment, record.size)

    found: list[Any] = []
    flow = Dataflow("windows")
    tape: Any = op.input("tape", flow, TestingSource(_Once(records()), batch_size=1000))
    clock: Any = win.EventClock(ts_getter=lambda item: item[0], wait_for_system_duration=timedelta(0))
    windower = win.TumblingWindower(length=timedelta(minutes=1), align_to=align)
    volumes = win.fold_window(
        "volume", tape, clock, windower, lambda: 0, lambda total, item: total + item[1], lambda a, b: a + b
    )
    alarms = op.filter("over", volumes.down, lambda item: item[1][1] > _LIMIT)
    blocks = op.filter("large", tape, lambda item: item[1][1] > _BLOCK)
    op.output("alarms", alarms, TestingSink(found))
    op.output("told", blocks, TestingSink(found))
    run: Any = run_main
    run(flow)
    return most


class _Once(Iterable[Any]):
    def __init__(self, items: Iterator[Any]) -> None:
        self._items = items

    def __iter__(self) -> Iterator[Any]:
        return self._items
