"""A broker to measure against, and tapes on its topics."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import confluent_kafka as ck
import numpy as np
from confluent_kafka.admin import AdminClient, NewTopic

from connectors.kafka_messages import Encoder, Encoding
from tapewatch.records import Array

_RUN = 65_536


@contextmanager
def broker(folder: Path) -> Iterator[str | None]:
    """Yield the address of a broker: that of ``BENCH_KAFKA``, or one that is started; None if there is none.

    It is started by ``services/kafka/start.sh`` beside the folder of ``TAPEWATCH_TEST_DATA``.
    """
    if given := os.environ.get("BENCH_KAFKA"):
        yield given
        return
    data = os.environ.get("TAPEWATCH_TEST_DATA")
    scripts = Path(data).resolve().parent / "services" / "kafka" if data else Path("nowhere")
    if not (scripts / "start.sh").is_file():
        yield None
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1] % 20_000 + 10_000
    env = {**os.environ, "BASE_PORT": str(port), "RUN_DIR": str(folder / "broker"), "HEAP": "1g"}
    try:
        subprocess.run([scripts / "start.sh"], env=env, check=True, stdout=subprocess.DEVNULL)
        yield f"127.0.0.1:{port}"
    finally:
        subprocess.run([scripts / "stop.sh", "-9", "--wipe"], env=env, check=True)


def create(address: str, topic: str, partitions: int) -> None:
    """Create a topic."""
    admin = AdminClient({"bootstrap.servers": address})
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result()
    while topic not in admin.list_topics(timeout=10).topics:
        time.sleep(0.05)


def publish(
    address: str, topic: str, partitions: int, records: Array, symbols: dict[int, str], encoding: Encoding
) -> None:
    """Create a topic and send trades to it."""
    create(address, topic, partitions)
    producer = ck.Producer({"bootstrap.servers": address, "linger.ms": 20, "compression.type": "lz4"})
    encoder = Encoder(encoding, "trades", "XSIM.TAPE", 0, "bench")
    ids = sorted(symbols)
    keys = [symbols[number] for number in ids]
    for first in range(0, len(records), _RUN):
        part = records[first : first + _RUN]
        codes = np.searchsorted(ids, part["instrument_id"])
        for key, value, headers, _ in encoder.messages(part, codes, keys):
            while True:
                try:
                    producer.produce(topic, value, key, headers=headers)
                    break
                except BufferError:
                    producer.poll(0.1)
        producer.poll(0)
    producer.flush()
