"""Tails: what is known of a distribution comes out of a sample, and no row depends on its neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.scale import Scale
from operators.tails import ONE, Histograms, Tail
from tapewatch.records import Array, Floats
from tests.examples import tried

SCALE = Scale(lowest=0, octaves=24, shape=0.4, spread=0.5, prior_peaks=50, warm_up=100, heaviest=0.6)


def counted(*samples: Floats, scale: Scale = SCALE) -> Array:
    """Return the histograms' counts of some samples."""
    counts = np.zeros((len(samples), scale.bins), np.int32)
    for row, sample in zip(counts, samples, strict=True):
        np.add.at(row, scale.bin_of(sample), ONE)
    return counts


rows = st.lists(
    st.tuples(st.integers(0, 2**32 - 1), st.integers(1, 3_000), st.floats(0.8, 5.0)), min_size=1, max_size=6
)


def sample(seed: int, count: int, index: float) -> Floats:
    """Return scores with a Pareto tail of this index."""
    return 50.0 * (1.0 - np.random.default_rng(seed).random(count)) ** (-1.0 / index)


@settings(max_examples=tried(80), deadline=None)
@given(rows=rows, rare=st.floats(1e-9, 0.5))
def test_a_row_does_not_depend_on_its_neighbours(rows: list[tuple[int, int, float]], rare: float) -> None:
    counts = counted(*(sample(*row) for row in rows))
    together = Histograms(SCALE, counts)
    for i, tail in enumerate(together.tails()):
        alone = Histograms(SCALE, counts[i : i + 1])
        assert alone.tails()[0] == tail
        assert alone.exceeded_by(0, rare) == together.exceeded_by(i, rare)
        assert (alone.body(8)[0] == together.body(8)[i]).all()


@settings(max_examples=tried(60), deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 2_000), rare=st.floats(1e-4, 0.9))
def test_the_body_is_that_of_the_sample(seed: int, count: int, rare: float) -> None:
    scores = sample(seed, count, 2.0)
    histogram = Histograms(SCALE, counted(scores))
    edges = SCALE.edges()
    floors = edges[SCALE.bin_of(scores)]
    found = histogram.exceeded_by(0, rare)
    assert (floors >= found).sum() <= rare * count
    below = edges[np.searchsorted(edges, found) - 1]
    assert (floors >= below).sum() > rare * count
    for halving, reached in enumerate(histogram.body(6)[0], start=1):
        # Of fewer scores than that the last half is nothing, which all scores reach.
        assert (floors < reached).sum() >= count - count / 2**halving - 1


@pytest.mark.parametrize("index", [1.5, 2.0, 2.5, 4.0])
def test_quantiles_of_pareto_laws_are_found_in_a_sample(index: float) -> None:
    scale = Scale(lowest=0, octaves=32, shape=0.4, spread=0.5, prior_peaks=20, warm_up=100, heaviest=0.6)
    tails = Histograms(scale, counted(*(sample(s, 60_000, index) for s in range(40)), scale=scale)).tails()
    for rare in (1e-4, 1e-5):
        true = 50.0 * rare ** (-1.0 / index)
        ratio = np.exp(np.median([np.log(tail.quantile(rare) / true) for tail in tails]))
        # A little further away: few peaks say little of what is beyond them.
        assert 0.85 < ratio < 1.45


def test_light_tails_are_told_from_heavy_ones() -> None:
    scale = Scale(lowest=-4, octaves=12, shape=0.0, spread=0.25, prior_peaks=20, warm_up=45)
    rng = np.random.default_rng(1)
    light, heavy = np.abs(rng.normal(size=20_000)) + 0.1, np.abs(rng.standard_t(2, 20_000)) + 0.1
    light_tail, heavy_tail = Histograms(scale, counted(light, heavy, scale=scale)).tails()
    assert light_tail.shape < 0.1 < 0.2 < heavy_tail.shape
    assert light_tail.quantile(1e-5) == pytest.approx(4.5, abs=0.8)


def test_few_peaks_are_shrunk_to_the_pareto_law() -> None:
    few, many = (Histograms(SCALE, counted(sample(3, count, 1.0))).tails()[0] for count in (400, 200_000))
    assert few.shape < 0.75
    assert many.shape > 0.75


def test_an_empty_row_has_a_tail_that_says_nothing() -> None:
    tail = Histograms(SCALE, np.zeros((1, SCALE.bins), np.int32)).tails()[0]
    assert tail.share == 0.0
    assert np.isfinite(tail.quantile(1e-3))


@settings(max_examples=tried(40), deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_neither_where_sums_are_too_long_to_be_exact(seed: int) -> None:
    scale = Scale(lowest=-4, octaves=40, shape=0.4, spread=0.5, prior_peaks=50, warm_up=100)
    rng = np.random.default_rng(seed)
    counts = np.zeros((4, scale.bins), np.int32)
    for row in counts:
        low, width = rng.integers(0, 200), rng.integers(60, 400)
        row[low], row[low + 1 : low + width] = 4e8, rng.integers(1, 200, width - 1)
    for i, tail in enumerate(Histograms(scale, counts).tails()):
        assert Histograms(scale, counts[i : i + 1]).tails()[0] == tail


@pytest.mark.parametrize("shape", [0.0, 0.3])
def test_few_peaks_put_what_is_rare_further_out(shape: float) -> None:
    rare = [Tail(10.0, 2.0, shape, peaks, 50 * peaks).quantile(1e-4) for peaks in (12.0, 120.0, 1e12)]
    assert rare[0] > rare[1] > rare[2]
    # For nothing that is as common as the peaks themselves.
    assert Tail(10.0, 2.0, shape, 12.0, 600.0).quantile(0.02) == pytest.approx(10.0)
