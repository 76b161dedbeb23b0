"""Opening and closing prints are held against those of the days before, for any cut of the trades."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sessions import Session
from models.quality import judged
from operators.block_trade import BlockTrade
from operators.crosses import Crosses
from operators.judge import JudgeSettings
from tapewatch.records import DAY, HOUR, MINUTE, TRADE, Array, Int64s
from tests.examples import tried

OPENS, CLOSES = 14 * HOUR, 20 * HOUR
#: Sizes of the prints of the days before; no other trade is larger than 3,000.
OPENING, CLOSING = 40_000, 60_000


def day(seed: int, number: int, prints: dict[int, int]) -> Array:
    """Return a day of quiet hours around a busy session, with single large trades at times of the day, ns."""
    rng = np.random.default_rng(seed)
    hours = [(12 * HOUR, OPENS, 40), (OPENS, CLOSES, 4_000), (CLOSES, 22 * HOUR, 40)]
    times = [np.sort(rng.integers(first, last, count)) for first, last, count in hours]
    whole = np.concatenate([*times, np.array(list(prints), np.int64)])
    records = np.zeros(len(whole), TRADE)
    records["instrument_id"], records["action"], records["price"] = 1, b"T", 10**11
    records["size"] = np.minimum(100 * rng.pareto(2.5, len(whole)) + 1, 3_000)
    records["size"][len(whole) - len(prints) :] = list(prints.values())
    records["ts_recv"] = records["ts_event"] = number * DAY + whole
    return records[np.argsort(whole, kind="stable")]


def told(prints: dict[int, int]) -> list[tuple[int, int]]:
    """Return time of the day and size of the blocks that are told on the third day with these prints."""
    usual = {OPENS + 3_000_000_000: OPENING, CLOSES + 5_000_000_000: CLOSING}
    days = [day(1, 20_000, usual), day(2, 20_001, usual), day(3, 20_002, prints)]
    session = Session(np.concatenate(days), {1: "SYM"}, (), ((20_000 * DAY, 20_003 * DAY),))
    judging = JudgeSettings((BlockTrade(),), 1.0, 0, (), keep_scores=False, flow="market", source="")
    found = judged(session, judging)
    return [(a.ts_start % DAY, int(a.observed)) for a in found if a.ts_start // DAY == 20_002]


def test_prints_like_those_of_the_days_before_are_not_told() -> None:
    assert told({OPENS + 9_000_000_000: OPENING * 3 // 2, CLOSES + MINUTE: CLOSING}) == []


def test_larger_ones_are_told_and_so_are_those_at_other_times() -> None:
    first = OPENS + 9_000_000_000
    assert told({first: OPENING * 5}) == [(first, OPENING * 5)]
    assert told({OPENS + 2 * HOUR: OPENING}) == [(OPENS + 2 * HOUR, OPENING)]


def stretches(found: tuple[Int64s, Int64s], count: int) -> Int64s:
    usual, begin = found
    return np.repeat(usual, np.diff(np.append(begin, count)))


@settings(max_examples=tried(10), deadline=None)
@given(cuts=st.lists(st.integers(1, 8_160), max_size=4), resumed=st.booleans())
def test_any_cut_and_any_resume_give_the_same(cuts: list[int], resumed: bool) -> None:
    usual = {OPENS: OPENING, CLOSES: CLOSING}
    records = np.concatenate([day(n, 20_000 + n, usual) for n in range(2)])
    times, sizes = records["ts_event"].astype(np.int64), np.ascontiguousarray(records["size"])
    count, row = len(records), np.array([2])
    whole = stretches(Crosses().usual(row, np.array([0, count]), times, sizes, learn=True), count)
    assert set(whole[: count // 2].tolist()) == {0}
    assert {OPENING, CLOSING} <= set(whole.tolist())
    crosses, parts = Crosses(), []
    for first, last in zip([0, *sorted(set(cuts))], [*sorted(set(cuts)), count], strict=True):
        one = np.array([0, last - first])
        looked = crosses.usual(row, one, times[first:last], sizes[first:last], learn=False)
        parts.append(
            stretches(crosses.usual(row, one, times[first:last], sizes[first:last], learn=True), last - first)
        )
        assert np.array_equal(stretches(looked, last - first), parts[-1])
        if resumed:
            crosses = Crosses(crosses.snapshot())
    assert np.array_equal(np.concatenate(parts), whole)


def test_what_is_not_seen_again_fades() -> None:
    crosses, row = Crosses(), np.array([0])
    seen = []
    for number in range(30):
        records = day(7, number, {OPENS: OPENING} if number == 0 else {})
        times, sizes = records["ts_event"].astype(np.int64), np.ascontiguousarray(records["size"])
        found = stretches(crosses.usual(row, np.array([0, len(times)]), times, sizes, learn=True), len(times))
        seen.append(int(found.max()))
    assert seen[:2] == [0, OPENING]
    assert seen[1:] == sorted(seen[1:], reverse=True)
    assert seen[-1] <= 3_000
