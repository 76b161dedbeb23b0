"""Faults are told while they are rare, and what the source knows to be missing always."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from operators.breaks import Breaks
from operators.detector import Segments
from operators.faults import Faults
from operators.feed_integrity import FeedIntegrity
from tapewatch.records import BAD_TS_RECV, CROSSED, LOCKED, MAYBE_BAD_BOOK, MINUTE, SECOND, Array

ticks: Any = import_module("tests.operators.test_bad_ticks")
fed: Any = import_module("tests.operators.detector_feed")


def told(records: Array, cuts: Any = (), **settings: Any) -> dict[int, str]:
    """Return the reasons by index of the record."""
    (_, faults) = FeedIntegrity(**settings).parts
    feed = fed.Feed(faults).feed(records, cuts)
    forced = [place[1] for place, (_, forced) in feed.said.items() if forced]
    index = {int(at): i for i, at in enumerate(records["ts_event"])}
    return {index[at]: told.reason for at, (told, _) in zip(forced, feed.explained, strict=True)}


def quiet(count: int = 5_000) -> Array:
    records: Array = ticks.prints(np.full(count, 10_000))
    return records


@pytest.mark.parametrize("cuts", [[], [1_999, 2_000, 2_001]])
def test_each_kind_is_told_in_its_words(cuts: list[int]) -> None:
    records = quiet()
    records["depth"][2_000], records["depth"][2_500] = CROSSED, LOCKED
    records["flags"][3_000], records["flags"][4_500] = MAYBE_BAD_BOOK, BAD_TS_RECV
    records["ts_event"][3_500] -= np.uint64(5 * SECOND - 1)
    reasons = told(records, cuts)
    assert reasons.keys() == {2_000, 2_500, 3_000, 3_500, 4_500}
    assert reasons[2_000].startswith("The book of SYM1 is crossed")
    assert reasons[2_500].startswith("The book of SYM1 is locked")
    assert reasons[3_000].startswith("The publisher doubts")
    assert reasons[3_500].startswith("The clock of SYM1 goes back by 4 s")


def test_what_is_usual_is_not_told() -> None:
    records = quiet(30_000)
    records["depth"][1_000::50] = CROSSED
    assert len(told(records)) <= 3
    # And once it has not been for long, it is again.
    records["depth"][5_000:] = 0
    records["depth"][29_000] = CROSSED
    assert 29_000 in told(records)


def test_nothing_is_told_of_an_unknown_instrument() -> None:
    records = quiet(1_200)
    records["depth"][[10, 900]] = CROSSED
    assert told(records) == {}


def test_small_steps_back_are_none() -> None:
    records = quiet()
    records["ts_event"][3_000] -= np.uint64(3 * SECOND // 2)
    assert told(records) == {}
    assert told(records, backwards_ms=400.0).keys() == {3_000}


def breaks(**arrays: Any) -> Breaks:
    base = {"at": [40], "since": [0], "lost": [0], "told": [False], "unfit": [0], **arrays}
    return Breaks(**{name: np.array(values) for name, values in base.items()})


def missing(records: Array, found: Breaks, **settings: Any) -> list[tuple[int, bool, float, str]]:
    times = records["ts_recv"].astype(np.int64)
    segments = Segments(
        np.array([0], np.int32), np.array([0, len(records)]), records, times, ["SYM1"], times, found
    )
    (_, faults) = FeedIntegrity(**settings).parts
    logic = faults.build(None)
    scores = logic.score(segments)
    assert scores.judged is not None
    assert scores.decided is not None
    assert scores.forced is not None
    assert scores.least is not None
    return [
        (int(at), bool(scores.forced[i]), float(scores.least[i]),
         logic.explain(scores.judged.items[i], "SYM1", scores, i, 1.0).reason)
        for i, at in enumerate(scores.decided)
    ]  # fmt: skip


def test_lost_records_are_always_told_and_graver_the_more_they_are() -> None:
    records = quiet(100)
    since = [int(records["ts_event"][39])]
    ((at, forced, least, reason),) = missing(records, breaks(lost=[100], told=[True], since=since))
    assert (at, forced, least) == (40, True, 75.0)
    assert reason.startswith("100 records were lost, as their numbers show, in 1 s before the trade")
    ((_, forced, least, reason),) = missing(records, breaks(told=[True], since=since))
    assert (forced, least) == (True, 50.0)
    assert reason.startswith("The feed was interrupted")
    ((_, forced, _, _),) = missing(records, breaks())
    assert not forced


@pytest.mark.parametrize(("unfit", "forced"), [(9, False), (10, True), (5_000, True)])
def test_unusable_records_are_told_if_they_are_many(unfit: int, forced: bool) -> None:
    ((_, is_told, _, reason),) = missing(quiet(100), breaks(unfit=[unfit]))
    assert is_told is forced
    assert f"{unfit:,} unusable records of SYM1" in reason
    ((_, is_told, _, _),) = missing(quiet(100), breaks(unfit=[unfit]), unusable_records=6_000)
    assert not is_told


def test_episodes_are_of_faults() -> None:
    assert (Faults().unit, Faults().gap_ns, Faults().id) == ("faults", MINUTE, "feed_integrity.faults")
