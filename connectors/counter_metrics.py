"""The flows' counters as metrics, under the same names from a flow's process and from the store."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, Metric

#: Counters that are told of as 0 before anything was counted, so that an alert on them can be written.
_ALWAYS = {
    "records": "Records that were read.",
    "late_records": "Records that came after their window had closed; they are in no bar.",
    "dead_letters": "Messages that could not be read, and went to the dead letters.",
}


def counter_metrics(
    rows: Iterable[tuple[str, str, str, int]], flows: Iterable[tuple[str, str]] = ()
) -> Iterator[Metric]:
    """Yield one counter per name, summed over partitions, by flow and source.

    Parameters
    ----------
    rows
        Name, flow, source and value of each partition's counters.
    flows
        Flows and sources that are told of although nothing may have been counted of them.

    Examples
    --------
    >>> for metric in counter_metrics([("records", "market", "", 2)] * 2):
    ...     print(metric.name, metric.samples[0].value)
    tapewatch_dead_letters 0
    tapewatch_late_records 0
    tapewatch_records 4
    """
    sums: dict[str, dict[tuple[str, str], int]] = {name: {} for name in _ALWAYS}
    known = set(flows)
    for name, flow, source, value in rows:
        by_flow = sums.setdefault(name, {})
        by_flow[flow, source] = by_flow.get((flow, source), 0) + value
        known.add((flow, source))
    for name, by_flow in sorted(sums.items()):
        words = name.replace("_", " ")
        family = CounterMetricFamily(
            f"tapewatch_{re.sub(r'[^a-zA-Z0-9_]', '_', name)}",
            _ALWAYS.get(name, f"What the flows counted as {words}."),
            labels=["flow", "source"],
        )
        for labels in sorted(known if name in _ALWAYS else by_flow):
            family.add_metric(list(labels), by_flow.get(labels, 0))
        yield family
