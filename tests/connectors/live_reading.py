"""A live session that is read in a test, against the gateway of the tests."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from connectors.databento_live import LivePartition
from tapewatch import stopping
from tapewatch.credit import acknowledge
from tapewatch.records import DAY, Array, Tape
from tapewatch.settings import LiveSettings
from tests.connectors.live_gateway import DATASET, KEY, Gateway

pytest.importorskip("databento")


Opened = Callable[..., LivePartition]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connectors.live_feed.FIRST_DELAY", 0.001)


@pytest.fixture
def failed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the lines with which the run was to end."""
    lines: list[str] = []
    monkeypatch.setattr(stopping, "fail", lines.append)
    return lines


def live(gateway: Gateway, **changes: Any) -> LiveSettings:
    given = {"dataset": DATASET, "symbols": ["ALL_SYMBOLS"], "schema": gateway.schema, **changes}
    return LiveSettings(gateway="127.0.0.1", port=gateway.port, **given)


@pytest.fixture
def opened() -> Iterator[Opened]:
    """Return ``opened(gateway, resume=None, batch=65536, **settings)``, which is closed with the test."""
    parts = []

    def partition(gateway: Gateway, resume: Any = None, batch: int = 65_536, **changes: Any) -> LivePartition:
        parts.append(LivePartition(live(gateway, **changes), KEY, batch, 1, resume))
        return parts[-1]

    yield partition
    for each in parts:
        each.close()


def read(part: LivePartition, count: int, seconds: float = 200) -> list[Tape]:
    """Return the batches with as many records; later ones, should there be any, show themselves."""
    tapes: list[Tape] = []
    end = time.monotonic() + seconds
    quiet = 0
    while time.monotonic() < end and quiet < 5:
        new = part.next_batch()
        for tape in new:
            acknowledge(tape.credit, 0, tape.seq)
        tapes += new
        if not new:
            time.sleep(0.002)
            quiet += sum(len(tape.records) for tape in tapes) >= count
    return tapes


def records_of(tapes: list[Tape]) -> Array:
    return np.concatenate([tape.records for tape in tapes])


def keys_of(tapes: list[Tape]) -> list[str]:
    return [
        tape.symbols.key(number, at // DAY)
        for tape in tapes
        for number, at in zip(tape.records["instrument_id"].tolist(), tape.times.tolist(), strict=True)
    ]
