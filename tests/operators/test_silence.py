"""Silences are held against an instrument's own rhythm; nights, weekends and lunches are none."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.feed_integrity import FeedIntegrity
from tapewatch.records import DAY, HOUR, MINUTE, SECOND, TRADE, Array, Int64s
from tests.examples import tried

fed: Any = import_module("tests.operators.detector_feed")
MONDAY = 19_877 * DAY
SILENCES = FeedIntegrity()


def trades(times: Any) -> Array:
    records = np.zeros(len(times), TRADE)
    records["instrument_id"], records["action"], records["size"], records["price"] = 1, b"T", 100, 10**11
    records["ts_recv"] = records["ts_event"] = np.asarray(times, np.int64)
    return records


def session(day: int, begin_ns: int, end_ns: int, every_ns: int = 2 * SECOND, seed: int = 0) -> Int64s:
    """Return times of a day's trades, on average one each ``every_ns``."""
    rng = np.random.default_rng((seed, day))
    count = (end_ns - begin_ns) // every_ns
    return MONDAY + day * DAY + np.sort(rng.integers(begin_ns, end_ns, count))


def said(times: Any, **limits: float) -> dict[int, tuple[float, bool]]:
    feed = fed.Feed(FeedIntegrity(limits=limits)).feed(trades(times), [700, 5_000])
    return {place[1]: what for place, what in feed.said.items()}


@settings(max_examples=tried(20), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), every=st.sampled_from([SECOND // 50, SECOND, 40 * SECOND]))
def test_scores_follow_the_definition(seed: int, every: int) -> None:
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(every, 900).astype(np.int64)
    gaps[rng.random(900) < 0.3] = 5 * SECOND // 1000
    gaps[rng.integers(300, 890, 4)] += 40 * every
    times = MONDAY + 10 * HOUR + np.cumsum(np.minimum(gaps, 10 * MINUTE))
    beats = np.minimum(np.diff(times), 10 * MINUTE)
    found = said(times)
    wanted = {}

    def mean(some: list[int]) -> float:
        """Return the mean time between trades, of which what follows at once is a part."""
        return sum(some) / max(sum(beat > 20 * SECOND // 1000 for beat in some), 1)

    for i in range(1, len(times) - 16):
        # Blocks are counted from the seventeenth place on, before which nothing had been waited for.
        blocks = [0] * 17 + beats[: i - 1].tolist()
        whole = len(blocks) // 128
        if not whole:
            continue
        before, after = mean(beats[max(0, i - 65) : i - 1].tolist()), mean(beats[i : i + 16].tolist())
        lately = mean(blocks[max(0, whole - 4) * 128 : whole * 128])
        usual = max((8 * before + 6 * after + 24 * lately) / 38, after * 0.4, SECOND / 10)
        if times[i] - times[i - 1] >= 2 * max(usual, before):
            wanted[int(times[i])] = (times[i] - times[i - 1]) / usual
    assert found.keys() == wanted.keys()
    for at, score in wanted.items():
        assert found[at][0] == pytest.approx(score, rel=1e-12)


def test_how_many_records_make_a_trade_changes_nothing() -> None:
    """Of a tape and the same one with each trade in four records."""
    times = session(0, 14 * HOUR, 16 * HOUR)
    times = times[np.append(True, np.diff(times) > 100 * SECOND // 1000)]
    times = times[(times < MONDAY + 15 * HOUR) | (times > MONDAY + 15 * HOUR + MINUTE)]
    scores = []
    for records in (1, 4):
        whole = (times[:, None] + np.arange(records) * SECOND // 1000).ravel()
        scores.append(max(score for score, _ in said(whole).values()))
    assert scores[1] == pytest.approx(scores[0], rel=0.3)


def test_a_silence_in_the_session_stands_out_and_says_why() -> None:
    times = session(0, 14 * HOUR, 16 * HOUR)
    times = times[(times < MONDAY + 15 * HOUR) | (times > MONDAY + 15 * HOUR + 4 * MINUTE)]
    feed = fed.Feed(SILENCES, 50.0).feed(trades(times))
    ((told, score),) = feed.explained
    assert score > 80
    assert told.observed == pytest.approx(4 * 60, abs=15)
    assert told.expected == pytest.approx(2.4, abs=0.6)
    assert "No trade of SYM1 for 4" in told.reason
    assert "min" in told.reason


def test_the_close_and_the_first_night_are_no_silences() -> None:
    """Trading fades into few prints after hours; the next day begins as busy as ever."""
    parts = []
    for day in (0, 1):
        parts += [session(day, 14 * HOUR, 16 * HOUR), session(day, 16 * HOUR, 20 * HOUR, 4 * MINUTE)]
    times = np.concatenate(parts)
    opened = np.flatnonzero(np.diff(times) > 10 * HOUR)
    assert len(opened) == 1
    found = said(times)
    assert int(times[opened[0] + 1]) not in found
    assert max(score for score, _ in found.values()) < 16


@pytest.mark.parametrize("days", [1, 2, 6])
def test_lunch_is_no_silence_once_it_is_known(days: int) -> None:
    """Without history half an hour is the most that counts; with it, the time that was traded in before."""
    times = np.concatenate(
        [
            part
            for day in range(days)
            for part in (session(day, HOUR, 3 * HOUR), session(day, 4 * HOUR, 6 * HOUR))
        ]
    )
    # On the last day it lasts half an hour longer on either side.
    last = MONDAY + (days - 1) * DAY
    times = times[(times < last + 150 * MINUTE) | (times > last + 270 * MINUTE)]
    found = said(times)
    behind = int(times[np.searchsorted(times, last + 4 * HOUR)])
    for at, (score, _) in found.items():
        assert score < 20 or at == behind
    if days == 1:
        assert behind not in found
    else:
        assert found[behind][0] * 2 * SECOND == pytest.approx(HOUR, rel=0.4)


def test_a_weekend_is_no_silence() -> None:
    times = np.concatenate([session(day, 14 * HOUR, 16 * HOUR) for day in (3, 4, 7)])
    assert max(score for score, _ in said(times).values()) < 20


def test_a_limit_tells_pauses_of_the_session_only() -> None:
    times = np.concatenate([session(day, 14 * HOUR, 16 * HOUR) for day in (0, 1)])
    times = times[(times < MONDAY + 15 * HOUR) | (times > MONDAY + 15 * HOUR + MINUTE)]
    found = said(times, SYM1=45.0)
    assert [at for at, (_, forced) in found.items() if forced] == [
        int(times[np.searchsorted(times, MONDAY + 15 * HOUR)])
    ]
    assert not any(forced for _, forced in said(times, SYM2=45.0).values())


def test_a_limit_holds_for_slow_and_unknown_instruments() -> None:
    times = MONDAY + 14 * HOUR + np.arange(60) * 40 * SECOND
    times[30:] += 10 * SECOND
    feed = fed.Feed(FeedIntegrity(limits={"*": 45.0})).feed(trades(times), [7])
    ((place, (score, forced)),) = feed.said.items()
    assert forced
    assert np.isnan(score)
    assert place[1] == int(times[30])
    ((told, _),) = feed.explained
    assert told.reason == "No trade of SYM1 for 50 s, over the limit of 45 s"
    assert told.contributions == {"limit": 1.0}
