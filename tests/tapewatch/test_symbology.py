"""What an id means depends on the day; what is not known is its own key."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from tapewatch.symbology import Interval, Symbols

INTERVALS = (
    Interval("SPY", 7, 10, 12),
    Interval("QQQ", 7, 12, 20),
    Interval("QQQ", 8, 10, 12),
    Interval("AAA", 7, 10, 12),
)


def test_intervals_are_half_open_and_unknown_ids_are_their_own_keys() -> None:
    symbols = Symbols(INTERVALS[:3])
    assert [symbols.key(7, day) for day in (9, 10, 11, 12, 19, 20)] == ["7", "SPY", "SPY", "QQQ", "QQQ", "7"]
    assert symbols.keys(np.array([7, 8, 9], np.uint32), 11) == ["SPY", "QQQ", "9"]
    assert symbols.mapped(7, 10)
    assert not symbols.mapped(7, 9)


def test_the_order_in_which_intervals_are_learned_changes_nothing() -> None:
    wanted = [Symbols(INTERVALS).key(7, day) for day in range(9, 21)]
    for order in permutations(INTERVALS):
        assert [Symbols(order).key(7, day) for day in range(9, 21)] == wanted


def test_the_version_rises_only_with_what_is_new() -> None:
    symbols = Symbols(INTERVALS)
    before = symbols.version
    symbols.merge(Symbols(INTERVALS))
    assert symbols.version == before
    symbols.add(Interval("IBM", 9, 0, 1))
    assert symbols.version > before
    assert not symbols.empty
    assert Symbols().empty
