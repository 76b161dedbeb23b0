"""A Kafka topic as a Bytewax source: each of its partitions is one of the source, its offset recovery state.

A partition holds tapes of one or more datasets; each is handed on as a tape of its own, in the order of the
partition, and is judged as a file of the same records would be.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from connectors.kafka_intake import take_in
from connectors.kafka_partition import KafkaPartition, TopicSource
from connectors.kafka_parts import Rejected
from connectors.kafka_received import Received
from connectors.kafka_state import DatasetState, PartitionState, nothing
from tapewatch.records import LATEST, Array, Home, Tape
from tapewatch.settings import KafkaSettings, SourceSettings
from tapewatch.symbology import Symbols

#: Datasets of a partition: each is judged apart.
_MOST_DATASETS = 256
_SYMBOLS = Symbols()


class TapePartition(KafkaPartition[Tape]):
    """Reads one partition of records."""

    def _tapes(self, received: Received) -> list[Tape]:
        forms = self._decoder.forms(received.headers)
        parts, rejected = self._decoder.decode(received.values, forms)
        total = 0
        tapes = []
        for dataset, part in parts.items():
            total += len(part.records)
            if dataset.name not in self._state.datasets and len(self._state.datasets) >= _MOST_DATASETS:
                error = f"this partition has {_MOST_DATASETS} datasets already"
                rejected += [Rejected(place, error) for place in np.unique(part.places).tolist()]
                continue
            known = self._state.datasets.setdefault(
                dataset.name, DatasetState(dataset.kind, dataset.width_ns)
            )
            if not known.seen and not known.counters.get("records"):
                known.kind, known.width_ns = dataset.kind, dataset.width_ns
            if (known.kind, known.width_ns) != (dataset.kind, dataset.width_ns):
                error = f"{dataset.name or 'this partition'} has come in another schema before"
                rejected += [Rejected(place, error) for place in np.unique(part.places).tolist()]
                continue
            fit = take_in(part, dataset, known, forms, self._decoder.names)
            if fit.unfit is not None:
                letters = self._dead.send_unfit(received, part, fit.unfit)
                known.count({"dead_letters": letters})
            tape = self._tape(dataset.name, known, fit.records, fit.times, fit.codes)
            tapes.append(replace(tape, gaps=fit.gaps, unfit=fit.left_out))
        if rejected:
            for each in rejected:
                self._dead.send(received.letter(each.place), each.error)
            known = self._state.datasets.setdefault("", DatasetState())
            known.count({"dead_letters": len(rejected)})
            tapes.append(self._tape("", known, nothing(known), np.empty(0, np.int64), None))
        self._per_message = max(total, 1) / len(received)
        self._state.offset = received.offsets[-1] + 1
        return tapes

    def _overtaken(self) -> list[Tape]:
        """Return a tape without records for each dataset whose clock can go on to what was seen last."""
        tapes = []
        for name, known in self._state.datasets.items():
            if known.clock < known.seen:
                known.clock = known.seen
                tapes.append(self._tape(name, known, nothing(known), np.empty(0, np.int64), None))
        return tapes

    def _tape(
        self, dataset: str, known: DatasetState, records: Array, times: Array, codes: Array | None
    ) -> Tape:
        name = f"{self._settings.topic}/{self._number}"
        account = self._account(dataset)
        tape = Tape(
            partition=f"{name}/{dataset}" if dataset else name,
            seq=account.seq,
            kind=known.kind,
            dataset=dataset,
            records=records,
            times=times,
            symbols=_SYMBOLS,
            clock=min(known.clock, LATEST),
            codes=codes,
            names=() if codes is None else self._decoder.names,
            width_ns=known.width_ns,
            counters=dict(known.counters),
            credit=account.credit.path,
            home=Home(self._number, self._state.first),
        )
        account.seq += 1
        return tape


class KafkaSource(TopicSource[Tape]):
    """All partitions of ``kafka.topic``.

    Parameters
    ----------
    settings
        The section ``kafka``.
    source
        The section ``source``.
    slots
        How many consumers acknowledge each batch.

    Raises
    ------
    UserError
        If no broker answers or lets us in, or there is no such topic.
    """

    def __init__(self, settings: KafkaSettings, source: SourceSettings, slots: int) -> None:
        super().__init__(settings)
        self._batch, self._slots = source.batch_records, slots

    def _partition(self, number: int, state: PartitionState, resume: dict[str, Any] | None) -> TapePartition:
        return TapePartition(self._settings, number, self._batch, self._slots, state)
