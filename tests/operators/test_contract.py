"""What every detector promises, whatever it does (after the checks that River runs on its estimators).

Each test runs on each part of each detector that there is; a new one is in as soon as it is listed.
"""

from __future__ import annotations

import pickle
from functools import cache
from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.market_simulator import MarketSimulation, simulate
from operators.detector import Detector
from operators.detectors import KNOWN
from tapewatch.records import DAY, LARGEST_PRICE, MINUTE, SECOND, TRADE, Array
from tests.examples import tried

fed: Any = import_module("tests.operators.detector_feed")

PARTS = [part for known in KNOWN for part in known().parts]
BY_ID = {part.id: part for part in PARTS}
#: An instrument's state may be no larger than this, bytes, nor may it grow with the tape.
LARGEST_STATE = 64_000

every_detector = pytest.mark.parametrize("detector", PARTS, ids=lambda part: part.id)


@cache
def tape(minutes: int = 240, symbols: int = 3) -> Array:
    """Return a session with anomalies; keys SYM1, SYM2, ..."""
    session = simulate(MarketSimulation(symbols=symbols, minutes=minutes, seed=5, trades_per_minute=12.0))
    records = session.records.copy()
    records["instrument_id"] -= records["instrument_id"].min() - 1
    # A few are marked as faulty by their publisher, or come in a book that is out of order, or late.
    records["rtype"] = 1
    records["flags"][4_000::3_500] |= 8
    records["depth"][4_100::3_500] = 2
    records["ts_event"][4_200::3_500] -= np.uint64(30 * SECOND)
    return records


@cache
def whole(name: str) -> Any:
    """Return the feed of the detector of this id that was given the whole tape; not to be fed more."""
    return fed.Feed(BY_ID[name]).feed(tape())


@cache
def later() -> Array:
    """Return a day of two instruments a century later."""
    records = tape(1_170, 2).copy()
    records["ts_recv"] += np.uint64(36_500 * DAY)
    records["ts_event"] += np.uint64(36_500 * DAY)
    return records


@cache
def clean(name: str) -> Any:
    """Return the feed of the detector of this id that was given nothing but the later day."""
    return fed.Feed(BY_ID[name]).feed(later())


def test_there_are_detectors_of_every_kind() -> None:
    assert {part.reads for part in PARTS} == {"bars", "records", "severities"}
    assert len({part.id for part in PARTS}) == len(PARTS)


@every_detector
def test_the_same_tape_gives_the_same_scores(detector: Detector) -> None:
    first, second = whole(detector.id), fed.Feed(detector).feed(tape())
    assert fed.same(first.said, second.said)
    assert pickle.dumps(first.logic.snapshot()) == pickle.dumps(second.logic.snapshot())


@every_detector
@settings(max_examples=tried(12), deadline=None)
@given(cuts=st.lists(st.integers(0, 9_000), min_size=1, max_size=25), resumed=st.booleans())
def test_any_cut_gives_the_same_scores_also_with_snapshots_between(
    detector: Detector, cuts: list[int], resumed: bool
) -> None:
    parts = fed.Feed(detector)
    for part in np.split(tape(), sorted(min(cut, len(tape())) for cut in cuts)):
        parts.feed(part)
        if resumed:
            parts.resume()
    assert fed.same(whole(detector.id).said, parts.said)


@every_detector
def test_a_snapshot_does_not_change_later(detector: Detector) -> None:
    feed = fed.Feed(detector).feed(tape()[:4_000])
    saved = feed.logic.snapshot()
    before = pickle.dumps(saved)
    feed.feed(tape()[4_000:])
    assert pickle.dumps(saved) == before


@every_detector
def test_state_is_bounded(detector: Detector) -> None:
    records = tape()
    short = fed.Feed(detector).feed(records[: len(records) // 2]).state_bytes
    long = whole(detector.id).state_bytes
    assert long <= len(np.unique(records["instrument_id"])) * LARGEST_STATE
    assert long <= short * 1.15 + 200


@every_detector
def test_scoring_without_learning_changes_nothing(detector: Detector) -> None:
    feed = fed.Feed(detector).feed(tape()[:6_000])
    before = pickle.dumps(feed.logic.snapshot())
    (part,) = feed.splitter.split(next(fed.tapes(tape()[6_000:], [])))
    segments = feed.segments(feed.bars.on_batch(part))
    assert segments is not None
    scores = feed.logic.score(segments, learn=False)
    assert pickle.dumps(feed.logic.snapshot()) == before
    again = feed.logic.score(segments, learn=False)
    assert scores.score.tobytes() == again.score.tobytes()


@every_detector
def test_an_instrument_is_judged_by_its_own_records_alone(detector: Detector) -> None:
    records = tape()
    together = fed.Feed(detector).feed(records, [500, 4_000])
    alone = fed.Feed(detector).feed(records[records["instrument_id"] == 2], [77])
    mine = {place: said for place, said in together.said.items() if place[0] == "SYM2"}
    assert mine
    assert fed.same(mine, alone.said)


@every_detector
def test_instruments_may_come_and_go(detector: Detector) -> None:
    records = tape()
    third = len(records) // 3
    parts = [records[:third], records[third : 2 * third], records[2 * third :]]
    parts[0] = parts[0][parts[0]["instrument_id"] != 1]
    parts[1] = parts[1][parts[1]["instrument_id"] != 2]
    feed = fed.Feed(detector)
    for part in parts:
        feed.feed(part)
    for number in (1, 2):
        alone = fed.Feed(detector)
        for part in parts:
            alone.feed(part[part["instrument_id"] == number])
        mine = {place: said for place, said in feed.said.items() if place[0] == f"SYM{number}"}
        assert fed.same(mine, alone.said)


@every_detector
def test_constant_input_is_nothing(detector: Detector) -> None:
    count = 400 * 12
    records = np.zeros(count, TRADE)
    records["instrument_id"], records["publisher_id"], records["action"], records["side"] = 1, 9, b"T", b"N"
    records["ts_recv"] = 19_877 * DAY + 10 * 3_600 * SECOND + np.arange(count) * 5 * SECOND
    records["ts_event"], records["price"], records["size"] = records["ts_recv"], 100_000_000_000, 100
    feed = fed.Feed(detector).feed(records, [1_000])
    assert not any(forced for _, forced in feed.said.values())
    last = np.array(feed.scores_of("SYM1")[300:])
    if detector.reads == "severities" or not len(last):
        return
    assert np.isfinite(last).all()
    assert np.ptp(last) <= 1e-6 * max(1.0, float(np.abs(last).max()))


@every_detector
def test_scores_are_finite_once_it_has_warmed_up(detector: Detector) -> None:
    feed = fed.Feed(detector).feed(tape(360, 2))
    for key in ("SYM1", "SYM2"):
        scores = np.array(feed.scores_of(key))
        known = np.isfinite(scores)
        assert known.any()
        assert known[int(known.argmax()) :].all()
        assert not np.isinf(scores).any()


@every_detector
def test_explanations_add_up_and_name_what_weighs_most(detector: Detector) -> None:
    scores = [score for score, _ in whole(detector.id).said.values() if np.isfinite(score)]
    asked = fed.Feed(detector, float(np.quantile(scores, 0.98)) if scores else 0.0).feed(tape())
    assert asked.explained
    for told, _ in asked.explained:
        assert told.reason
        assert "\n" not in told.reason
        assert np.isfinite([told.observed, told.expected]).all()
        assert sum(told.contributions.values()) == pytest.approx(1.0)
        strongest = max(told.contributions, key=lambda name: abs(told.contributions[name]))
        words = [word for word in strongest.split("_") if len(word) > 3]
        assert any(word in told.reason.lower() for word in words), (strongest, told.reason)


def absurd(rng: np.random.Generator, count: int) -> Array:
    """Return records at the limits of what passes validation."""
    records = np.zeros(count, TRADE)
    records["instrument_id"], records["publisher_id"], records["action"], records["side"] = 1, 9, b"T", b"N"
    step = rng.choice([0, 1, SECOND, MINUTE, DAY, 400 * DAY], count, p=[0.2, 0.2, 0.3, 0.2, 0.08, 0.02])
    records["ts_recv"] = 8_000 * DAY + np.cumsum(step)
    records["ts_event"] = records["ts_recv"] - rng.choice([0, 1, DAY], count).astype(np.uint64)
    limits = [LARGEST_PRICE - 1, -LARGEST_PRICE + 1, 0, 1, -1, 37_000_000_000]
    records["price"] = rng.choice(np.array(limits), count)
    records["size"] = rng.choice(np.array([1, 2**32 - 2, 100], np.uint32), count)
    records["flags"], records["depth"] = rng.integers(0, 256, count), rng.integers(0, 256, count)
    records["rtype"] = rng.integers(0, 2, count)
    return records


@every_detector
@pytest.mark.parametrize("seed", range(tried(3)))
def test_absurd_input_neither_crashes_nor_poisons(detector: Detector, seed: int) -> None:
    rng = np.random.default_rng(seed)
    feed = fed.Feed(detector, 1e-9).feed(absurd(rng, 1_500), [400, 401])
    for told, _ in feed.explained:
        assert sum(told.contributions.values()) == pytest.approx(1.0)
    after = feed.feed(later(), [1_000])
    half = int(later()["ts_recv"][len(later()) // 2])
    mine = {place: said for place, said in after.said.items() if place[0] == "SYM1" and place[1] > half}
    wanted = {
        place: said
        for place, said in clean(detector.id).said.items()
        if place[0] == "SYM1" and place[1] > half
    }
    assert mine
    scores = np.array([score for score, _ in mine.values()])
    usual = np.array([score for score, _ in wanted.values()])
    # What was absurd may be taken for a drift, after which a detector warms up once more.
    scores = scores[np.isfinite(scores)]
    assert 4 * len(scores) > np.isfinite(usual).sum()
    usual = usual[np.isfinite(usual)]
    assert np.median(scores) <= 3 * np.median(usual) + 1
    assert np.median(usual) <= 3 * np.median(scores) + 1
