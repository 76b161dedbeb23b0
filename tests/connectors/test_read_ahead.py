"""Reading ahead changes who does the work, never what comes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connectors import chain_reader
from connectors.chain import plan
from connectors.chain_reader import ChainReader
from connectors.read_ahead import ReadAhead
from tapewatch.surveys import survey

PATIENCE = 200


def test_an_error_comes_in_its_place() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("the third")

    ahead = ReadAhead(items())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(ValueError, match="the third"):
        next(ahead)
    assert list(ahead) == []


def test_what_nobody_waits_for_is_prepared_and_what_is_waited_for_is_not() -> None:
    prepared: list[int] = []
    begin, second_done = threading.Event(), threading.Event()

    def until_awaited() -> None:
        while not ahead._awaited:
            time.sleep(0.001)

    def items() -> Iterator[int]:
        assert begin.wait(PATIENCE)
        yield 1
        yield 2
        until_awaited()
        yield 3

    def then(item: int) -> None:
        prepared.append(item)
        second_done.set()

    ahead = ReadAhead(items(), then)
    taken: list[int] = []
    first = threading.Thread(target=lambda: taken.append(next(ahead)))
    first.start()
    until_awaited()
    begin.set()
    first.join(PATIENCE)
    assert second_done.wait(PATIENCE)
    assert [*taken, next(ahead), next(ahead)] == [1, 2, 3]
    assert list(ahead) == []
    assert prepared == [2]


@pytest.mark.parametrize("hurried", [True, False])
def test_a_survey_is_the_same_whichever_thread_makes_it(
    hurried: bool, trades: Any, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    makers: list[str] = []
    made = threading.Event()

    def watched(records: Any, times: Any) -> Any:
        makers.append(threading.current_thread().name)
        if threading.current_thread() is not threading.main_thread():
            made.set()
        return survey(records, times)

    monkeypatch.setattr(chain_reader, "_WORTH_A_THREAD", 1)
    monkeypatch.setattr(chain_reader, "survey", watched)
    if hurried:
        monkeypatch.setattr(chain_reader._Checked, "prepare", lambda checked: None)
    else:
        # Every block counts as one that nobody waits for, and is taken when its survey is being made.
        monkeypatch.setattr(
            ReadAhead,
            "_awaited",
            property(lambda ahead: False, lambda ahead, value: None),
            raising=False,
        )
    (chain,) = plan([write(tmp_path / "a.dbn", trades(5, count=5_000))], skip_damaged=False)
    reader = ChainReader(chain, {}, 400, lambda error: False, lambda counts: None)
    pieces = 0
    while True:
        if not hurried and pieces:
            assert made.wait(PATIENCE)
        piece = reader.next(2**62)
        if piece is None:
            break
        assert piece.survey is not None
        wanted = survey(piece.records, piece.times)
        for name in ("ids", "starts", "order", "times"):
            assert getattr(piece.survey, name).tolist() == getattr(wanted, name).tolist()
        pieces += 1
    reader.close()
    assert pieces == len(makers) > 5
    here = makers.count(threading.current_thread().name)
    assert here == pieces if hurried else here < pieces
