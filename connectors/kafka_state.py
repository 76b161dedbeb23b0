"""What of a partition of a topic is in the recovery store."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tapewatch.records import OHLCV, TRADE, Array, Kind

VERSION = 2


@dataclass(slots=True)
class DatasetState:
    """What is known of one dataset of a partition: its clock, the latest event time seen, totals."""

    kind: Kind = "trades"
    width_ns: int = 0
    clock: int = 0
    seen: int = 0
    counters: dict[str, int] = field(default_factory=dict)

    def count(self, counts: dict[str, int]) -> None:
        """Add to the totals."""
        for name, number in counts.items():
            self.counters[name] = self.counters.get(name, 0) + number


@dataclass(slots=True)
class PartitionState:
    """The next offset, how many partitions there were last and at first, and its datasets by name."""

    offset: int
    partitions: int
    first: int
    datasets: dict[str, DatasetState] = field(default_factory=dict)

    def dump(self) -> dict[str, Any]:
        """Return what is stored; nothing in it changes later."""
        datasets = {
            name: (known.kind, known.width_ns, known.clock, known.seen, dict(known.counters))
            for name, known in self.datasets.items()
        }
        return {
            "version": VERSION,
            "offset": self.offset,
            "partitions": self.partitions,
            "first": self.first,
            "datasets": datasets,
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> PartitionState:
        """Return what was stored."""
        datasets = {
            name: DatasetState(kind, width_ns, clock, seen, dict(counters))
            for name, (kind, width_ns, clock, seen, counters) in saved["datasets"].items()
        }
        return cls(saved["offset"], saved["partitions"], saved["first"], datasets)


def nothing(known: DatasetState) -> Array:
    """Return no records of the dataset's kind."""
    return np.empty(0, TRADE if known.kind == "trades" else OHLCV)
