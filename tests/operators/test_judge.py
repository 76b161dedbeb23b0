"""The results depend on the data alone: any cut, any number of shards, snapshots and crashes anywhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.bad_ticks import BadTicks
from operators.block_trade import BlockTrade
from operators.detector import Detector, Scores
from operators.ensemble import Ensemble
from operators.faults import Faults
from operators.feed_integrity import FeedIntegrity
from operators.high_volume import HighVolume
from operators.judge import JudgeSettings
from operators.price_jump import PriceJump
from operators.scale import Scale
from tapewatch.documents import ANOMALY_FIELDS
from tapewatch.records import DAY, SECOND, TRADE, Array, Tape
from tests.examples import tried


class QuickBlocks(BlockTrade):
    """Block trades after a short warm-up."""

    scale: ClassVar[Scale] = Scale(lowest=0, octaves=32, shape=0.3, spread=0.5, prior_peaks=5, warm_up=20)


class QuickVolume(HighVolume):
    """High volume after a short warm-up."""

    scale: ClassVar[Scale] = Scale(
        lowest=-4,
        octaves=12,
        shape=0.0,
        spread=0.25,
        prior_peaks=5,
        warm_up=10,
        usual_threshold=1.5,
        prior_observations=5,
    )


_QUICK = Scale(lowest=-4, octaves=14, shape=0.1, spread=0.3, prior_peaks=5, warm_up=10)


class QuickJumps(PriceJump):
    """Price jumps after a short warm-up."""

    scale: ClassVar[Scale] = _QUICK


class QuickTicks(BadTicks):
    """Bad ticks after a short warm-up."""

    scale: ClassVar[Scale] = _QUICK
    least: ClassVar[float] = 2.0
    share: ClassVar[float] = 1.0


class QuickSilences(FeedIntegrity):
    """Silences after a short warm-up."""

    scale: ClassVar[Scale] = _QUICK


class QuickEnsemble(Ensemble):
    """The ensemble after a short warm-up."""

    scale: ClassVar[Scale] = _QUICK


class Fickle(QuickVolume):
    """Windows of a certain number of trades: what they are when they are over says little of what they were."""

    name: ClassVar[str] = "fickle"

    @property
    def gap_ns(self) -> int:
        """Only windows side by side are one episode, so that there are many."""
        return 0

    def build(self, resume: dict[str, Any] | None) -> Any:
        """Return the logic of volumes with other alarms."""
        return _FickleLogic(super().build(resume))


class _FickleLogic:
    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.explain, self.snapshot = inner.explain, inner.snapshot

    def score(self, segments: Any, *, learn: bool = True) -> Scores:
        found = self._inner.score(segments, learn=learn)
        return Scores(np.full(len(segments.items), np.nan), segments.items["trades"] % 3 == 1, found.details)


def judging(lateness_ns: int = 0, **limits: float) -> JudgeSettings:
    detectors: tuple[Detector, ...] = (
        QuickVolume(width="10s", baseline_windows=6, limits=limits),
        Fickle(width="10s", baseline_windows=6),
        QuickBlocks(),
        QuickJumps(width="10s", volatility_windows=6),
        QuickTicks(),
        QuickSilences(limits={"*": 4.0}),
        Faults(),
        QuickEnsemble(width="10s"),
    )
    return JudgeSettings(
        detectors, 5.0, lateness_ns, ("1s", "10s", "1m"), keep_scores=True, flow="market", source=""
    )


def whole(line: Any, tapes: Any, records: Array, lateness_ns: int, **limits: float) -> Any:
    """Return what one shard makes of one batch."""
    reference = line(judging(lateness_ns, **limits), 1)
    for tape in tapes(records, []):
        reference.feed(tape)
    reference.end()
    return reference.store


def differences(found: Any, wanted: Any) -> list[Any]:
    """Return the entries in which two stores differ, few enough to read."""
    different: list[Any] = []
    for name, left, right in zip(
        ("anomalies", "bars", "scores", "counters", "late"), found.contents, wanted.contents, strict=True
    ):
        different += [
            (name, k, left.get(k), right.get(k))
            for k in {**left, **right}
            if repr(left.get(k)) != repr(right.get(k))
        ]
    return different[:6]


cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "count": st.integers(60, 1500),
        "instruments": st.integers(1, 8),
        "days": st.integers(1, 4),
        "jitter_ns": st.sampled_from([0, 0, 1, SECOND // 3, 3 * SECOND, 15 * SECOND]),
    }
)
lateness = st.sampled_from([0, 1, SECOND, 12 * SECOND])
cut = st.lists(st.integers(0, 1500), max_size=30)


@settings(max_examples=tried(40), deadline=None)
@given(case=cases, lateness_ns=lateness, cuts=cut, shards=st.sampled_from([1, 2, 3, 7]))
def test_any_cut_and_any_number_of_shards_give_the_same_results(
    line: Any,
    tapes: Callable[..., Sequence[Tape]],
    trades: Any,
    case: Any,
    lateness_ns: int,
    cuts: list[int],
    shards: int,
) -> None:
    records = trades(**case)
    wanted = whole(line, tapes, records, lateness_ns, SYM1=400.0)
    found = line(judging(lateness_ns, SYM1=400.0), shards)
    for tape in tapes(records, cuts):
        found.feed(tape)
    found.end()
    assert differences(found.store, wanted) == []


@settings(max_examples=tried(40), deadline=None)
@given(
    case=cases, lateness_ns=lateness, cuts=cut, ends=st.sets(st.integers(0, 30), max_size=4), crash=st.integers(0, 30),
    back=st.integers(1, 6),
)  # fmt: skip
def test_stops_crashes_and_resumes_change_nothing(
    line: Any,
    tapes: Any,
    trades: Any,
    case: Any,
    lateness_ns: int,
    cuts: list[int],
    ends: set[int],
    crash: int,
    back: int,
) -> None:
    records = trades(**case)
    wanted = whole(line, tapes, records, lateness_ns)
    found = line(judging(lateness_ns), 3)
    batches = tapes(records, cuts)
    snapshots = [found.snapshot()]
    at, crashed = 0, False
    while at < len(batches):
        found.feed(batches[at])
        at += 1
        if at in ends:
            # A graceful stop shows what is unfinished, then takes the snapshot that the next run starts from.
            found.end()
            found.resume(found.snapshot())
        snapshots = [*snapshots[:at], found.snapshot()]
        if at == crash and not crashed:
            crashed, at = True, max(at - back, 0)
            found.resume(snapshots[at])
    found.end()
    found.end()
    assert differences(found.store, wanted) == []


@pytest.mark.parametrize("jitter_ns", [0, 3 * SECOND])
def test_there_are_anomalies_of_all_kinds_and_some_are_taken_back(
    line: Any, tapes: Any, trades: Any, jitter_ns: int
) -> None:
    """The properties above would hold of empty tables too."""
    wanted = {"high_volume", "block_trade", "price_jump", "feed_integrity", "ensemble", "fickle"}
    detectors: set[str] = set()
    taken_back = 0
    for seed in range(12):
        if detectors == wanted and taken_back:
            break
        records = trades(seed, jitter_ns=jitter_ns)
        found = line(judging(), 2)
        for tape in tapes(records, list(range(0, 1500, 50))):
            found.feed(tape)
            found.end()
        detectors |= {row[4] for row in found.store.anomalies.values()}
        taken_back += found.store.deleted
    assert detectors == wanted
    assert taken_back > 0


def test_what_is_told_of_a_limit_does_not_depend_on_whether_scores_are_kept(
    line: Any, tapes: Any, trades: Any
) -> None:
    records = trades(5, count=1200, days=2)
    stores = []
    for kept in (True, False):
        chosen = replace(judging(0, **{"*": 60.0}), keep_scores=kept)
        found = line(chosen, 1)
        for tape in tapes(records, [300, 700]):
            found.feed(tape)
        found.end()
        stores.append({name: repr(row) for name, row in found.store.anomalies.items()})
    assert len(stores[0]) > 20
    assert stores[0] == stores[1]


def test_a_snapshot_does_not_change_later(line: Any, tapes: Any, trades: Any) -> None:
    found = line(judging(), 1)
    first, *rest = tapes(trades(3), [700, 900])
    found.feed(first)
    bars, judge = found._steps[0]
    held = (bars.snapshot(), judge.snapshot())
    before = found.snapshot()
    for tape in rest:
        found.feed(tape)
    found.end()
    import pickle

    assert pickle.dumps([held]) == before


def trades_at(*moments: tuple[float, int, int]) -> Array:
    """Return trades: seconds since midnight, instrument, size."""
    trades = np.zeros(len(moments), TRADE)
    for trade, (second, instrument, size) in zip(trades, moments, strict=True):
        trade["ts_recv"] = trade["ts_event"] = 1_717_372_800 * SECOND + int(second * SECOND)
        trade["instrument_id"], trade["size"], trade["price"], trade["side"] = instrument, size, SECOND, b"B"
    return trades


#: With twenty minutes of lateness several windows of SYM1 are open at once; over 100 is an anomaly.
PATIENT = replace(judging(1200 * SECOND), detectors=(QuickVolume(width="10s", limits={"SYM1": 100.0}),))


def test_what_was_shown_early_stays_while_other_windows_of_the_instrument_close(
    line: Any, tapes: Any
) -> None:
    """Three windows far apart, so that each is an anomaly of its own."""
    records = trades_at(
        (0, 1, 500), (200, 1, 500), (400, 1, 500), (1700, 2, 1), (1250, 1, 1), (1450, 1, 1), (2900, 2, 1)
    )
    found = line(PATIENT, 1)
    told: list[int] = []
    for tape in tapes(records, [4, 5, 6]):
        found.feed(tape)
        told.append(len(found.store.anomalies))
    assert told == [3, 3, 3, 3]
    assert found.store.deleted == 0
    wanted = line(PATIENT, 1)
    for tape in tapes(records, []):
        wanted.feed(tape)
    found.end()
    wanted.end()
    assert differences(found.store, wanted.store) == []


@pytest.mark.parametrize("ended", [False, True])
def test_windows_that_are_not_over_and_follow_each_other_are_one_anomaly(
    ended: bool, line: Any, tapes: Any
) -> None:
    """Also while the first of them closes, and the others do not."""
    records = trades_at((0, 1, 500), (10, 1, 900), (20, 1, 700), (1700, 2, 1), (1212, 1, 1), (3000, 1, 1))
    found = line(PATIENT, 1)
    spans = []
    for tape in tapes(records, [4, 5]):
        found.feed(tape)
        if ended:
            found.end()
            found.resume(found.snapshot())
        (values,) = found.store.anomalies.values()
        row = dict(zip(ANOMALY_FIELDS, values, strict=True))
        spans.append((row["revision"], row["observed"], row["ts_end"] - row["ts_start"]))
    assert spans == [(3, 500.0, 30 * SECOND)] * 3
    assert found.store.deleted == 0


def test_late_records_are_kept_with_a_place_of_their_own_for_any_cut(line: Any, tapes: Any) -> None:
    records = trades_at(
        (0, 1, 5), (100, 1, 6), (3, 1, 7), (3, 1, 7), (100, 1, 1), (4, 1, 8), (101, 1, 9), (5, 1, 10), (200, 2, 1)
    )  # fmt: skip
    tables = []
    for cuts in ([], [3], [4, 5, 6], list(range(1, 9))):
        found = line(judging(), 2)
        for tape in tapes(records, cuts):
            found.feed(tape)
            found.resume(found.snapshot())
        found.end()
        assert found.store.totals()["late_records"] == 4
        tables.append(found.store.late)
    assert all(table == tables[0] for table in tables)
    places = [
        (key, clock % DAY // SECOND, ordinal, row[9]) for (key, clock, ordinal), row in tables[0].items()
    ]
    assert sorted(places) == [
        ("SYM1", 100, 0, 7),
        ("SYM1", 100, 1, 7),
        ("SYM1", 100, 2, 8),
        ("SYM1", 101, 0, 10),
    ]
