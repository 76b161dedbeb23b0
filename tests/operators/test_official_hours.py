"""Official hours: opening and closing prints of a first day take more to be told, nothing else does."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.sessions import Session
from models.quality import judged
from operators.block_trade import BlockTrade
from operators.detector import Segments
from operators.detectors import detectors
from operators.judge import JudgeSettings
from operators.official_hours import SLOT, SLOTS, Hours, OfficialHours, edge_slots
from tapewatch.errors import UserError
from tapewatch.publishers import datasets_by_publisher
from tapewatch.records import DAY, HOUR, MINUTE, SECOND, TRADE, Array
from tests.examples import tried

NEW_YORK = Hours.parsed("09:30-16:00 America/New_York")
#: 2013-10-07, in summer time: from 13:30 to 20:00 UTC.
DATE = 15_985
OPENS, CLOSES = 13 * HOUR + 30 * MINUTE, 20 * HOUR
MINI, SIMULATED = 95, 9_999


def day(number: int, prints: dict[int, int], publisher: int = MINI) -> Array:
    """Return a day of quiet hours around a session, with single large trades at times of the day, ns."""
    rng = np.random.default_rng(number)
    hours = [(9 * HOUR, OPENS, 1_500), (OPENS, CLOSES, 4_000), (CLOSES, 23 * HOUR, 300)]
    times = [np.sort(rng.integers(first, last, count)) for first, last, count in hours]
    whole = np.concatenate([*times, np.array(list(prints), np.int64)])
    records = np.zeros(len(whole), TRADE)
    records["instrument_id"], records["publisher_id"] = 1, publisher
    records["action"], records["price"] = b"T", 10**11
    records["size"] = np.minimum(100 * rng.pareto(2.5, len(whole)) + 1, 3_000)
    records["size"][len(whole) - len(prints) :] = list(prints.values())
    records["ts_recv"] = records["ts_event"] = number * DAY + whole
    return records[np.argsort(whole, kind="stable")]


def told(records: Array, detector: BlockTrade) -> list[int]:
    """Return the sizes of the blocks that are told."""
    session = Session(records, {1: "SYM"}, (), ((DATE * DAY, (DATE + 2) * DAY),))
    judging = JudgeSettings((detector,), 1.0, 0, (), keep_scores=False, flow="market", source="")
    return [int(anomaly.observed) for anomaly in judged(session, judging)]


def test_opening_and_closing_prints_of_a_first_day_are_not_told() -> None:
    prints = {OPENS + SECOND: 15_000, CLOSES + 5 * SECOND: 14_000}
    assert told(day(DATE, prints), BlockTrade()) == []
    assert 15_000 in told(day(DATE, prints), BlockTrade(sessions={}))
    assert 15_000 in told(day(DATE, prints, SIMULATED), BlockTrade())
    elsewhere = BlockTrade(sessions={"09:30-16:00 Europe/Berlin": ["EQUS.*"]})
    assert 15_000 in told(day(DATE, prints), elsewhere)


def test_what_is_beyond_everything_is_told_and_so_is_what_comes_at_another_time() -> None:
    assert told(day(DATE, {OPENS + SECOND: 40_000_000}), BlockTrade()) == [40_000_000]
    assert told(day(DATE, {OPENS + 11 * MINUTE: 15_000}), BlockTrade()) == [15_000]
    assert told(day(DATE, {OPENS - 6 * MINUTE: 15_000}), BlockTrade()) == [15_000]


def test_only_the_first_day_is_spared() -> None:
    records = np.concatenate([day(DATE, {}), day(DATE + 1, {CLOSES + SECOND: 60_000})])
    assert 60_000 in told(records, BlockTrade())


@settings(max_examples=tried(40), deadline=None)
@given(
    date=st.integers(0, 40_000), zone=st.sampled_from(["America/New_York", "Asia/Tokyo", "Australia/Sydney"])
)
def test_edges_lie_where_the_clock_of_the_venue_says(date: int, zone: str) -> None:
    hours = replace(NEW_YORK, zone=zone)
    for slot in np.flatnonzero(edge_slots(hours, date)).tolist():
        begin = (date * DAY + slot * SLOT) // SECOND
        local = dt.datetime.fromtimestamp(begin, dt.UTC).astimezone(ZoneInfo(zone))
        minutes = local.hour * 60 + local.minute
        assert minutes in {565, 570, 955, 960}
    # Clocks change at night: as many edges as on any other date, on this date or those beside it.
    assert sum(edge_slots(hours, date + beside).sum() for beside in (-1, 0, 1)) >= 8


@settings(max_examples=tried(15), deadline=None)
@given(cuts=st.lists(st.integers(1, 11_599), max_size=5), resumed=st.booleans())
def test_any_cut_and_any_resume_give_the_same(cuts: list[int], resumed: bool) -> None:
    records = np.concatenate([day(DATE, {}), day(DATE + 1, {})])
    times = records["ts_event"].astype(np.int64)

    def marked(hours: OfficialHours, first: int, last: int) -> Array:
        mine = times[first:last]
        one = np.array([0, last - first])
        segments = Segments(np.array([3]), one, records[first:last], mine, ["SYM"] * 4)
        begin = np.union1d(np.flatnonzero(np.diff(mine // SLOT)) + 1, [0])
        found = np.zeros(last - first, bool)
        ends = np.append(begin, last - first)
        for i in hours.at_first_edges(segments, begin, mine).tolist():
            found[ends[i] : ends[i + 1]] = True
        return found

    datasets = BlockTrade().sessions
    whole = marked(OfficialHours(datasets), 0, len(records))
    slots = np.unique(times[whole] // SLOT % SLOTS).tolist()
    assert slots == np.flatnonzero(edge_slots(NEW_YORK, DATE)).tolist()
    assert not whole[times >= (DATE + 1) * DAY].any()
    hours, parts = OfficialHours(datasets), []
    for first, last in zip([0, *sorted(set(cuts))], [*sorted(set(cuts)), len(records)], strict=True):
        parts.append(marked(hours, first, last))
        if resumed:
            hours = OfficialHours(datasets, hours.snapshot())
    assert np.array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("9:30-16:00 America/New_York", "must name hours as 09:30-16:00 America/New_York, has '9:30-16:00"),
        ("09:30-24:00 UTC", "must name hours"),
        ("09:30-16:00 Mars/Olympus", "must name a time zone such as America/New_York, has 'Mars/Olympus'"),
        ("09:30-16:00 ../../etc/passwd", "must name a time zone"),
    ],
)
def test_hours_that_are_none_are_refused_in_a_line(text: str, said: str) -> None:
    with pytest.raises(UserError, match=r"`detectors\.block_trade\.sessions` ") as refused:
        detectors({"block_trade": {"sessions": {text: ["EQUS.*"]}}})
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)


def test_publishers_are_those_of_the_data_vendor() -> None:
    publishers = pytest.importorskip("databento.common.publishers")
    known = datasets_by_publisher()
    for publisher in publishers.Publisher:
        number = publisher.to_int()
        if number in known:
            assert known[number] == publisher.dataset.value
