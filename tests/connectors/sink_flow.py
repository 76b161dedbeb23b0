"""A dataflow that only writes, to try sinks in."""

from __future__ import annotations

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.outputs import FixedPartitionedSink
from bytewax.testing import TestingSource

from tapewatch.documents import Results


def flow_of(
    items: list[tuple[str, Results]], sink: FixedPartitionedSink[Results, None], batch: int = 3
) -> Dataflow:
    """Return a flow that writes items, some at a time, to a sink."""
    flow = Dataflow("results")
    op.output("out", op.input("in", flow, TestingSource(items, batch)), sink)
    return flow
