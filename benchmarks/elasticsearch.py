"""Documents a second into Elasticsearch: our sink's writer beside the client's ``helpers.bulk``.

``python -m benchmarks.elasticsearch [URL]``: in turn, on one server, the same documents, the same mappings.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import orjson

from connectors.elasticsearch_bulk import BulkWriter
from connectors.elasticsearch_client import check_server, connect
from connectors.elasticsearch_documents import merged
from connectors.elasticsearch_schema import create
from connectors.elasticsearch_upkeep import wipe
from connectors.sqlite_early import Leftovers
from tapewatch.documents import BAR, Anomaly, BarTable, Results, anomaly_id
from tapewatch.records import DAY, MINUTE, SECOND
from tapewatch.settings_elasticsearch import ElasticsearchSettings

_RUNS = 7
_SYMBOLS, _BARS, _ANOMALIES = 20, 2_500, 250
_MONDAY = 19_877 * DAY


def results(run: int) -> list[Results]:
    """Return the results of a day: bars and anomalies, others in each run."""
    rng = np.random.default_rng(run)
    found = []
    for symbol in range(_SYMBOLS):
        key = f"R{run}S{symbol:03d}"
        bars = np.zeros(_BARS, BAR)
        bars["instrument_id"] = symbol
        bars["ts_start"] = _MONDAY + np.arange(_BARS) * 10 * SECOND
        for name in ("open", "high", "low", "close"):
            bars[name] = rng.integers(90, 110, _BARS) * SECOND
        for name in ("volume", "trades", "buy_volume", "sell_volume", "max_size"):
            bars[name] = rng.integers(1, 10_000, _BARS)
        bars["notional_high"], bars["detailed"] = rng.integers(1, 1000, _BARS), True
        table = BarTable("10s", 10 * SECOND, [key] * _BARS, bars, np.ones(_BARS, bool))
        anomalies = [_anomaly(key, symbol, _MONDAY + n * MINUTE) for n in range(_ANOMALIES)]
        found.append(Results("day", symbol % 4, "XSIM.TAPE", "market", [table], anomalies))
    return found


def _anomaly(key: str, symbol: int, ts: int) -> Anomaly:
    name = anomaly_id("market", "", "high_volume", key, symbol, ts)
    return Anomaly(
        name, name, 1, "market", "high_volume", "XSIM.TAPE", 95, symbol, key, key, ts + MINUTE, ts,
        ts + MINUTE, 61.5, 6.5, 4.0, 90_000.0, 10_000.0,
        "Volume of 90,000 in a minute, 9 times what is usual.",
        {"trades": 0.75, "average_size": 0.25}, _MONDAY,
    )  # fmt: skip


def _ours(client: Any, settings: ElasticsearchSettings, batches: Sequence[Results]) -> int:  # noqa: ANN401
    writer = BulkWriter(client, settings)
    for first in range(0, len(batches), 4):
        writer.write(batches[first : first + 4])
    return sum(_BARS + _ANOMALIES for _ in batches)


def _actions(settings: ElasticsearchSettings, batches: Sequence[Results]) -> Iterator[dict[str, Any]]:
    """Yield the same documents as a person would hand them to the client's helper: dicts and ids."""
    for operation in merged(batches, settings.index_prefix, "", 0, Leftovers([])).operations.values():
        yield {"_index": operation.target, "_id": operation.id, "_source": orjson.loads(operation.body)}


def main() -> int:
    """Measure and print the table."""
    from elasticsearch.helpers import bulk

    settings = ElasticsearchSettings(
        url=sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:9200", index_prefix="tapewatch-benchmark"
    )
    client = connect(settings)
    print(f"Elasticsearch {check_server(client, settings)}; medians of {_RUNS} runs, in turn")
    seconds: dict[str, list[float]] = {"ours": [], "helpers.bulk": []}
    rates: dict[str, list[float]] = {"ours": [], "helpers.bulk": []}
    for run in range(_RUNS + 1):
        for name in seconds if run % 2 else reversed(seconds):
            wipe(settings)
            create(client, settings)
            batches = results(run)
            actions = list(_actions(settings, batches)) if name != "ours" else []
            begun, cpu = time.perf_counter(), time.process_time()
            if name == "ours":
                number = _ours(client, settings, batches)
            else:
                number, _ = bulk(client, actions, chunk_size=500)
            took, busy = time.perf_counter() - begun, time.process_time() - cpu
            client.indices.refresh(index=f"{settings.index_prefix}-*")
            stored = sum(
                client.count(index=f"{settings.index_prefix}-{k}")["count"] for k in ("bars", "anomalies")
            )
            if stored != number:
                msg = f"{name} wrote {stored} of {number} documents"
                raise RuntimeError(msg)
            if run:
                seconds[name].append(busy / number * 1e6)
                rates[name].append(number / took)
    wipe(settings)
    client.indices.delete_index_template(name=f"{settings.index_prefix}-*")
    client.close()
    print("| writer | documents/s | own CPU, µs a document |\n|---|---|---|")
    for name, found in rates.items():
        print(f"| {name} | {statistics.median(found):,.0f} | {statistics.median(seconds[name]):.1f} |")
    ratio = statistics.median(rates["ours"]) / statistics.median(rates["helpers.bulk"])
    print(f"\nratio {ratio:.2f} (goal: at least 0.90)")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
