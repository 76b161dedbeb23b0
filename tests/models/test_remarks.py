"""Remarks are facts of the tape."""

from __future__ import annotations

import numpy as np
import pytest

from models.remarks import DayTape, remark_on_silence, remark_on_trade, remark_on_window
from tapewatch.records import MINUTE, SECOND

_DELAY = 300_000


def steady(count: int = 1_200, every: int = SECOND, price: float = 50.0) -> DayTape:
    """Return a tape of equal trades; what is received is a little later than what happened."""
    events = 40_000 * SECOND + np.arange(count) * every
    return DayTape(events + _DELAY, events, np.full(count, price), np.full(count, 100))


def test_a_print_apart_from_its_neighbours() -> None:
    tape = steady()
    tape.prices[600], tape.sizes[600] = 50.5, 1_234
    said = remark_on_trade(tape, int(tape.events[600]), 1_234)
    assert "1.00 % above its neighbours" in said
    tape.prices[600] = 49.0
    assert "2.00 % below its neighbours" in remark_on_trade(tape, int(tape.events[600]))


def test_a_trade_that_is_not_there_gets_no_remark() -> None:
    tape = steady()
    assert remark_on_trade(tape, int(tape.events[600]) + 1) == ""
    assert remark_on_trade(tape, int(tape.events[600]), 7) == ""


def test_the_same_odd_size_again() -> None:
    tape = steady()
    tape.sizes[[300, 600]] = 12_345
    assert "a trade of the very same size at 11:11:40" in remark_on_trade(tape, int(tape.events[600]))
    tape.sizes[[300, 600]] = 12_300
    assert "same size" not in remark_on_trade(tape, int(tape.events[600]))


@pytest.mark.parametrize(("first", "wanted"), [(100, "trading sets in"), (900, "trading ends")])
def test_the_edges_of_trading(first: int, wanted: str) -> None:
    tape = steady()
    quiet = np.arange(1_200) < 600 if wanted == "trading sets in" else np.arange(1_200) >= 600
    kept = ~quiet | (np.arange(1_200) % 100 == 0)
    edged = DayTape(*(part[kept] for part in (tape.times, tape.events, tape.prices, tape.sizes)))
    edge = int(np.searchsorted(edged.events, tape.events[600]))
    edged.sizes[edge] = 50_000
    assert wanted in remark_on_trade(edged, int(edged.events[edge]))
    assert "trading" not in remark_on_trade(tape, int(tape.events[first * 2 // 3]))


def test_a_window_that_comes_back_and_one_that_moves() -> None:
    tape = steady()
    start, end = int(tape.times[600]), int(tape.times[660])
    tape.prices[630] = 51.0
    assert "prices of 50 before, as far as 51 in it, 50 after" in remark_on_window(tape, start, end)
    tape.prices[630:] = 51.0
    assert "the price goes from 50 to 51" in remark_on_window(tape, start, end)
    assert "at the prices of before" in remark_on_window(steady(), start, end)


def test_one_trade_that_makes_a_window() -> None:
    tape = steady()
    tape.sizes[630] = 60_000
    said = remark_on_window(tape, int(tape.times[600]), int(tape.times[660]))
    assert "one trade of 60,000 at 50 is 91 % of it" in said
    assert "37 % of the day's volume" in said


def test_a_window_without_trades_is_a_silence() -> None:
    tape = steady()
    kept = (np.arange(1_200) < 500) | (np.arange(1_200) >= 700)
    silent = DayTape(tape.times[kept], tape.events[kept], tape.prices[kept], tape.sizes[kept])
    start, end = int(tape.times[510]), int(tape.times[690])
    assert remark_on_window(silent, start, end) == remark_on_silence(silent, start, end)
    assert remark_on_silence(silent, start, end) == "290 trades in the five minutes before, 290 after"
    assert remark_on_silence(silent, start - 20 * MINUTE, start - 15 * MINUTE).startswith("0 trades")
