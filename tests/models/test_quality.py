"""The study counts what it says it counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from connectors.dbn_writer import write_dbn
from connectors.injections import inject
from connectors.market_simulator import MarketSimulation, simulate
from connectors.sessions import Label, Session
from models import quality
from models.quality import KINDS, REQUIRED, Study, judged, judging, study, touches
from models.quality_tables import picture, tables
from models.tapes import session_of_files, tapes_of_files
from operators.detectors import detectors
from operators.judge import JudgeSettings
from tapewatch.errors import UserError
from tapewatch.records import HOUR, MINUTE, SECOND, UNDEF_PRICE

pytestmark = pytest.mark.xdist_group("quality")  # what they share takes seconds to make


def only_two(budget: float = 1.0) -> JudgeSettings:
    """Return the two detectors alone, which is quicker."""
    two = tuple(d for d in detectors({}) if d.name in KINDS)
    return replace(judging(budget), detectors=two)


def source(seed: int, days: int) -> Session:
    return simulate(MarketSimulation(symbols=5, minutes=390 * days, seed=seed, anomalies=()))


@pytest.fixture(scope="module")
def small() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "judging", only_two)
        done: list[tuple[int, int]] = []
        sizes = {"high_volume": (2.0, 12.0), "block_trade": (0.2, 10.0)}
        return study((1, 2), sizes, source, lambda *step: done.append(step)), done


def test_large_events_are_found_and_small_ones_are_not(small: tuple[Study, Any]) -> None:
    recall = {(r.kind, r.size, r.day): r.found / r.events for r in small[0].recalls}
    assert len(recall) == 8
    for kind, little, large in (("high_volume", 2.0, 12.0), ("block_trade", 0.2, 10.0)):
        for day in (1, 2):
            assert recall[kind, large, day] >= 0.9
            assert recall[kind, little, day] <= 0.3


def test_every_event_and_instrument_is_counted_once(small: tuple[Study, Any]) -> None:
    result, done = small
    # Five instruments, two seeds.
    assert {r.events for r in result.recalls} == {10}
    assert all(r.incidents >= r.found for r in result.recalls)
    assert {(c.detector, c.day, c.instruments) for c in result.clean} == {
        (name, day, 10) for name in KINDS for day in (1, 2, 3, 4)
    }
    assert done == [(step, 10) for step in range(1, 11)]


def test_clean_alarms_are_those_of_the_judge(small: tuple[Study, Any]) -> None:
    settings = only_two()
    told = [a for seed in (1, 2) for a in judged(source(seed, 4), settings)]
    for name in KINDS:
        counted = sum(c.alarms for c in small[0].clean if c.detector == name)
        assert counted == sum(a.detector == name for a in told) > 0


def test_tables_and_json_say_the_same(small: tuple[Study, Any], tmp_path: Path) -> None:
    result = small[0]
    text, plain = tables(result), result.as_json()
    for row in plain["recall"]:
        line = f"| {row['size']:g} | {row['day']} | {row['events']} | {row['found']} | {row['recall']:.3f} |"
        assert line in text
    rates = {(r["detector"], r["day"]): r["alarms_per_instrument"] for r in plain["clean"]}
    for name in KINDS:
        cells = " | ".join(f"{rates[name, day]:.2f}" for day in (1, 2, 3, 4))
        assert f"| `{name}` | {cells} |" in text
    picture(result, tmp_path / "recall.png")
    assert (tmp_path / "recall.png").read_bytes()[1:4] == b"PNG"


def test_the_seeds_are_kept_apart_and_the_sizes_hold_the_required_ones() -> None:
    assert min(quality.SEEDS) > 1_000
    assert all(REQUIRED[kind] in quality.SIZES[kind] for kind in KINDS)


def test_an_event_that_cannot_be_measured_is_left_out() -> None:
    session = source(3, 1)
    quiet = session.records["instrument_id"] == session.instrument_id("SIM005")
    sparse = replace(session, records=session.records[~quiet | (np.cumsum(quiet) % 300 == 0)])
    counts: dict[tuple[str, float, int], list[int]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality, "judging", only_two)
        quality._count_found(sparse, "high_volume", 8.0, 1, counts)
    assert counts["high_volume", 8.0, 1][0] == 4


@pytest.mark.parametrize(
    ("start", "end", "wanted"),
    [
        (0, 10, True),
        (-5, 0, True),
        (10 + MINUTE, 20 + MINUTE, True),
        (11 + MINUTE, 20 + MINUTE, False),
        (-5, -1, False),
    ],
)
def test_touching_is_within_the_label_or_the_minute_after(start: int, end: int, wanted: bool) -> None:
    session = inject(source(1, 1), "block_trade", "SIM001", source(1, 1).hours[0][0] + 2 * HOUR, 50.0, np.random.default_rng(1))  # fmt: skip
    alarm = next(a for a in judged(session, only_two()) if touches(a, session.labels[0]))
    label = Label("SIM001", "block_trade", HOUR, HOUR + 10)
    moved = replace(alarm, ts_start=HOUR + start, ts_end=HOUR + end)
    assert touches(moved, label) is wanted
    assert not touches(replace(moved, key="SIM002"), label)


def test_files_become_the_session_they_were_made_of(tmp_path: Path) -> None:
    session = simulate(MarketSimulation(symbols=3, minutes=400, seed=4, anomalies=()))
    half = len(session.records) // 2
    for name, part in (("a", session.records[:half]), ("b", session.records[half:])):
        write_dbn(tmp_path / f"{name}.dbn.zst", part, session.symbols)
    paths = sorted(tmp_path.glob("*.zst"))
    found = session_of_files(paths)
    assert list(found.symbols.values()) == ["SIM001", "SIM002", "SIM003"]
    for field in ("ts_recv", "ts_event", "price", "size", "side"):
        assert (found.records[field] == session.records[field]).all()
    keys = [found.symbols[int(i)] for i in found.records["instrument_id"][:100]]
    assert keys == [session.symbols[int(i)] for i in session.records["instrument_id"][:100]]
    assert [opens // (24 * HOUR) for opens, _ in found.hours] == [
        opens // (24 * HOUR) for opens, _ in session.hours
    ]
    assert all(opens <= closes for opens, closes in found.hours)


def test_unfit_records_are_left_out(tmp_path: Path) -> None:
    session = simulate(MarketSimulation(symbols=2, minutes=30, seed=4, anomalies=()))
    records = session.records.copy()
    records["price"][::10] = UNDEF_PRICE
    write_dbn(tmp_path / "a.dbn", records, session.symbols)
    tapes = list(tapes_of_files([tmp_path / "a.dbn"]))
    assert sum(len(tape.records) for tape in tapes) == len(records) - len(records[::10])
    assert all((np.diff(tape.times) > -SECOND).all() for tape in tapes)


def test_damage_and_bars_are_refused(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    session = simulate(MarketSimulation(symbols=2, minutes=30, seed=4, anomalies=()))
    path = tmp_path / "a.dbn"
    write_dbn(path, session.records, session.symbols)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match=r"a\.dbn"):
        list(tapes_of_files([path]))
    bars = request.getfixturevalue("data") / "dbn" / "nse-1min-2014.ohlcv-1m.dbn.zst"
    with pytest.raises(UserError, match="holds bars"):
        session_of_files([bars])
