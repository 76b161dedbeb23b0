"""Detectors that share features in one judge: any cut, shards, snapshots and early windows, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st

from operators.detector import Detector
from operators.judge import JudgeSettings
from operators.online import HalfSpaceTrees
from operators.pretrained import Autoencoder, IsolationForest
from operators.scale import Scale
from tapewatch.records import Tape
from tests.examples import tried

_QUICK = Scale(
    lowest=-5, octaves=13, shape=0.0, spread=0.2, prior_peaks=5, warm_up=10,
    usual_threshold=1.5, prior_observations=5,
)  # fmt: skip


class QuickTrees(HalfSpaceTrees):
    """Half-space trees after a short warm-up."""

    scale: ClassVar[Scale] = _QUICK


class QuickForest(IsolationForest):
    """An isolation forest after a short warm-up."""

    scale: ClassVar[Scale] = _QUICK


class QuickAutoencoder(Autoencoder):
    """An autoencoder after a short warm-up, on bars of another width."""

    scale: ClassVar[Scale] = _QUICK


def judging() -> JudgeSettings:
    detectors: tuple[Detector, ...] = (
        QuickTrees(width="1s", window_size=20, n_trees=8, height=5, drift_delta=0.5),
        QuickForest(width="1s"),
        QuickAutoencoder(width="10s"),
    )
    return JudgeSettings(detectors, 5.0, 0, ("1s",), keep_scores=True, flow="market", source="")


def contents(store: Any) -> str:
    return repr([sorted(part.items(), key=repr) for part in store.contents])


cases = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 2**32 - 1),
        "count": st.integers(300, 1500),
        "instruments": st.integers(1, 5),
        "days": st.integers(1, 2),
        "jitter_ns": st.sampled_from([0, 1, 3_000_000_000]),
    }
)


@settings(max_examples=tried(12), deadline=None)
@given(
    case=cases,
    cuts=st.lists(st.integers(0, 1500), max_size=20),
    shards=st.sampled_from([1, 3]),
    stop=st.integers(0, 8),
)
def test_any_cut_shards_stop_and_resume_give_the_same_results(
    line: Any,
    tapes: Callable[..., Sequence[Tape]],
    trades: Any,
    case: Any,
    cuts: list[int],
    shards: int,
    stop: int,
) -> None:
    records = trades(**case)
    wanted, found = line(judging(), 1), line(judging(), shards)
    for tape in tapes(records, []):
        wanted.feed(tape)
    wanted.end()
    for number, tape in enumerate(tapes(records, cuts)):
        found.feed(tape)
        if number == stop:
            # A graceful stop shows what is unfinished; the next run starts from its snapshot.
            found.end()
            found.resume(found.snapshot())
    found.end()
    assert contents(found.store) == contents(wanted.store)


def test_there_are_scores_and_anomalies_of_each(line: Any, tapes: Any, trades: Any) -> None:
    """The property above would hold of empty tables too."""
    detectors, scored = set(), set()
    for seed in range(4):
        found = line(judging(), 2)
        for tape in tapes(trades(seed, count=3000, instruments=2, days=1), [500, 900]):
            found.feed(tape)
        found.end()
        detectors |= {row[4] for row in found.store.anomalies.values()}
        scored |= {place[0] for place in found.store.scores}
    assert scored == {"half_space_trees", "isolation_forest", "autoencoder"}
    assert detectors == scored
