"""The live source: one tape out of any number of sessions, with what is missing told."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from connectors.databento_live import LivePartition, LiveSource, api_key
from connectors.dbn_records import DbnRecords
from connectors.live_position import REPLAYED_NS
from tapewatch import stopping
from tapewatch.credit import acknowledge
from tapewatch.errors import UserError
from tapewatch.records import DAY, MINUTE, OHLCV, SECOND, Array, Gap, Tape
from tapewatch.settings import LiveSettings
from tests.connectors.live_gateway import DATASET, KEY, Gateway, Script
from tests.examples import tried
from tests.made_trades import SYMBOLS

pytest.importorskip("databento")

Opened = Callable[..., LivePartition]


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
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


def read(part: LivePartition, count: int, seconds: float = 20) -> list[Tape]:
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


@settings(
    max_examples=tried(15), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)  # fmt: skip
@example(seed=166, breaks=[(1456, 44, False), (3000, 12, True)], selects="ts_recv", batch=100, resumed=False)
@given(
    seed=st.integers(0, 2**32),
    breaks=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 47), st.booleans()), max_size=4),
    selects=st.sampled_from(["ts_event", "ts_recv"]),
    batch=st.sampled_from([1, 100, 65_536]),
    resumed=st.booleans(),
)
def test_no_disconnection_and_no_resume_changes_the_tape(
    seed: int, breaks: list[tuple[int, int, bool]], selects: Any, batch: int, resumed: bool, trades: Any
) -> None:
    records = np.repeat(trades(seed, count=1_500), np.random.default_rng(seed).integers(1, 4, 1_500))
    scripts = [Script(until=at, cut=cut, reset=reset) for at, cut, reset in sorted(breaks)]
    found: list[Tape] = []
    saved = None
    with Gateway(records, SYMBOLS, scripts=scripts, selects=selects, seed=seed) as gateway:
        part = LivePartition(live(gateway), KEY, batch, 1, None)
        if resumed:
            found += read(part, len(records) // 2)
            saved = pickle.loads(pickle.dumps(part.snapshot()))
            part.close()
            part = LivePartition(live(gateway), KEY, batch, 1, saved)
        found += read(part, len(records) - sum(len(tape.records) for tape in found))
        part.close()
    assert np.array_equal(records_of(found), records)
    assert all(tape.gaps == () for tape in found)
    assert keys_of(found) == [SYMBOLS[number] for number in records["instrument_id"].tolist()]
    last = found[-1]
    assert (last.partition, last.dataset, last.kind, last.width_ns) == (
        f"live/{DATASET}",
        DATASET,
        "trades",
        0,
    )
    assert last.clock == int(records["ts_recv"].max())
    assert last.counters["records"] == len(records)
    assert last.counters.get("disconnections", 0) == len(scripts)
    clocks = [tape.clock for tape in found]
    assert clocks == sorted(clocks)


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
        end = time.monotonic() + 10
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


def test_what_is_unfit_is_counted_and_moves_no_clock(trades: Any, opened: Opened) -> None:
    records = trades(3, count=600, days=1)
    ahead = time.time_ns() + 2 * DAY
    for place, value in ((10, ahead), (11, 5), (599, ahead)):
        records["ts_recv"][place] = records["ts_event"][place] = value
    records["price"][20] = 2**63 - 1
    records["size"][30] = 0
    with Gateway(records, SYMBOLS, scripts=[Script(until=300)], selects="ts_recv") as gateway:
        found = read(opened(gateway), 595)
    fit = np.delete(records, [10, 11, 20, 30, 599])
    assert np.array_equal(records_of(found), fit)
    assert found[-1].clock == int(fit["ts_recv"].max())
    counted = {name: found[-1].counters[name] for name in ("impossible_time", "undefined_price", "zero_size")}
    assert counted == {"impossible_time": 3, "undefined_price": 1, "zero_size": 1}
    left_out: dict[str, int] = {}
    for tape in found:
        for key, places in tape.unfit.items():
            left_out[key] = left_out.get(key, 0) + len(places)
    ids = records["instrument_id"][[10, 11, 20, 30, 599]].tolist()
    assert left_out == {SYMBOLS[number]: ids.count(number) for number in ids}


def test_a_symbol_that_changes_is_followed_from_its_record_on(trades: Any, opened: Opened) -> None:
    """An id that has no symbol yet is its own name until one comes; one that gets another keeps its past."""
    records = trades(3, count=400, days=1)
    records["instrument_id"] = 7
    day_later = records.copy()
    for name in ("ts_event", "ts_recv"):
        day_later[name] += np.uint64(DAY)
    tape = np.concatenate([records, day_later])
    with Gateway(tape, {}, mappings=[(100, 7, "OLD")], seed=4) as gateway:
        found = read(opened(gateway), 800)
    # The mapping is of the first day, before the first record that follows it.
    assert keys_of(found) == ["7"] * 100 + ["OLD"] * 700
    gateway = Gateway(tape, {7: "OLD"}, mappings=[(400, 7, "NEW")])
    gateway.mapping_time = int(day_later["ts_event"][0])
    with gateway:
        found = read(opened(gateway), 800)
    assert keys_of(found) == ["OLD"] * 400 + ["NEW"] * 400


def test_bars_of_a_session_are_bars(opened: Opened) -> None:
    bars = np.zeros(200, OHLCV)
    bars["length"], bars["rtype"], bars["publisher_id"] = 14, 33, 1
    bars["instrument_id"] = 1 + np.arange(200) % 4
    bars["ts_event"] = 19_877 * DAY + np.arange(200) // 4 * MINUTE
    for name in ("open", "high", "low", "close"):
        bars[name] = 10**9
    bars["volume"] = np.arange(200)
    with Gateway(bars, SYMBOLS, schema="ohlcv-1m", scripts=[Script(until=101), Script(until=150)]) as gateway:
        found = read(opened(gateway), 200)
    assert np.array_equal(records_of(found), bars)
    assert (found[-1].kind, found[-1].width_ns) == ("bars", MINUTE)
    assert found[-1].clock == int(bars["ts_event"][-1]) + MINUTE


def test_a_real_book_gives_its_trades(data: Path, opened: Opened) -> None:
    """Most records of a book are no trades; the position counts them all the same."""
    path = data / "dbn" / "nautilus" / "esh4-glbx-mdp3-20231225.mbo.dbn.zst"
    reader = DbnRecords(path, 1 << 20)
    blocks = list(reader.blocks())
    reader.close()
    wanted = np.concatenate([block.records for block in blocks])
    import databento

    book = databento.DBNStore.from_file(path).to_ndarray()
    scripts = [Script(until=at, cut=20) for at in (9_000, 30_001, 30_002, 55_555)]
    with Gateway(book, {}, schema="mbo", scripts=scripts) as gateway:
        found = read(opened(gateway), len(wanted), 60)
    assert np.array_equal(records_of(found), wanted)
    assert found[-1].counters["not_a_trade"] == sum(b.passed_over.get("not_a_trade", 0) for b in blocks)
    assert all(tape.gaps == () for tape in found)


def test_nothing_is_read_while_the_results_are_behind(trades: Any, opened: Opened) -> None:
    records = trades(3, count=5_000)
    with Gateway(records, SYMBOLS) as gateway:
        part = opened(gateway, batch=1_000)
        found: list[Tape] = []
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            found += part.next_batch()
            time.sleep(0.005)
        assert 0 < sum(len(tape.records) for tape in found) < len(records)
        assert len(found) <= 4
        for tape in found:
            acknowledge(tape.credit, 0, tape.seq)
        found += read(part, len(records) - sum(len(tape.records) for tape in found))
    assert np.array_equal(records_of(found), records)


def test_a_first_session_that_brought_nothing_is_gone_on_with(trades: Any, opened: Opened) -> None:
    records = trades(3, count=300)
    with Gateway(records, SYMBOLS, scripts=[Script(until=100)]) as gateway:
        gateway.sent = 100
        part = opened(gateway)
        end = time.monotonic() + 20
        while not any(tape.counters.get("disconnections") for tape in part.next_batch()):
            assert time.monotonic() < end
        # What happened on the market before the next session.
        gateway.sent = 200
        found = read(part, 200)
    since = records["ts_event"][100:].min()
    assert np.array_equal(records_of(found), records[records["ts_event"] >= since])


def test_a_stop_ends_the_input(trades: Any, opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    with Gateway(trades(3, count=10), SYMBOLS) as gateway:
        part = opened(gateway)
        read(part, 10)
        monkeypatch.setattr(stopping, "stopping", lambda: True)
        with pytest.raises(StopIteration):
            part.next_batch()


def test_the_key_is_looked_at_before_anything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = LiveSettings(dataset=DATASET, symbols=["A"])
    for key in ("", "db-short", "db-" + "ä" * 29, "DB-" + "a" * 29, KEY + "a", "db-" + "a" * 28 + "\n"):
        monkeypatch.setenv("DATABENTO_API_KEY", key)
        with pytest.raises(UserError) as raised:
            LiveSource(settings, 1, 1)
        assert "DATABENTO_API_KEY" in str(raised.value)
        assert not key.strip() or key.strip() not in str(raised.value)
    monkeypatch.setenv("DATABENTO_API_KEY", f" {KEY}\n")
    assert api_key() == KEY


def test_a_state_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class _AbortedError(Exception):
        pass

    def abort(line: str, status: int) -> None:
        raise _AbortedError(f"{line} {status}")

    monkeypatch.setattr(stopping, "abort", abort)
    monkeypatch.setenv("DATABENTO_API_KEY", KEY)
    source = LiveSource(LiveSettings(dataset=DATASET, symbols=["A"]), 1, 1)
    with pytest.raises(_AbortedError, match=r"another version.* 2$"):
        source.build_part("step", source.list_parts()[0], {"version": 0})
