"""Thin windows are those far below an instrument's own session, for any cut of the bars."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sessions import Session
from models.quality import judged
from operators.bad_ticks import BadTicks
from operators.detector import Explanation, Scores, Segments, segments_of_bars
from operators.feed_integrity import FeedIntegrity
from operators.high_volume import HighVolume
from operators.judge import JudgeSettings
from operators.scale import Scale
from operators.thin_trading import LEAST_AT_FIRST, LEAST_SEVERITY, Rhythm, ThinTrading
from tapewatch.documents import BAR
from tapewatch.records import DAY, HOUR, MINUTE, SECOND, TRADE, Array
from tests.examples import tried

NAMES = ["SYM0", "SYM1", "SYM2"]


def bars_of(rows: Array, trades: Array) -> Array:
    """Return bars of some rows, each row's a minute apart, sorted as the flow sorts them."""
    bars = np.zeros(len(rows), BAR)
    bars["row"], bars["trades"] = rows, trades
    for row in np.unique(rows):
        bars["ts_start"][rows == row] = MINUTE * np.arange((rows == row).sum())
    return bars[np.argsort(rows, kind="stable")]


def segments(rows: Array, trades: Array) -> Segments:
    return segments_of_bars(bars_of(rows, trades), NAMES)


def test_before_half_an_hour_is_known_nothing_is_thin() -> None:
    trades = np.array([1_000] * 29 + [1])
    assert not ThinTrading().thin(segments(np.zeros(30, int), trades)).any()


def test_early_and_late_hours_are_thin_once_there_was_a_session() -> None:
    day = np.concatenate([np.full(120, 8), np.full(390, 200), np.full(200, 10)])
    thin = ThinTrading().thin(segments(np.zeros(1_420, int), np.tile(day, 2)))
    assert not thin[:510].any()
    assert thin[510:830].all()
    assert not thin[830:1_220].any()
    assert thin[1_220:].all()


def test_one_burst_does_not_make_the_rest_thin() -> None:
    rng = np.random.default_rng(1)
    trades = rng.poisson(6, 390)
    trades[40] = 50_000
    assert not ThinTrading().thin(segments(np.zeros(390, int), trades)).any()


def test_a_session_long_ago_is_forgotten() -> None:
    trades = np.concatenate([np.full(60, 500), np.full(1_200, 3)])
    thin = ThinTrading().thin(segments(np.zeros(1_260, int), trades))
    assert thin[60:900].all()
    assert not thin[-100:].any()


@settings(max_examples=tried(25), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), cuts=st.lists(st.integers(0, 400), max_size=6))
def test_any_cut_and_resume_say_the_same(seed: int, cuts: list[int]) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.integers(0, 3, 400)
    trades = np.rint(np.exp(rng.normal(5, 1, 400) - 5 * (np.arange(400) > 200))).astype(np.int64)
    bars = bars_of(rows, trades)
    whole = ThinTrading().thin(segments_of_bars(bars, NAMES))
    place = np.argsort(rows, kind="stable")
    found, thin = np.zeros(400, bool), ThinTrading()
    for part in np.split(np.arange(400), sorted(cuts)):
        inside = np.isin(place, part)
        some = segments_of_bars(bars[inside], NAMES)
        shown = thin.thin(some, learn=False)
        found[inside] = thin.thin(some)
        assert (shown == found[inside]).all()
        thin = ThinTrading(thin.snapshot())
    assert (found == whole).all()


class Sizes(HighVolume):
    """Windows by their largest trade."""

    scale: ClassVar[Scale] = Scale(
        lowest=-4, octaves=12, shape=0.0, spread=0.25, prior_peaks=20, warm_up=45, usual_threshold=3.0,
        prior_observations=150,
    )  # fmt: skip

    def build(self, resume: Any) -> Any:
        """Return logic without state."""
        return _SizesLogic()


class _SizesLogic:
    def score(self, segments: Segments, *, learn: bool = True) -> Scores:
        return Scores(segments.items["max_size"] / 100.0, None, {})

    def explain(self, item: np.void, key: str, scores: Scores, index: int, threshold: float) -> Explanation:
        return Explanation(1.0, 1.0, {"size": 1.0}, "large")

    def snapshot(self) -> dict[str, Any]:
        return {}


def told(at: int, size: int, day: int = 0) -> list[tuple[int, float]]:
    """Return minute and severity of what is told of a day: 300 busy minutes and 60 thin, one large trade."""
    sessions = []
    opens = 20_000 * DAY + 14 * HOUR
    for number in range(day + 1):
        rng = np.random.default_rng(3 + number)
        minute = np.concatenate([np.repeat(np.arange(300), 40), np.arange(300, 360)])
        records = np.zeros(len(minute), TRADE)
        records["instrument_id"], records["action"], records["price"] = 1, b"T", 10**11
        records["size"] = 100 + rng.exponential(100, len(minute))
        if number == day:
            records["size"][np.flatnonzero(minute == at)[0]] = size
        records["ts_recv"] = records["ts_event"] = opens + number * DAY + minute * MINUTE
        sessions.append(records)
    session = Session(np.concatenate(sessions), {1: "SYM"}, (), ((opens, opens + (day + 1) * DAY),))
    judging = JudgeSettings((Sizes(),), 1.0, 0, (), keep_scores=False, flow="market", source="")
    found = [(a.ts_start - opens - day * DAY, a.severity) for a in judged(session, judging)]
    return [(start // MINUTE, severity) for start, severity in found if start >= 0]


def test_of_thin_windows_only_what_is_severe_is_told() -> None:
    ((minute, severity),) = told(250, 1_500)
    assert minute == 250
    assert 50 < severity < LEAST_SEVERITY
    # The largest trade of the busy minutes is told before.
    assert [minute for minute, _ in told(330, 1_500)] == [293]
    assert dict(told(330, 8_000))[330] > LEAST_AT_FIRST


def test_on_the_first_day_it_takes_more_than_later() -> None:
    assert [minute for minute, _ in told(330, 2_200)] == [293]
    later = dict(told(330, 2_200, day=1))
    assert LEAST_SEVERITY <= later[330] < LEAST_AT_FIRST


def trades_of(seconds: Array) -> Segments:
    """Return trades of one instrument at these times, after an hour of one a second."""
    times = (20_000 * DAY + 14 * HOUR + np.concatenate([np.arange(3_600), 3_600 + seconds]) * SECOND).astype(
        np.int64
    )
    records = np.zeros(len(times), TRADE)
    records["ts_recv"] = records["ts_event"] = times
    records["price"], records["size"] = 100 * 10**9 + 10**7 * (np.arange(len(times)) % 2), 100
    return Segments(np.array([0]), np.array([0, len(times)]), records, times, NAMES, times)


def test_a_pause_is_in_thin_trading_if_its_neighbours_are() -> None:
    for every, thin in ((5, False), (30, True)):
        seconds = np.arange(200) * every
        seconds[100:] += 30 * every
        scores = FeedIntegrity().build(None).score(trades_of(seconds))
        assert scores.told_from is not None
        assert scores.judged is not None
        at = scores.judged.times == (20_000 * DAY + 14 * HOUR) + (3_600 + int(seconds[100])) * SECOND
        assert scores.told_from[at].tolist() == [75.0 if thin else 0.0]


def test_a_print_is_in_thin_trading_if_its_neighbours_are() -> None:
    for every, thin in ((5, False), (30, True)):
        segments = trades_of(np.arange(200) * every)
        segments.items["price"][3_700] += 10**9
        scores = BadTicks().build(None).score(segments)
        assert scores.told_from is not None
        assert scores.told_from[scores.score.argmax()] == (75.0 if thin else 0.0)


@settings(max_examples=tried(10), deadline=None)
@given(cuts=st.lists(st.integers(1, 1_999), max_size=5))
def test_any_cut_gives_the_same_rhythm(cuts: list[int]) -> None:
    gaps = np.random.default_rng(2).integers(0, SECOND, 2_000)
    row = np.array([1])
    bounds = [0, *sorted(set(cuts)), 2_000]

    def limits(bounds: list[int]) -> list[int]:
        rhythm, found = Rhythm(), []
        for first, last in pairwise(bounds):
            _, limit, begin = rhythm.before(row, np.array([0, last - first]), gaps[first:last], learn=True)
            found += np.repeat(limit, np.diff(np.append(begin, last - first))).tolist()
            rhythm = Rhythm(rhythm.snapshot())
        return found

    assert limits(bounds) == limits([0, 2_000])
