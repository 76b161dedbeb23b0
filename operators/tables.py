"""What of a shard's bars and late records leaves the program, with keys in place of rows."""

from __future__ import annotations

import numpy as np

from operators.bars import BarBatch
from tapewatch.documents import BarTable, LateTable
from tapewatch.settings import WIDTHS, Width


def bar_tables(batch: BarBatch, width: Width) -> list[BarTable]:
    """Return the windows of a width that were closed, and those that were shown early."""
    parts = []
    closed, shown = batch.closed.get(width), batch.open.get(width)
    if closed is not None and len(closed):
        parts.append((closed, np.ones(len(closed), bool)))
    if shown is not None and len(shown.bars):
        parts.append((shown.bars, shown.final))
    return [
        BarTable(width, WIDTHS[width], [batch.names[row] for row in bars["row"].tolist()], bars, final)
        for bars, final in parts
    ]


def late_table(batch: BarBatch) -> LateTable | None:
    """Return the late records of a batch, None if there are none."""
    late = batch.late
    if late is None:
        return None
    keys = [batch.names[row] for row in late.rows.tolist()]
    return LateTable(keys, late.records, late.clocks, late.ordinals)
