"""The market flow: a tape in, bars and explained anomalies out.

``python -m bytewax.run flows.market:flow``
"""

from __future__ import annotations

from bytewax.dataflow import Dataflow
from bytewax.inputs import Source

from connectors.files import FilesSource
from flows.configured import configured
from flows.metrics import metrics_of, timed
from flows.sinks import sinks_of
from operators.dataflow import judge, shard, source, store, windowed_bars
from operators.detectors import detectors
from operators.judge import JudgeSettings
from tapewatch.cluster import shards_of_run
from tapewatch.log import log
from tapewatch.records import Tape
from tapewatch.settings import WIDTHS, Settings


def market(settings: Settings) -> Dataflow:
    """Return the market flow as the settings describe it."""
    judging = JudgeSettings(
        detectors=detectors(settings.detectors),
        budget=settings.alerts.per_key_per_day,
        lateness_ns=settings.windows.lateness_ns,
        stored=tuple(settings.sinks.bars),
        keep_scores=settings.sinks.scores,
        flow="market",
        source=settings.source.name,
    )
    parts = settings.shards
    number = shards_of_run(parts)
    live = settings.source.kind in ("kafka", "live")
    metrics = metrics_of(settings, "market", settings.source.name, number, live=live)
    sinks = sinks_of(settings, settings.source.name, number, metrics)
    origin = _origin(settings, judging, slots=number * len(sinks))

    flow = Dataflow("market")
    tape = source("tape", flow, timed(origin, metrics))
    shards = shard("shards", tape, number)
    bars = windowed_bars("bars", shards, judging.widths, judging.lateness_ns, parts)
    judged = judge("judge", bars, judging)
    store("results", judged, sinks)
    return flow


def _origin(settings: Settings, judging: JudgeSettings, slots: int) -> Source[Tape]:
    """Return the source of the settings; what is wrong with it is told now."""
    if settings.source.kind == "kafka":
        from connectors.kafka import KafkaSource  # whose libraries not everybody has

        return KafkaSource(settings.kafka, settings.source, slots)
    if settings.source.kind == "live":
        from connectors.databento_live import LiveSource  # whose library not everybody has

        live = LiveSource(settings.live, settings.source.batch_records, slots)
        _warn_of_unseen_widths(settings.live.dataset, live.width_ns, judging)
        return live
    files = FilesSource(settings.source, slots)
    for chain in files.chains:
        _warn_of_unseen_widths(chain.name, chain.width_ns, judging)
    return files


def _warn_of_unseen_widths(name: str, width_ns: int, judging: JudgeSettings) -> None:
    unseen = [width for width in judging.widths if WIDTHS[width] < width_ns]
    if unseen:
        log.warning("%s holds coarser bars than %s; there will be none of those", name, ", ".join(unseen))


flow = configured(market)
