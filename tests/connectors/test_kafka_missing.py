"""Marks of gaps are the same however a tape is cut, and lead to what a file's own numbers lead to."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.kafka_decoder import Decoder
from connectors.kafka_messages import Encoder
from connectors.kafka_missing import GapMarks, gaps_of
from connectors.numbering import Unchecked
from tapewatch.records import TRADE, Array
from tapewatch.symbology import Symbols
from tests.examples import tried

_SYMBOLS = Symbols()
_KEYS = ["A", "B", "C"]


def tape(losses: list[tuple[int, int]], unfit: list[int]) -> Array:
    """Return trades of three instruments whose numbers skip some after certain places."""
    records = np.zeros(2_500, TRADE)
    records["length"], records["action"], records["publisher_id"] = 12, b"T", 9
    records["instrument_id"] = np.random.default_rng(1).integers(0, 3, len(records))
    records["ts_recv"] = records["ts_event"] = 10**18 + np.arange(len(records)) * 10**9
    records["price"], records["size"] = 10**9, 5
    steps = np.ones(len(records), np.int64)
    for place, lost in losses:
        steps[place] += lost
    records["sequence"] = np.cumsum(steps)
    records["size"][unfit] = 0
    return records


def marked(records: Array, cuts: list[int]) -> dict[int, list[tuple[int, int, bool]]]:
    marks, found = GapMarks(), {}
    edges = [0, *sorted({min(cut, len(records)) for cut in cuts}), len(records)]
    for begin, end in itertools.pairwise(edges):
        part = records[begin:end]
        codes = part["instrument_id"].astype(np.intp)
        fit = part["size"] > 0
        batch = Unchecked(part, part["ts_recv"], 0, None if fit.all() else fit, _SYMBOLS, codes, tuple(_KEYS))
        for row, each in marks.marks(batch, codes, _KEYS).items():
            found[begin + row] = each
    return found


_LOSSES = st.lists(st.tuples(st.integers(1_200, 2_400), st.integers(1, 50)), max_size=2)


@settings(deadline=None, max_examples=tried(60))
@given(_LOSSES, st.lists(st.integers(1_000, 2_499), max_size=4), st.lists(st.integers(0, 2_500), max_size=6))
def test_cuts_change_no_mark(losses: list[tuple[int, int]], unfit: list[int], cuts: list[int]) -> None:
    records = tape(losses, unfit)
    whole = marked(records, [])
    assert marked(records, cuts) == whole
    for row, marks in whole.items():
        assert records["size"][row] > 0
        assert all(since < int(records["ts_recv"][row]) for since, _, _ in marks)


def test_each_instrument_bears_one_mark_and_one_of_them_is_told() -> None:
    records = tape([(2_000, 7)], [])
    found = marked(records, [300, 2_000, 2_001])
    ids = {int(records["instrument_id"][row]): marks for row, marks in found.items()}
    assert ids.keys() == {0, 1, 2}
    assert sorted(mark for marks in ids.values() for mark in marks)[-1][0] == int(records["ts_recv"][1_999])
    assert sorted((lost, told) for marks in ids.values() for _, lost, told in marks) == [
        (0, False), (0, False), (7, True),
    ]  # fmt: skip
    for row in found:
        # The next record of its instrument behind the gap.
        assert not (records["instrument_id"][2_000:row] == records["instrument_id"][row]).any()


def test_marks_come_through_messages_of_both_encodings() -> None:
    records = tape([(2_000, 7)], [2_001])
    marks = marked(records, [])
    codes = records["instrument_id"].astype(np.intp)
    for encoding in ("json", "dbn"):
        encoder = Encoder(encoding, "trades", "X", 0, "r")
        messages = list(encoder.messages(records, codes, _KEYS, marks))
        decoder = Decoder()
        headers: Any = [message[2] for message in messages]
        forms = decoder.forms(headers)
        parts, rejected = decoder.decode([message[1] for message in messages], forms)
        assert rejected == []
        (part,) = parts.values()
        fit = part.records["size"] > 0
        batch = Unchecked(part.records, part.times, 0, fit, _SYMBOLS, part.codes, decoder.names)
        found = gaps_of(part, forms, [i for i, form in enumerate(forms) if form.gaps], batch)
        sequence = part.records["sequence"][fit]
        told = sorted((int(sequence[gap.at]), gap.since, gap.lost, gap.told, gap.key) for gap in found)
        assert told == sorted(
            (int(records["sequence"][row]), *mark, _KEYS[codes[row]])
            for row, each in marks.items()
            for mark in each
        )
        assert all(gap.alone for gap in found)


def test_headers_that_cannot_be_read_tell_of_no_gap() -> None:
    decoder = Decoder()
    for value in (
        b"",
        b"x",
        b"{}",
        b"[1]",
        b"[[0,1]]",
        b"[[-1,1,1,true]]",
        b'[["a",1,1,true]]',
        b"null",
        b"[[0,1e400,1,true]]",
    ):
        assert decoder.forms([[("gaps", value)]])[0].gaps == ()
    (form,) = decoder.forms([[("gaps", b"[[3,7,2,true]]")]])
    assert form.gaps == ((3, 7, 2, True),)
