"""What a live session misses is told, and what stands in its way is tried again or ends the run."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from connectors.live_position import REPLAYED_NS
from tapewatch.records import SECOND, Gap
from tests.connectors import live_reading
from tests.connectors.live_gateway import Gateway, Script
from tests.connectors.live_reading import Opened, read, records_of
from tests.made_trades import SYMBOLS

soon, failed, opened = live_reading.soon, live_reading.failed, live_reading.opened


def test_reports_that_come_seconds_after_the_event_are_not_lost(trades: Any, opened: Opened) -> None:
    """A replay is chosen by the time of the event, which may be long before that of the receipt."""
    records = trades(3, count=2_000, days=1)
    late = np.random.default_rng(1).random(2_000) < 0.3
    records["ts_event"][late] -= np.uint64(10 * SECOND)
    scripts = [Script(until=at) for at in range(100, 2_000, 150)]
    with Gateway(records, SYMBOLS, scripts=scripts) as gateway:
        found = read(opened(gateway), 2_000)
        assert [int(asked[1]["start"]) for asked in gateway.asked[1:]][-1] > records["ts_event"][
            1_500
        ] - REPLAYED_NS
    assert np.array_equal(records_of(found), records)


def test_what_the_gateway_does_not_replay_any_more_is_a_gap(trades: Any, opened: Opened) -> None:
    records = trades(3, count=900, days=1)
    with Gateway(records, SYMBOLS, scripts=[Script(until=300), Script(aged=500, until=700)]) as gateway:
        found = read(opened(gateway), 700)
    assert np.array_equal(records_of(found), np.concatenate([records[:300], records[500:]]))
    (gap,) = [(gap, tape) for tape in found for gap in tape.gaps]
    key = SYMBOLS[int(records["instrument_id"][500])]
    assert gap[0] == Gap(at=0, since=int(records["ts_recv"][299]), lost=0, key=key)
    assert gap[1].records[0] == records[500]
    assert found[-1].counters["gaps"] == 1


def test_a_gap_outlives_a_resume(trades: Any, opened: Opened) -> None:
    """What was known to be missing is told by the first record behind it, whoever reads that."""
    records = trades(3, count=900, days=1)
    with Gateway(records, SYMBOLS, scripts=[Script(until=300), Script(silent=True)]) as gateway:
        part = opened(gateway)
        read(part, 300)
        saved = part.snapshot()
        part.close()
    for _ in range(2):
        with Gateway(records, SYMBOLS, scripts=[Script(aged=500)] * 2) as gateway:
            found = read(opened(gateway, saved), 400)
        assert np.array_equal(records_of(found), records[500:])
        assert [gap.since for tape in found for gap in tape.gaps] == [int(records["ts_recv"][299])]


def test_what_is_replayed_from_between_is_no_gap(trades: Any, opened: Opened) -> None:
    """The gateway goes back less far than it was asked to, but far enough."""
    records = trades(3, count=900, days=1)
    with Gateway(records, SYMBOLS, scripts=[Script(until=300), Script(aged=299)]) as gateway:
        found = read(opened(gateway), 900)
    assert np.array_equal(records_of(found), records)
    assert all(tape.gaps == () for tape in found)


def test_records_that_the_gateway_left_out_are_a_gap_at_their_place(trades: Any, opened: Opened) -> None:
    records = trades(3, count=900, days=1)
    with Gateway(records, SYMBOLS, scripts=[Script(skip=(300, 400))]) as gateway:
        found = read(opened(gateway), 800)
    assert np.array_equal(records_of(found), np.concatenate([records[:300], records[400:]]))
    (behind,) = [tape for tape in found if tape.gaps]
    assert behind.records[0] == records[400]
    assert behind.gaps[0].since == int(records["ts_recv"][299])
    assert behind.counters["gateway_errors"] == 1


def test_more_symbols_than_before_are_no_gap(trades: Any, opened: Opened) -> None:
    records = trades(3, count=900, days=1)
    own = records["instrument_id"] == 2
    with Gateway(records, SYMBOLS, scripts=[Script(until=450), Script(silent=True)]) as gateway:
        part = opened(gateway, symbols=["SYM2"])
        first = records_of(read(part, int(own[:450].sum())))
        saved = part.snapshot()
        part.close()
        found = read(opened(gateway, saved), 450)
    assert np.array_equal(first, records[:450][own[:450]])
    again = records_of(found)
    assert np.array_equal(again[again["instrument_id"] == 2], records[450:][own[450:]])
    assert np.array_equal(again[-400:], records[-400:])
    assert all(tape.gaps == () for tape in found)


def test_a_replay_that_is_refused_is_followed_by_one_of_everything(
    trades: Any, opened: Opened, failed: list[str]
) -> None:
    records = trades(3, count=900, days=1)
    scripts = [Script(until=300), Script(error=(5, "start is too long ago")), Script(until=600)]
    with Gateway(records, SYMBOLS, scripts=scripts) as gateway:
        found = read(opened(gateway), 900)
        starts = [asked[1].get("start") for asked in gateway.asked]
    assert np.array_equal(records_of(found), records)
    assert starts[2] == "0"
    assert int(starts[3] or 0) > 0
    assert failed == []


@pytest.mark.parametrize("error", [(3, "Connection limit"), (6, "Internal error")])
def test_what_may_pass_is_tried_again(
    error: tuple[int, str], trades: Any, opened: Opened, failed: list[str]
) -> None:
    records = trades(3, count=100)
    scripts = [Script(error=error)] * 3 + [Script(refuse="User has reached the connection limit")]
    with Gateway(records, SYMBOLS, scripts=scripts) as gateway:
        assert np.array_equal(records_of(read(opened(gateway), 100)), records)
    assert failed == []


def test_a_key_that_was_taken_before_is_tried_again(trades: Any, opened: Opened, failed: list[str]) -> None:
    records = trades(3, count=100)
    with Gateway(records, SYMBOLS, scripts=[Script(until=50), *[Script(refuse="No")] * 3]) as gateway:
        assert np.array_equal(records_of(read(opened(gateway), 100)), records)
    assert failed == []


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (Script(refuse="No such user"), ("refuses the key in DATABENTO_API_KEY", "No such user")),
        (Script(error=(5, "Unknown schema")), ("refuses the subscription", "Unknown schema")),
        (Script(error=(4, "No symbols")), ("refuses the subscription", "No symbols")),
    ],
)
def test_what_cannot_be_cured_ends_the_run(
    script: Script, words: tuple[str, ...], trades: Any, opened: Opened, failed: list[str]
) -> None:
    with Gateway(trades(3, count=10), SYMBOLS, scripts=[script]) as gateway:
        part = opened(gateway)
        end = time.monotonic() + 200
        while not failed and time.monotonic() < end:
            part.next_batch()
            time.sleep(0.002)
    (line,) = failed
    assert [word for word in words if word not in line] == []
    assert str(gateway.port) in line


def test_a_stream_that_breaks_is_begun_again(trades: Any, opened: Opened) -> None:
    records = trades(3, count=300)
    with Gateway(records, SYMBOLS, scripts=[Script(until=100, junk=b"\0" * 64)]) as gateway:
        assert np.array_equal(records_of(read(opened(gateway), 300)), records)
