"""From a record's production to the anomaly it completes in the output topic, at a steady rate of trades."""

from __future__ import annotations

import itertools
import threading
import time
from bisect import bisect_left
from typing import Any

import confluent_kafka as ck
import numpy as np
import orjson

_RATE = 20_000
_TICK = 0.005
_SYMBOLS = 20
_LINE = b'{"ts_recv":%d,"ts_event":%d,"instrument_id":%d,"price":"100.5","size":%d,"symbol":"%b"}'


class Market:
    """Trades made as time passes; each bears the moment at which it is handed to the producer.

    Attributes
    ----------
    moments
        By symbol, when its trades were made (ns), in their order.
    """

    def __init__(self, address: str, topic: str, seconds: float) -> None:
        self._topic, self._seconds = topic, seconds
        self._producer = ck.Producer({"bootstrap.servers": address, "linger.ms": 1})
        self.moments: dict[str, list[int]] = {f"SYM{n}": [] for n in range(_SYMBOLS)}
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        """Begin to trade."""
        self._thread.start()

    def wait(self) -> None:
        """Wait for the last trade."""
        self._thread.join()

    def _run(self) -> None:
        rng = np.random.default_rng(1)
        names = list(self.moments)
        begun = time.perf_counter()
        sent = 0
        while (passed := time.perf_counter() - begun) < self._seconds:
            due = int(passed * _RATE)
            symbols = rng.integers(0, _SYMBOLS, due - sent).tolist()
            sizes = np.maximum(rng.lognormal(4, 1, due - sent), 1).astype(int)
            # A few are far beyond what is usual; now and then a second has many times the trades' sizes.
            sizes[rng.random(due - sent) < 1e-4] *= 400
            sizes *= 1 + 30 * (int(passed) % 9 == 8)
            for symbol, size in zip(symbols, sizes.tolist(), strict=True):
                moment = time.time_ns()
                name = names[symbol]
                self.moments[name].append(moment)
                line = (
                    b'{"ts_recv":%d,"ts_event":%d,"instrument_id":%d,"price":"100.5","size":%d,"symbol":"%b"}'
                )
                value = line % (moment, moment, symbol + 1, size, name.encode())
                self._producer.produce(self._topic, value, name.encode())
            sent = due
            self._producer.poll(0)
            time.sleep(_TICK)
        self._producer.flush()


def latencies(address: str, found: str, market: Market, seconds: float) -> list[float]:
    """Return the milliseconds of each anomaly in the topic ``found``, its first message only.

    What completes a window is the first trade of the instrument behind it.
    """
    consumer = ck.Consumer({"bootstrap.servers": address, "group.id": "bench", "fetch.wait.max.ms": 10})
    consumer.assign([ck.TopicPartition(found, number, ck.OFFSET_BEGINNING) for number in range(1)])
    arrived: dict[str, tuple[int, dict[str, Any]]] = {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for message in consumer.consume(1_000, 0.01):
            if message.error() is None and message.value() is not None:
                document = orjson.loads(message.value())
                arrived.setdefault(document["id"], (time.time_ns(), document))
    consumer.close()
    took = []
    for moment, document in arrived.values():
        times = market.moments[document["key"]]
        wanted = _ns(document["ts_event"])
        # A trade's anomaly begins and ends with it; a window's is known with the trade behind it.
        place = bisect_left(times, wanted)
        if place < len(times):
            took.append((moment - times[place]) / 1e6)
    return took


def _ns(text: str) -> int:
    moment, _, fraction = text.rstrip("Z").partition(".")
    whole = np.datetime64(moment, "s").astype(np.int64)
    return int(whole) * 1_000_000_000 + int(fraction.ljust(9, "0"))


def warm_up() -> float:
    """Return how many seconds the detectors take to know what is usual."""
    return 40.0


def percentile(values: list[float], share: float) -> float:
    """Return a percentile; the largest if there are few.

    >>> percentile([1.0, 2.0, 3.0], 0.99)
    3.0
    """
    ordered = sorted(values)
    return next(itertools.islice(ordered, min(int(share * len(ordered)), len(ordered) - 1), None))
