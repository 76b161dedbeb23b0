"""Nothing is read twice and nothing is left out, however often and wherever a session breaks off."""

from __future__ import annotations

import pickle
import time
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.live_position import REPLAYED_NS, LivePosition
from tapewatch.records import EARLIEST, LATEST, SECOND, Array
from tests.examples import tried

_BEGIN = EARLIEST + 1000 * SECOND


def tape_of(seed: int, count: int, instruments: int, spread: int, delay: int) -> dict[str, Array]:
    """Return a tape in the order of receipt, many of its records at one time, each a while behind its event."""
    rng = np.random.default_rng(seed)
    times = _BEGIN + np.sort(rng.integers(0, spread, count))
    events = times - rng.integers(0, delay + 1, count)
    keys = rng.integers(0, instruments, count)
    return {
        "keys": keys.astype(np.uint64),
        "times": times.astype(np.uint64),
        "events": events.astype(np.uint64),
        "place": np.arange(count),
    }


def part(tape: dict[str, Array], which: Any) -> dict[str, Array]:
    return {name: column[which] for name, column in tape.items()}


def read(position: LivePosition, session: dict[str, Array], cuts: list[int]) -> list[int]:
    """Read a session in pieces, as the source does; return the places of what was taken for new."""
    replay = position.replay()
    new: list[int] = []
    for which in np.split(
        np.arange(len(session["keys"])), sorted(min(c, len(session["keys"])) for c in cuts)
    ):
        piece = part(session, which)
        if replay is not None:
            piece = part(piece, replay.fresh(piece["keys"], piece["times"]))
        position.advance(piece["keys"], piece["times"], piece["events"])
        new += piece["place"].tolist()
    return new


@settings(max_examples=tried(200), deadline=None)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 120),
    instruments=st.integers(1, 5),
    spread=st.sampled_from([1, 5, 30, 3 * REPLAYED_NS, 100 * SECOND]),
    delay=st.sampled_from([0, 3, SECOND, REPLAYED_NS // 2]),
    breaks=st.lists(st.integers(0, 120), max_size=5),
    cuts=st.lists(st.integers(0, 120), max_size=4),
    selects=st.sampled_from(["times", "events"]),
    shuffled=st.booleans(),
)
def test_every_record_is_read_once(
    seed: int, count: int, instruments: int, spread: int, delay: int, breaks: list[int], cuts: list[int],
    selects: str, shuffled: bool,
) -> None:  # fmt: skip
    tape = tape_of(seed, count, instruments, spread, delay)
    position = LivePosition()
    found: list[int] = []
    for number, end in enumerate([*sorted(min(at, count) for at in breaks), count]):
        start = position.start
        chosen = np.arange(end) if start is None else np.flatnonzero(tape[selects][:end] >= start)
        if shuffled and number:
            # Another order between the instruments, for what has the same time of receipt.
            weight = np.random.default_rng((seed, number)).permutation(instruments)
            order = np.lexsort((weight[tape["keys"][chosen].astype(int)], tape["times"][chosen]))
            chosen = chosen[order]
        found += read(position, part(tape, chosen), cuts)
        position = LivePosition.load(pickle.loads(pickle.dumps(position.dump())))
    assert sorted(found) == list(range(count))
    for key in range(instruments):
        own = [place for place in found if tape["keys"][place] == key]
        assert own == sorted(own)


@settings(max_examples=tried(100), deadline=None)
@given(
    seed=st.integers(0, 2**32),
    end=st.integers(1, 100),
    aged=st.integers(0, 100),
    spread=st.sampled_from([1, 100]),
)
def test_what_begins_behind_the_last_record_is_told(seed: int, end: int, aged: int, spread: int) -> None:
    tape = tape_of(seed, 100, 3, spread * SECOND, 0)
    tape["times"] = tape["events"] = _BEGIN + np.arange(100, dtype=np.uint64) * np.uint64(spread)
    position = LivePosition()
    read(position, part(tape, slice(0, end)), [])
    replay = position.replay()
    assert replay is not None
    begin = max(aged, int(np.searchsorted(tape["events"], position.start or 0)))
    fresh = replay.fresh(tape["keys"][begin:], tape["times"][begin:])
    assert fresh.tolist() == [at >= end for at in range(begin, 100)]
    assert replay.missed == (begin >= end if begin < 100 else None)


def test_a_record_without_a_possible_time_moves_nothing() -> None:
    tape = tape_of(1, 20, 2, 50, 5)
    position, other = LivePosition(), LivePosition()
    position.advance(*(tape[name] for name in ("keys", "times", "events")))
    for odd in (0, EARLIEST - 1, LATEST + 1, 2**64 - 1, time.time_ns() + 2 * 86_400 * SECOND):
        strange = part(tape, np.repeat(np.arange(20), 2))
        strange["times"][::2] = odd
        other = LivePosition()
        other.advance(strange["keys"], strange["times"], strange["events"])
        assert repr(other.dump()) == repr(position.dump())
        replay = other.replay()
        assert replay is not None
        # All but what stands behind the last one that was read.
        assert np.flatnonzero(replay.fresh(strange["keys"], strange["times"])).tolist() == []
        assert replay.missed is False


def test_what_is_remembered_is_of_half_a_minute() -> None:
    position = LivePosition()
    keys = np.arange(100_000, dtype=np.uint64)
    times = (_BEGIN + np.arange(100_000) * (SECOND // 100)).astype(np.uint64)
    for first in range(0, 100_000, 1_000):
        at = slice(first, first + 1_000)
        position.advance(keys[at], times[at], times[at])
        assert len(position.keys) <= 2 * REPLAYED_NS // (SECOND // 100) + 1_001
    assert len(position.keys) == 2 * REPLAYED_NS // (SECOND // 100) + 1


def test_a_replay_is_over_once_all_of_it_is_behind() -> None:
    tape = tape_of(3, 50, 3, SECOND, 0)
    position = LivePosition()
    position.advance(tape["keys"], tape["times"], tape["events"])
    replay = position.replay()
    assert replay is not None
    later = tape["times"] + np.uint64(REPLAYED_NS)
    assert replay.fresh(tape["keys"], later).all()
    assert not replay.over
    assert replay.fresh(tape["keys"], later + np.uint64(SECOND)).all()
    assert replay.over


def test_a_last_record_that_was_reported_late_is_replayed_whichever_time_is_asked_for() -> None:
    times = np.array([_BEGIN, _BEGIN + 60 * SECOND], np.uint64)
    events = np.array([_BEGIN, _BEGIN + 5 * SECOND], np.uint64)
    position = LivePosition()
    position.advance(np.array([1, 2], np.uint64), times, events)
    assert position.start is not None
    assert position.start < events[1]
    replay = position.replay()
    assert replay is not None
    assert not replay.fresh(np.array([2], np.uint64), times[1:]).any()
    assert replay.missed is False
