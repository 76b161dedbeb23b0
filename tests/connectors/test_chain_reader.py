"""Chains give their records in the order of time, whatever the pieces, the names and the interruptions."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors import chain as chain_
from connectors.chain import find, plan
from connectors.chain_reader import ChainReader
from connectors.dbn_records import DbnRecords
from connectors.position import Position
from connectors.validity import valid
from tapewatch.errors import UserError
from tapewatch.records import DAY, SECOND, Array, Block
from tests.examples import tried


def read(
    paths: list[Path],
    block_records: int,
    stops: set[int] | frozenset[int] = frozenset(),
    limits: list[int] | None = None,
) -> Array:
    """Return the records of the one chain of these files, read anew from saved positions at some pieces."""
    (chain,) = plan(paths, skip_damaged=False)
    positions: dict[str, Position] = {}
    parts: list[Array] = []
    number, ended = 0, False
    while not ended:
        reader = ChainReader(chain, positions, block_records, lambda error: False, lambda counts: None)
        while True:
            limit = limits.pop(0) if limits else 2**62
            piece = reader.next(limit)
            if piece is None:
                ended = True
                break
            if len(piece.records):
                assert (
                    limit == 2**62
                    or int(piece.times[valid(piece.records, piece.times)[0]].max(initial=0)) <= limit
                )
                parts.append(piece.records.copy())
            number += 1
            if number in stops:
                break
        positions = deepcopy(reader.positions)
        reader.close()
    return np.concatenate(parts)


@st.composite
def tapes(draw: st.DrawFn) -> list[Array]:
    """Up to four files' trades, overlapping and following each other, with ties, disorder and unfit records."""
    from tapewatch.records import TRADE

    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    files = []
    for number in range(draw(st.integers(1, 4))):
        count = draw(st.integers(1, 80))
        records = np.zeros(count, TRADE)
        begin = 1_717_400_000 * SECOND + int(rng.integers(0, 60)) * SECOND
        times = begin + np.cumsum(
            rng.choice([0, 1, SECOND, -1, 5 * SECOND], count, p=[0.3, 0.2, 0.3, 0.1, 0.1])
        )
        records["ts_recv"] = records["ts_event"] = times
        records["length"], records["action"], records["side"] = 12, b"T", b"N"
        records["instrument_id"], records["price"], records["size"] = 1 + number, 10**9, 1
        records["sequence"] = np.arange(count)
        if draw(st.booleans()):
            records["ts_recv"][rng.integers(0, count)] = draw(st.sampled_from([2**64 - 1, 2**62, 0, 5]))
        files.append(records)
    return files


@settings(max_examples=tried(120), deadline=None)
@given(
    files=tapes(), names=st.permutations("abcd"), block_records=st.integers(1, 40), stops=st.sets(st.integers(1, 60)),
    limits=st.lists(st.integers(0, 90), max_size=12),
)  # fmt: skip
def test_the_order_of_records_is_that_of_time_then_name_for_any_pieces(
    write: Any,
    tmp_path: Path,
    files: list[Array],
    names: list[str],
    block_records: int,
    stops: set[int],
    limits: list[int],
) -> None:
    for old in tmp_path.iterdir():
        old.unlink()
    paths = [write(tmp_path / f"{n}.dbn", records) for n, records in zip(names, files, strict=False)]
    wanted = read(paths, 100_000)
    until = sorted(1_717_400_000 * SECOND + limit * SECOND for limit in limits)
    assert read(paths[::-1], block_records, stops, until).tobytes() == wanted.tobytes()
    assert sorted(record.tobytes() for record in wanted) == sorted(
        r.tobytes() for file in files for r in file
    )
    for number, records in enumerate(files):
        # Within a file nothing changes places.
        assert wanted[wanted["instrument_id"] == number + 1].tobytes() == records.tobytes()


def test_an_unfit_time_does_not_hold_up_the_files_beside_it(trades: Any, write: Any, tmp_path: Path) -> None:
    first, second = trades(1, count=100, days=1), trades(2, count=100, days=1)
    first["ts_recv"][3] = 2**62
    second["instrument_id"] += 10
    records = read([write(tmp_path / "a.dbn", first), write(tmp_path / "b.dbn", second)], 10)
    mask, counts = valid(records, records["ts_recv"])
    assert counts == {"impossible_time": 1}
    assert (np.diff(records["ts_recv"][mask].astype(np.int64)) >= 0).all()


def test_files_of_different_datasets_are_different_chains(trades: Any, write: Any, tmp_path: Path) -> None:
    paths = [
        write(tmp_path / f"{number}.dbn", trades(number, count=50), dataset=dataset)
        for number, dataset in enumerate(("B", "A", "B"))
    ]
    assert [(c.name, [f.name for f in c.files]) for c in plan(paths, skip_damaged=False)] == [
        ("A", ["1.dbn"]),
        ("B", ["0.dbn", "2.dbn"]),
    ]


def test_files_of_one_name_in_two_folders_are_told_apart(trades: Any, write: Any, tmp_path: Path) -> None:
    paths = []
    for number in (0, 1):
        (tmp_path / str(number)).mkdir()
        paths.append(write(tmp_path / str(number) / "day.dbn", trades(number, count=50, first_day=number)))
    (chain,) = plan(paths, skip_damaged=False)
    assert [file.name for file in chain.files] == ["day.dbn", "day.dbn#2"]
    assert chain.files[1].first_time - chain.files[0].first_time < 4 * DAY
    assert len(read(paths, 10)) == 100


def test_found_files_are_sorted_and_each_there_once(trades: Any, write: Any, tmp_path: Path) -> None:
    for name in ("b", "a"):
        write(tmp_path / f"{name}.dbn", trades(1, count=10))
    pattern = str(tmp_path / "*.dbn")
    assert [path.name for path in find([pattern, str(tmp_path / "b.dbn"), pattern])] == ["a.dbn", "b.dbn"]
    for wrong, word in (([], "empty"), ([str(tmp_path)], "no file"), ([str(tmp_path / "c*.dbn")], "no file")):
        with pytest.raises(UserError, match=word):
            find(wrong)


def test_a_name_with_glob_signs_is_a_name_where_such_a_file_exists(
    trades: Any, write: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "day[1].dbn", trades(1, count=10))
    assert find([str(path)]) == [path]


class Told:
    """Keeps what is told of damage."""

    def __init__(self, *, goes_on: bool) -> None:
        self.lines: list[str] = []
        self._goes_on = goes_on

    def __call__(self, error: UserError) -> bool:
        self.lines.append(str(error))
        return self._goes_on


def grow(path: Path, rest: Array) -> None:
    """Append records to a file as a recorder does."""
    data = rest.tobytes()
    with path.open("ab") as file:
        file.write(zstandard.ZstdCompressor().compress(data) if path.suffix == ".zst" else data)


@pytest.mark.parametrize("name", ["a.dbn", "a.dbn.zst"])
@pytest.mark.parametrize("moment", ["while it is read", "at its end", "after"])
def test_what_a_file_gains_while_it_is_read_is_read_now_or_by_the_next_run(
    name: str, moment: str, trades: Any, write: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = trades(3, count=400)
    path = write(tmp_path / name, records[:300])
    (chain,) = plan([path], skip_damaged=False)
    positions: dict[str, Position] = {}
    parts: list[Array] = []
    more = [records[300:]]

    def gain() -> None:
        if more:
            grow(path, more.pop())

    class AtTheEnd(DbnRecords):
        def blocks(self, start: int = 0) -> Iterator[Block]:
            yield from super().blocks(start)
            gain()

    if moment == "at its end":
        monkeypatch.setattr(chain_, "DbnRecords", AtTheEnd)
    for _ in range(3):
        reader = ChainReader(chain, positions, 100, lambda error: False, lambda counts: None)
        while (piece := reader.next()) is not None:
            parts.append(piece.records.copy())
            if moment == "while it is read":
                gain()
        reader.close()
        positions = deepcopy(reader.positions)
        if moment == "after":
            gain()
    assert np.concatenate(parts).tobytes() == records.tobytes()
    assert positions[name].size == path.stat().st_size


@pytest.mark.parametrize("kept", [0, 100, 300])
def test_a_file_put_in_the_place_of_one_that_was_read_is_told(
    kept: int, trades: Any, write: Any, tmp_path: Path
) -> None:
    def run() -> tuple[int, list[str]]:
        (chain,) = plan([path], skip_damaged=False)
        told = Told(goes_on=False)
        reader = ChainReader(chain, positions, 50, told, lambda counts: None)
        count = 0
        while (piece := reader.next()) is not None and (count < kept or not kept):
            count += len(piece.records)
        positions.update(deepcopy(reader.positions))
        reader.close()
        return count, told.lines

    positions: dict[str, Position] = {}
    path = write(tmp_path / "a.dbn", trades(3, count=300))
    count, told = run()
    assert (count > 0, told) == (True, [])
    write(path, trades(4, count=300))
    count, told = run()
    assert count == 0
    assert len(told) == 1
    assert "a.dbn is not the file that was read before" in told[0]


def test_a_file_that_goes_away_during_the_run_is_told(trades: Any, write: Any, tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.dbn", trades(n, count=100, days=1, first_day=n)) for n in (0, 1)]
    (chain,) = plan(paths, skip_damaged=False)
    for goes_on in (True, False):
        told = Told(goes_on=goes_on)
        paths[0].rename(tmp_path / "away")
        reader = ChainReader(chain, {}, 30, told, lambda counts: None)
        count = 0
        while (piece := reader.next()) is not None:
            count += len(piece.records)
        (tmp_path / "away").rename(paths[0])
        assert count == (100 if goes_on else 0)
        assert len(told.lines) == 1
        assert "cannot read" in told.lines[0]
