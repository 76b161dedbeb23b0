"""Sequence numbers are believed as far as they prove themselves, for any cut into batches."""

from __future__ import annotations

import pickle
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.numbering import Numbering, Unchecked, unfit
from tapewatch.records import DAY, SECOND, TRADE, Array, Gap
from tapewatch.surveys import survey
from tapewatch.symbology import Interval, Symbols
from tests.examples import tried

SYMBOLS = Symbols(Interval(f"SYM{number}", number, 0, 1 << 31) for number in range(1, 10))
MONDAY = 19_877 * DAY


def tape(count: int, seed: int = 0, publishers: int = 1) -> Array:
    """Return trades of five instruments, the first of them the busiest, numbered by their publishers."""
    rng = np.random.default_rng(seed)
    records = np.zeros(count, TRADE)
    records["ts_recv"] = records["ts_event"] = MONDAY + np.arange(count) * SECOND
    records["instrument_id"] = rng.choice([1, 2, 3, 4, 5], count, p=[0.4, 0.3, 0.1, 0.1, 0.1])
    records["publisher_id"] = rng.integers(1, 1 + publishers, count)
    for number in range(1, 1 + publishers):
        mine = records["publisher_id"] == number
        records["sequence"][mine] = 1_000 * number + np.arange(mine.sum())
    return records


def numbered_each(records: Array) -> Array:
    """Return the tape with numbers that count each instrument's records."""
    records = records.copy()
    for number in np.unique(records["instrument_id"]):
        mine = records["instrument_id"] == number
        records["sequence"][mine] = 500 + np.arange(mine.sum())
    return records


def gaps(
    records: Array, cuts: Sequence[int] = (), *, coded: bool = False, fit: Array | None = None
) -> list[tuple[int, Gap]]:
    """Return the gaps with the place of each among all records that are fit."""
    numbering, clock, before, found = Numbering(), 0, 0, []
    names = tuple(f"SYM{number}" for number in range(10))
    sound = np.ones(len(records), bool) if fit is None else fit
    for part in np.split(np.arange(len(records)), sorted(min(cut, len(records)) for cut in cuts)):
        piece, mask = records[part], sound[part]
        codes = piece["instrument_id"].astype(np.intp) if coded else None
        # Which codes stand for which names differs from batch to batch.
        turn = int(before) % 10
        own = names[turn:] + names[:turn] if coded else ()
        codes = None if codes is None else (codes - turn) % 10
        times = np.where(mask, piece["ts_recv"].astype(np.int64), 0)
        known = survey(piece, times) if len(piece) and mask.all() and not coded else None
        batch = Unchecked(piece, times, clock, None if mask.all() else mask, SYMBOLS, codes, own, known)
        found += [(before + gap.at, gap) for gap in numbering.gaps(batch)]
        numbering = Numbering(pickle.loads(pickle.dumps(numbering.snapshot())))
        before += int(mask.sum())
        clock = max(clock, int(times.max(initial=0)))
    return found


def plain(found: list[tuple[int, Gap]]) -> list[tuple[int, int, int, str, bool]]:
    return [(place, gap.since, gap.lost, gap.key, gap.alone) for place, gap in found]


def test_a_publishers_gap_is_told_of_its_busiest_instrument() -> None:
    records = np.delete(tape(4_000), slice(2_000, 2_037))
    since = int(records["ts_recv"][1_999])
    assert plain(gaps(records)) == [(2_000, since, 37, "SYM1", False)]


def test_an_instruments_own_gap_is_told_of_it_alone() -> None:
    records = numbered_each(tape(12_000))
    third = np.flatnonzero(records["instrument_id"] == 3)
    records = np.delete(records, third[700:705])
    ((place, gap),) = gaps(records)
    assert records["instrument_id"][place] == 3
    assert (gap.lost, gap.key, gap.alone) == (5, "SYM3", True)


@pytest.mark.parametrize(
    "numbers",
    [
        lambda n, rng: np.zeros(n, np.int64),
        lambda n, rng: np.cumsum(rng.integers(0, 40, n)),
        lambda n, rng: np.cumsum(rng.choice([1, 1, 1, 1, 2], n)),
        lambda n, rng: rng.integers(0, 2**32 - 1, n),
        lambda n, rng: np.arange(n)[::-1],
    ],
    ids=["none", "all messages", "most", "random", "backwards"],
)
def test_numbers_that_prove_nothing_say_nothing(numbers: object) -> None:
    records = tape(30_000)
    assert callable(numbers)
    records["sequence"] = numbers(len(records), np.random.default_rng(3)).astype(np.uint32)
    assert gaps(records, [9_000, 20_000]) == []


def test_a_new_numbering_is_no_gap() -> None:
    records = tape(5_000)
    records["sequence"][2_000:] -= np.uint32(2_500)
    records["sequence"][4_000:] += np.uint32(3_000_000_000)
    assert gaps(records) == []


def test_early_gaps_are_not_believed() -> None:
    assert gaps(np.delete(tape(3_000), slice(900, 950))) == []


@settings(max_examples=tried(60), deadline=None)
@given(
    seed=st.integers(0, 99),
    publishers=st.integers(1, 3),
    each=st.booleans(),
    coded=st.booleans(),
    cuts=st.lists(st.integers(0, 9_000), max_size=12),
    losses=st.lists(st.tuples(st.integers(1_100, 8_900), st.integers(1, 50)), max_size=6),
)
def test_any_cut_tells_the_same_gaps(
    seed: int, publishers: int, each: bool, coded: bool, cuts: list[int], losses: list[tuple[int, int]]
) -> None:
    records = tape(9_000, seed, publishers)
    records = numbered_each(records) if each else records
    kept = np.ones(len(records), bool)
    for begin, length in losses:
        kept[begin : begin + length] = False
    records = records[kept]
    fit = np.random.default_rng(seed).random(len(records)) > 0.01
    whole = plain(gaps(records, [], coded=coded, fit=fit))
    assert plain(gaps(records, cuts, coded=coded, fit=fit)) == whole
    if losses and not each and publishers == 1 and all(begin > 2_000 for begin, _ in losses):
        assert whole


def test_unfit_records_are_placed_before_the_next_fit_one() -> None:
    records = tape(10)
    fit = np.ones(10, bool)
    fit[[0, 1, 5, 9]] = False
    batch = Unchecked(records, records["ts_recv"].astype(np.int64), 0, fit, SYMBOLS, None, ())
    places: dict[str, list[int]] = {}
    for at, place in ((0, 0), (1, 0), (5, 3), (9, 6)):
        places.setdefault(f"SYM{records['instrument_id'][at]}", []).append(place)
    assert {key: found.tolist() for key, found in unfit(batch).items()} == places
    whole = Unchecked(records, records["ts_recv"].astype(np.int64), 0, None, SYMBOLS, None, ())
    assert unfit(whole) == {}
