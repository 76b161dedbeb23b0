"""The market flow over Kafka beside files, Quix Streams and itself: ``python -m benchmarks.kafka``."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import kafka_latency
from benchmarks.kafka_broker import broker, create, publish
from connectors.dbn_writer import write_dbn
from connectors.market_simulator import MarketSimulation, simulate
from tapewatch.records import DAY, Array

_FLOW = [sys.executable, "-m", "bytewax.run", "flows.market:flow"]
_RUNS = 3
_JSON = 1_000_000
#: Of the tape on four partitions.
_SYMBOLS = 200
_PATIENCE_SECONDS = 600


def main() -> int:
    """Measure and print the tables."""
    with tempfile.TemporaryDirectory() as name, broker(Path(name)) as address:
        if address is None:
            print(
                "no broker to measure against: set BENCH_KAFKA, or TAPEWATCH_TEST_DATA beside services/kafka"
            )
            return 0
        bench(Path(name), address)
    return 0


def bench(folder: Path, address: str) -> None:
    """Measure with a broker at hand."""
    session = simulate(MarketSimulation(symbols=20, trades_per_minute=128.0))
    large = _days(session.records, 10)
    small = large[:_JSON]
    tape = folder / "10M.dbn.zst"
    write_dbn(tape, large, session.symbols)
    # Of more symbols: a few fall on four partitions and two processes by luck.
    many = simulate(MarketSimulation(symbols=_SYMBOLS, trades_per_minute=20 * 128.0 / _SYMBOLS))
    wide = _days(many.records, 3)
    for topic, partitions, records, symbols, encoding in (
        ("dbn-1", 1, large, session.symbols, "dbn"), ("dbn-small", 1, small, session.symbols, "dbn"),
        ("json-1", 1, small, session.symbols, "json"),
        ("dbn-4", 4, wide, many.symbols, "dbn"), ("json-4", 4, wide[:_JSON], many.symbols, "json"),
    ):  # fmt: skip
        publish(address, topic, partitions, records, symbols, encoding)  # type: ignore[arg-type]
    count = len(large)
    print(f"{count:,} trades as DBN, {_JSON:,} as JSON; medians of {_RUNS} runs, first result to last\n")
    print("| what | records/s | against | records/s | ratio | goal |\n|---|---|---|---|---|---|")
    rates: dict[str, list[float]] = {}
    cores = (sorted(os.sched_getaffinity(0)) * 2)[:2]
    for _ in range(_RUNS):
        for key, rate in (
            ("file", _rate(folder, count, {"SOURCE__PATHS": f'["{tape}"]'})),
            ("dbn-1", _rate(folder, count, _topic(address, "dbn-1"))),
            ("json-1", _rate(folder, _JSON, _topic(address, "json-1"))),
            ("quix", _quix(address, "json-1", _JSON)),
            ("json-4", _rate(folder, _JSON, _topic(address, "json-4"), cores=cores[:1])),
            ("json-4 by two", _rate(folder, _JSON, _topic(address, "json-4"), cores=cores)),
            ("dbn-4", _rate(folder, len(wide), _topic(address, "dbn-4"), cores=cores[:1])),
            ("dbn-4 by two", _rate(folder, len(wide), _topic(address, "dbn-4"), cores=cores)),
        ):
            rates.setdefault(key, []).append(rate)
    median = {key: statistics.median(values) for key, values in rates.items()}
    for what, key, other, against, goal in (
        ("DBN messages to SQLite", "dbn-1", "the same tape as a file", "file", "0.6"),
        ("JSON messages to SQLite", "json-1", "Quix Streams, one message at a time", "quix", "2"),
        ("JSON, two processes on four partitions", "json-4 by two", "one process", "json-4", "1.6"),
        ("DBN, two processes on four partitions", "dbn-4 by two", "one process", "dbn-4", "1.6"),
    ):
        rate, its = median[key], median[against]
        print(f"| {what} | {rate:,.0f} | {other} | {its:,.0f} | {rate / its:.2f} | {goal} |")
    print(
        f"\nOne process or two: each has one core of its own, with its threads; {_SYMBOLS} symbols. "
        f"This machine has {os.cpu_count()} cores, of which the broker uses some too."
    )
    sys.stdout.flush()
    _latency(folder, address)
    _memory(folder, address, count)


def _days(records: Array, days: int) -> Array:
    parts = []
    for day in range(days):
        part = records.copy()
        for name in ("ts_event", "ts_recv"):
            part[name] += np.uint64(day * DAY)
        parts.append(part)
    return np.concatenate(parts)


def _topic(address: str, topic: str, **more: str) -> dict[str, str]:
    return {"SOURCE__KIND": "kafka", "KAFKA__BROKERS": address, "KAFKA__TOPIC": topic, **more}


def _start(
    folder: Path, settings: dict[str, str], processes: int = 1, workers: int = 1, cores: Sequence[int] = ()
) -> list[subprocess.Popen[str]]:
    """Start a flow; with ``cores`` there is a process for each, and it runs on that core only."""
    for found in folder.glob("bench.db*"):
        found.unlink()
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
    env = {**kept, "TAPEWATCH_SINKS__SQLITE__PATH": str(folder / "bench.db")}
    env |= {f"TAPEWATCH_{name}": value for name, value in settings.items()}
    extra: list[list[str]] = [["-w", str(workers)]]
    processes = len(cores) or processes
    if processes > 1:
        addresses = ";".join(f"127.0.0.1:{_free_port()}" for _ in range(processes))
        extra = [["-i", str(number), "-a", addresses] for number in range(processes)]
    watched = (
        "import os, resource, signal, subprocess, sys\n"
        "if sys.argv[1]:\n"
        "    os.sched_setaffinity(0, {int(sys.argv[1])})\n"
        "flow = subprocess.Popen(sys.argv[2:])\n"
        "signal.signal(signal.SIGTERM, lambda *_: flow.terminate())\n"
        "status = flow.wait()\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        "sys.exit(status)"
    )
    return [
        subprocess.Popen(
            [sys.executable, "-c", watched, core, *_FLOW, *more], env=env, stdout=subprocess.PIPE, text=True
        )
        for core, more in zip([str(core) for core in cores] or [""] * len(extra), extra, strict=True)
    ]


def _stop(running: list[subprocess.Popen[str]]) -> float:
    """End processes gracefully; return the largest resident set of any, MiB."""
    peaks = []
    for process in running:
        process.send_signal(signal.SIGTERM)
    for process in running:
        out, _ = process.communicate(timeout=_PATIENCE_SECONDS)
        if process.returncode:
            msg = f"a run ended with status {process.returncode}"
            raise RuntimeError(msg)
        peaks.append(int(out.split()[-1]) / 1024)
    return max(peaks)


def _counted(database: Path) -> int:
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        found = connection.execute("SELECT sum(value) FROM counters WHERE name = 'records'").fetchone()[0]
        connection.close()
    except sqlite3.OperationalError:
        return 0
    return int(found or 0)


def _rate(folder: Path, count: int, settings: dict[str, str], cores: Sequence[int] = ()) -> float:
    """Return records a second from the first results in the store to the last."""
    running = _start(folder, settings, cores=cores)
    first = (0, 0.0)
    end = time.monotonic() + _PATIENCE_SECONDS
    while (done := _counted(folder / "bench.db")) < count and time.monotonic() < end:
        if done and not first[0]:
            first = (done, time.perf_counter())
        # Seldom: the cores are those of the flow.
        time.sleep(0.05)
    took = time.perf_counter() - first[1]
    _stop(running)
    return (count - first[0]) / took


def _quix(address: str, topic: str, count: int) -> float:
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.kafka_quix", address, topic, str(count)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return count / float(done.stdout.split()[-1])


def _latency(folder: Path, address: str) -> None:
    create(address, "live", 1)
    create(address, "found", 1)
    running = _start(
        folder,
        _topic(
            address,
            "live",
            SINKS__KINDS='["kafka"]',
            SINKS__KAFKA__TOPIC="found",
            DETECTORS__HIGH_VOLUME__WIDTH="1s",
            DETECTORS__HIGH_VOLUME__BASELINE_WINDOWS="10",
            ALERTS__PER_KEY_PER_DAY="500",
        ),
    )
    time.sleep(5)
    market = kafka_latency.Market(address, "live", kafka_latency.warm_up() + 20)
    market.start()
    took = kafka_latency.latencies(address, "found", market, kafka_latency.warm_up() + 25)
    market.wait()
    _stop(running)
    p50, p99 = (kafka_latency.percentile(took, share) for share in (0.5, 0.99))
    made = sum(map(len, market.moments.values()))
    rate = made / (kafka_latency.warm_up() + 20)
    print(
        f"\nfrom the record to its anomaly in the topic, at {rate:,.0f} trades/s, "
        f"{len(took):,} anomalies: p50 {p50:.0f} ms, p99 {p99:.0f} ms (goal: p99 under 250)"
    )
    sys.stdout.flush()


def _memory(folder: Path, address: str, count: int) -> None:
    print("\n| peak memory, MiB | 1 M trades | 10 M trades | ratio |\n|---|---|---|---|")
    for title, workers, processes in (("one worker", 1, 1), ("-w 2", 2, 1), ("two processes", 1, 2)):
        peaks = []
        for topic, wanted in (("dbn-small", _JSON), ("dbn-1", count)):
            running = _start(folder, _topic(address, topic), processes, workers)
            end = time.monotonic() + _PATIENCE_SECONDS
            while _counted(folder / "bench.db") < wanted and time.monotonic() < end:
                time.sleep(0.05)
            peaks.append(_stop(running))
        print(f"| {title} | {peaks[0]:.0f} | {peaks[1]:.0f} | {peaks[1] / peaks[0]:.2f} |")
        sys.stdout.flush()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    raise SystemExit(main())
