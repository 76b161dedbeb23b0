"""The metrics of a flow's process, where ``metrics.port`` asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tapewatch.documents import Results
from tapewatch.settings import Settings

if TYPE_CHECKING:
    from connectors.flow_metrics import FlowMetrics


def metrics_of(
    settings: Settings, flow: str, source: str, consumers: int, *, live: bool
) -> FlowMetrics | None:
    """Return the metrics of a flow, which are served from now on; None if nobody asks for them.

    Parameters
    ----------
    settings
        All of them.
    flow, source
        Names of the flow and of its stream.
    consumers
        How many `Results` acknowledge each batch.
    live
        Whether the tape's times are those of the clock on the wall.

    Raises
    ------
    UserError
        If the address cannot be listened on, or would be open to others without a token.
    """
    if not settings.metrics.port:
        return None
    # What a run without metrics should not have to read.
    from prometheus_client import REGISTRY, disable_created_metrics

    from connectors.flow_metrics import FlowMetrics
    from connectors.metrics_server import serve

    disable_created_metrics()  # type: ignore[no-untyped-call]
    metrics = FlowMetrics(REGISTRY, flow, source, consumers, live=live)
    serve(settings.metrics, REGISTRY)
    return metrics


def counted(acknowledge: Callable[[Results], None], metrics: FlowMetrics | None) -> Callable[[Results], None]:
    """Return what acknowledges results, and counts them if there are metrics."""
    if metrics is None:
        return acknowledge

    def both(results: Results) -> None:
        acknowledge(results)
        metrics.acknowledged(results)

    return both


def timed(source: Any, metrics: FlowMetrics | None) -> Any:  # noqa: ANN401 - whatever the flow reads
    """Return a source of which the batches are timed if there are metrics."""
    if metrics is None:
        return source
    from connectors.timed_source import TimedSource

    return TimedSource(source, metrics.handed, metrics.resumed)


def first_store(settings: Settings) -> str:
    """Return the sink whose acknowledgements are counted: the first that is a store, else the first."""
    return next(iter([*settings.sinks.stores, *settings.sinks.kinds]), "")
