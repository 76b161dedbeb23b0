"""Thin windows are those far below an instrument's own session, for any cut of the bars."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sessions import Session
from models.quality import judged
from operators.detector import Explanation, Scores, Segments, segments_of_bars
from operators.high_volume import HighVolume
from operators.judge import JudgeSettings
from operators.scale import Scale
from operators.thin_trading import LEAST_SEVERITY, ThinTrading
from tapewatch.documents import BAR
from tapewatch.records import DAY, HOUR, MINUTE, TRADE, Array
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


def told(at: int, size: int) -> list[tuple[int, float]]:
    """Return minute and severity of what is told of 300 busy minutes and 60 thin ones with one large trade."""
    rng = np.random.default_rng(3)
    minute = np.concatenate([np.repeat(np.arange(300), 40), np.arange(300, 360)])
    records = np.zeros(len(minute), TRADE)
    records["instrument_id"], records["action"], records["price"] = 1, b"T", 10**11
    records["size"] = 100 + rng.exponential(100, len(minute))
    records["size"][np.flatnonzero(minute == at)[0]] = size
    opens = 20_000 * DAY + 14 * HOUR
    records["ts_recv"] = records["ts_event"] = opens + minute * MINUTE
    session = Session(records, {1: "SYM"}, (), ((opens, opens + DAY),))
    judging = JudgeSettings((Sizes(),), 1.0, 0, (), keep_scores=False, flow="market", source="")
    return [((a.ts_start - opens) // MINUTE, a.severity) for a in judged(session, judging)]


def test_of_thin_windows_only_what_is_severe_is_told() -> None:
    ((minute, severity),) = told(250, 1_500)
    assert minute == 250
    assert 50 < severity < LEAST_SEVERITY
    # The largest trade of the busy minutes is told before.
    assert [minute for minute, _ in told(330, 1_500)] == [293]
    first, (minute, severity) = told(330, 4_000)
    assert (first[0], minute) == (293, 330)
    assert severity >= LEAST_SEVERITY
