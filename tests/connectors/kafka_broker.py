"""A real broker for the tests, with topics, listeners and restarts as they need them."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import confluent_kafka as ck
import orjson
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.ports import free_port

_numbers = itertools.count(1)


@dataclass
class Broker:
    """One node or more.

    The listeners of the first are on ``port`` (plain), and 1 to 3 above (SASL, SASL and TLS, TLS), those of
    each other one 10 above.
    """

    scripts: Path
    folder: Path
    port: int
    env: dict[str, str] = field(default_factory=dict)
    nodes: int = 1

    @property
    def address(self) -> str:
        return ",".join(f"127.0.0.1:{self.port + 10 * node}" for node in range(self.nodes))

    @property
    def authority(self) -> Path:
        """Return the certificate of the authority that signed the broker's."""
        return self.folder / "tls" / "ca.pem"

    def start(self, *arguments: str) -> None:
        # The script waits a minute for what it started, and for what runs already; a busy machine takes longer.
        command = [str(self.scripts / "start.sh"), *arguments]
        for waited in range(4):
            done = subprocess.run(command, env=self.env, check=waited == 3, stdout=subprocess.DEVNULL)
            if done.returncode == 0:
                return

    def stop(self, *arguments: str) -> None:
        subprocess.run([self.scripts / "stop.sh", *arguments], env=self.env, check=True)

    def topic(self, partitions: int = 1, name: str = "", **config: str) -> str:
        """Create a topic, with a name of its own if none is given."""
        name = name or f"topic-{next(_numbers)}"
        admin = AdminClient({"bootstrap.servers": self.address})
        admin.create_topics([NewTopic(name, partitions, self.nodes, config=config)])[name].result()
        while name not in admin.list_topics(timeout=60).topics:
            time.sleep(0.05)
        return name

    def remove(self, topic: str) -> None:
        """Delete a topic and wait until it is gone."""
        admin = AdminClient({"bootstrap.servers": self.address})
        admin.delete_topics([topic], operation_timeout=60)[topic].result()
        while topic in admin.list_topics(timeout=60).topics:
            time.sleep(0.05)

    def grow(self, topic: str, partitions: int) -> None:
        """Add partitions to a topic."""
        from confluent_kafka.admin import NewPartitions

        admin = AdminClient({"bootstrap.servers": self.address})
        admin.create_partitions([NewPartitions(topic, partitions)])[topic].result()

    def leaders(self, topic: str) -> dict[int, tuple[int, int]]:
        """Return by partition the node that leads it, and how many hold it."""
        admin = AdminClient({"bootstrap.servers": self.address})
        found = admin.list_topics(timeout=60).topics[topic].partitions
        return {number: (each.leader, len(each.replicas)) for number, each in found.items()}

    def partitions(self, topic: str) -> int:
        admin = AdminClient({"bootstrap.servers": self.address})
        found = admin.list_topics(timeout=60).topics.get(topic)
        return 0 if found is None else len(found.partitions)

    def produce(self, topic: str, *messages: tuple[Any, ...]) -> None:
        """Send ``(key, value)``, ``(key, value, headers)`` or ``(key, value, headers, partition)``."""
        producer = ck.Producer(
            {"bootstrap.servers": self.address, "enable.idempotence": True, "message.max.bytes": 5_000_000}
        )
        for key, value, *more in messages:
            extra: dict[str, Any] = dict(zip(("headers", "partition"), more, strict=False))
            while True:
                try:
                    producer.produce(topic, value, key, **extra)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(200) == 0

    def _consumer(self, group: str = "tests") -> ck.Consumer:
        return ck.Consumer({"bootstrap.servers": self.address, "group.id": group})

    def _bounds(self, consumer: ck.Consumer, topic: str) -> dict[int, tuple[int, int]]:
        bounds: dict[int, tuple[int, int]] = {}
        for number in range(self.partitions(topic)):
            while number not in bounds:
                # A new partition has no leader for a moment.
                with contextlib.suppress(ck.KafkaException):
                    bounds[number] = consumer.get_watermark_offsets(ck.TopicPartition(topic, number), 60)
        return bounds

    def count(self, topic: str) -> int:
        """Return how many messages a topic has, 0 if there is none."""
        consumer = self._consumer()
        try:
            return sum(high - low for low, high in self._bounds(consumer, topic).values())
        finally:
            consumer.close()

    def messages(self, topic: str) -> list[ck.Message]:
        """Return everything in a topic, partition by partition."""
        consumer = self._consumer()
        try:
            ends = self._bounds(consumer, topic)
            consumer.assign([ck.TopicPartition(topic, number, low) for number, (low, _) in ends.items()])
            left = {number for number, (low, high) in ends.items() if low < high}
            found: list[ck.Message] = []
            while left:
                for message in consumer.consume(10_000, 0.2):
                    assert message.error() is None
                    found.append(message)
                    if message.offset() + 1 >= ends[message.partition()][1]:
                        left.discard(message.partition())
            return sorted(found, key=lambda message: (message.partition(), message.offset()))
        finally:
            consumer.close()

    def settings(self, topic: str, **more: object) -> dict[str, object]:
        """Return the settings of a flow on a topic."""
        return {
            "source__kind": "kafka",
            "kafka__brokers": self.address,
            "kafka__topic": topic,
            "kafka__group": f"group-{topic}",
            **more,
        }

    def committed(self, topic: str) -> dict[int, int]:
        """Return the offsets that a flow of `settings` wrote to its group."""
        consumer = self._consumer(f"group-{topic}")
        try:
            asked = [ck.TopicPartition(topic, number) for number in range(self.partitions(topic))]
            return {found.partition: found.offset for found in consumer.committed(asked, timeout=60)}
        finally:
            consumer.close()


def running(folder: Path, nodes: int = 1) -> Iterator[Broker]:
    """Start a broker, or a cluster, of its own for a run of the tests; skip where its scripts are not."""
    data = os.environ.get("TAPEWATCH_TEST_DATA")
    scripts = Path(data).resolve().parent / "services" / "kafka" if data else Path("nowhere")
    if not (scripts / "start.sh").is_file():
        reason = "there is no services/kafka/start.sh beside the folder of TAPEWATCH_TEST_DATA"
        if os.environ.get("TAPEWATCH_REQUIRE_SERVICES") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    # Each node listens on five, ten apart.
    port = free_port(beside=[10 * node + each for node in range(nodes) for each in range(5)])
    env = {**os.environ, "BASE_PORT": str(port), "RUN_DIR": str(folder / "broker"), "NODES": str(nodes)}
    broker = Broker(scripts, folder / "broker", port, env, nodes)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop("-9", "--wipe")


def latest(messages: list[ck.Message]) -> dict[str, dict[str, Any]]:
    """Return what a reader of anomalies ends with: by id the highest revision, none where one was taken back."""
    kept: dict[str, dict[str, Any]] = {}
    for message in messages:
        name = dict(message.headers())["id"].decode()
        if message.value() is None:
            kept.pop(name, None)
            continue
        document = orjson.loads(message.value())
        assert document["id"] == name
        assert document["key"].encode() == message.key()
        if name not in kept or document["revision"] >= kept[name]["revision"]:
            kept[name] = document
    return kept
