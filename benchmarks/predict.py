"""Predictions over HTTP: the latency of ``/predict`` and the rows a second of ``/predict/batch``.

Beside them, over the same client and at the same pace, an application that asks a forest and a network of
scikit-learn message by message. Everything listens on loopback; the load is bounded.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from connectors.sqlite import SqliteWriter
from connectors.transaction_files import parse_messages
from connectors.transaction_simulator import TransactionSimulation, simulate_transactions
from operators.transaction_history import History
from operators.transaction_judge import TransactionJudge
from operators.transaction_settings import judging
from tapewatch.documents import Results
from tapewatch.settings import Settings
from tapewatch.transactions import Transactions

_USERS, _DAYS = 2_000, 14
_PACE, _SECONDS = 200, 10
_CONNECTIONS = 32
_ROWS, _BATCHES = 1_000, 20
#: Rows of a batch for the other application, which takes milliseconds for each.
_FEWER = 100
_PATIENCE_SECONDS = 30.0


def main(seconds: int = _SECONDS) -> None:
    """Measure and print the table."""
    lines = [line for _, line in simulate_transactions(_simulation()).lines()]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _publish(folder / "results.db", lines[:-_ROWS])
        ours = {"TAPEWATCH_SINKS__SQLITE__PATH": str(folder / "results.db")}
        print(f"{_PACE} requests/s for {seconds} s over {_CONNECTIONS} connections, one process each\n")
        print("CPU is that of the server; it tells also where the machine is busy with other work\n")
        print("| what | p50, ms | p99, ms | answered | CPU, ms | rows/s in batches | rows/s of CPU |")
        print("|---|---|---|---|---|---|---|")
        with _server("api", ours) as (port, process):
            _measure("tapewatch", port, process, lines[-_ROWS:], seconds, _ROWS)
        with _server("benchmarks.predict_alternative", {}) as (port, process):
            _measure("scikit-learn, message by message", port, process, lines[-_ROWS:], seconds, _FEWER)
    print("\ngoals: p99 under 15 ms; 20,000 rows/s")


def _simulation() -> TransactionSimulation:
    return TransactionSimulation(users=_USERS, minutes=_DAYS * 1_440)


def _publish(path: Path, lines: list[bytes]) -> None:
    """Write what the flow would have published after these messages."""
    found = parse_messages(lines, {})
    batch = Transactions(
        "p", 0, found.ids, found.users, found.times, found.amounts, found.words, found.numbers
    )
    wanted = judging(Settings.model_construct())
    history, judge = History(wanted.idle_ns), TransactionJudge(wanted)
    judge.scores(batch, history.measure(batch))
    profiles = [profile.document(user, "") for user, profile in history.profiles.items()]
    with SqliteWriter(path) as writer:
        writer.write([Results("", 0, "", "transactions", profiles=profiles), judge.last()])


@contextmanager
def _server(module: str, settings: dict[str, str]) -> Iterator[tuple[int, int]]:
    """Yield the port of a server and its process id."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAPEWATCH_")}
    env = kept | settings | {"TAPEWATCH_API__PORT": str(port)}
    process = subprocess.Popen([sys.executable, "-m", module], env=env, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(30)


def _cpu(process: int) -> float:
    """Return the CPU seconds of a process."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _measure(what: str, port: int, process: int, lines: Sequence[bytes], seconds: int, rows: int) -> None:
    asyncio.run(_paced(port, lines, 1))  # warm
    before = _cpu(process)
    took = asyncio.run(_paced(port, lines, seconds))
    each = (_cpu(process) - before) / max(len(took), 1) * 1e3
    body = b"[" + b",".join(lines[:rows]) + b"]"
    before = _cpu(process)
    done, many = asyncio.run(_batches(port, body, rows))
    of_cpu = done / max(_cpu(process) - before, 1e-9)
    wanted, answered = seconds * _PACE, np.array(took) * 1e3
    p50, p99 = (np.percentile(answered, q) for q in (50, 99)) if took else (np.nan, np.nan)
    # What has not been answered in time is slower than anything that was.
    shown = f"{p99:.1f}" if len(took) > 0.99 * wanted else f"over {_PATIENCE_SECONDS * 1e3:,.0f}"
    told = f"| {what} | {p50:.1f} | {shown} | {len(took):,} of {wanted:,} | {each:.2f} | {many:,.0f} "
    print(f"{told}| {of_cpu:,.0f} |", flush=True)


async def _paced(port: int, lines: Sequence[bytes], seconds: int) -> list[float]:
    """Return how long each request took from when it was due, whether there was a connection or not."""
    due: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
    took: list[float] = []

    async def ask() -> None:
        async with asyncio.timeout(seconds + _PATIENCE_SECONDS):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            while True:
                at, line = await due.get()
                if not line:
                    break
                await _post(reader, writer, "/predict", line)
                took.append(time.perf_counter() - at)
            writer.close()

    async def plan() -> None:
        begun = time.perf_counter()
        for number in range(seconds * _PACE):
            at = begun + number / _PACE
            await asyncio.sleep(max(at - time.perf_counter(), 0))
            due.put_nowait((at, lines[number % len(lines)]))
        for _ in range(_CONNECTIONS):
            due.put_nowait((0.0, b""))

    await asyncio.gather(plan(), *(ask() for _ in range(_CONNECTIONS)), return_exceptions=True)
    return took


async def _batches(port: int, body: bytes, rows: int) -> tuple[int, float]:
    """Return how many rows were judged in requests that follow each other, and how many a second."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    await _post(reader, writer, "/predict/batch", body)
    begun, done = time.perf_counter(), 0
    while done < _BATCHES and time.perf_counter() - begun < _PATIENCE_SECONDS:
        await _post(reader, writer, "/predict/batch", body)
        done += 1
    writer.close()
    return (done + 1) * rows, done * rows / (time.perf_counter() - begun)


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: bytes) -> None:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    told = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    length = int(told.partition("content-length:")[2].partition("\r\n")[0])
    answer = await reader.readexactly(length)
    if " 200 " not in told.partition("\r\n")[0]:
        raise RuntimeError(answer.decode())


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--seconds", type=int, default=_SECONDS)
    main(arguments.parse_args().seconds)
