"""The sinks that the settings name, as every flow writes to them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.sqlite_sink import SqliteSink
from flows.metrics import counted, first_store
from tapewatch import stopping
from tapewatch.credit import acknowledge
from tapewatch.documents import Results
from tapewatch.errors import UserError
from tapewatch.progress import count_anomalies
from tapewatch.settings import Settings

if TYPE_CHECKING:
    from connectors.flow_metrics import FlowMetrics


def sinks_of(
    settings: Settings,
    source: str,
    shards: int,
    metrics: FlowMetrics | None = None,
    *,
    profiles: bool = False,
) -> dict[str, Any]:
    """Return the sinks of the settings; each acknowledges in ``shards`` slots of its own.

    Parameters
    ----------
    settings
        All of them.
    source
        Name of the stream.
    shards
        Consumers of each batch.
    metrics
        What the first store acknowledges is counted here, if anywhere.
    profiles
        Whether the flow makes profiles of users.

    Raises
    ------
    UserError
        If there is none, or one cannot be written.
    """
    sinks: dict[str, Any] = {}
    for number, kind in enumerate(dict.fromkeys(settings.sinks.kinds)):
        done: Callable[[Results], None] = partial(_acknowledge, number * shards)
        if kind == first_store(settings):
            done = counted(done, metrics)
        if kind == "sqlite":
            path = Path(settings.sinks.sqlite.path)
            sinks[kind] = SqliteSink(path, done, count_anomalies, source)
        elif kind == "elasticsearch":
            from connectors.elasticsearch_sink import ElasticsearchSink

            server = settings.sinks.elasticsearch
            sinks[kind] = ElasticsearchSink(server, done, count_anomalies, source)
        elif kind == "kafka":
            from connectors.kafka_sink import KafkaSink

            told = settings.sinks.kafka
            sinks[kind] = KafkaSink(
                settings.kafka, told.topic, shards, done, source, told.profiles_topic if profiles else ""
            )
        elif kind == "notify":
            from connectors.notify import NotifySink

            sinks[kind] = NotifySink(settings.sinks.notify, done)
        else:
            from connectors.stdout import (
                StdoutSink,
            )  # not needed for the default, which starts sooner without

            sinks[kind] = StdoutSink(done, closed=stopping.stop)
    if not sinks:
        raise UserError(
            "`sinks.kinds` is empty; name at least one of sqlite, elasticsearch, kafka, stdout, notify"
        )
    return sinks


def _acknowledge(first_slot: int, results: Results) -> None:
    acknowledge(results.credit, first_slot + results.shard, results.seq)
