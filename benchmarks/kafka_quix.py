"""The high-volume rule message by message in a Quix Streams application: what a user could use instead."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import defaultdict
from typing import Any


def main() -> int:
    """Judge ``count`` messages of a topic; print the seconds from the first to the last."""
    from quixstreams import Application

    address, topic, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    volumes: dict[tuple[str, int], int] = defaultdict(int)
    usual: dict[str, float] = {}
    moments: list[float] = []
    found: list[Any] = []
    seen = 0

    def judge(trade: dict[str, Any]) -> None:
        nonlocal seen
        seen += 1
        if seen in (1, count):
            moments.append(time.perf_counter())
        symbol, minute = trade["symbol"], trade["ts_recv"] // 60_000_000_000
        if (symbol, minute) not in volumes and (symbol, minute - 1) in volumes:
            volume = volumes.pop((symbol, minute - 1))
            if volume > 10 * usual.setdefault(symbol, float(volume)):
                found.append((symbol, minute, volume))
            usual[symbol] += (volume - usual[symbol]) / 30
        volumes[symbol, minute] += trade["size"]

    with tempfile.TemporaryDirectory() as folder:
        app = Application(
            broker_address=address,
            consumer_group=f"bench-{time.time_ns()}",
            auto_offset_reset="earliest",
            state_dir=folder,
            loglevel="CRITICAL",
        )
        app.dataframe(app.topic(topic, value_deserializer="json")).update(judge)
        app.run(count=count, timeout=30, collect=False)
    print(moments[1] - moments[0])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
