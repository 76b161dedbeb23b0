"""Files of transactions: layouts, what is unknown, what is refused, and where a file goes on."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import orjson
import pytest
import zstandard

from connectors.sessions import read_labels
from connectors.transaction_columns import Parsed, parse
from connectors.transaction_files import blocks, parse_messages
from connectors.transaction_simulator import KINDS, TransactionSimulation, simulate_transactions
from connectors.transaction_writer import write_transactions
from tapewatch.errors import DamagedError, UserError
from tests.connectors.made_payments import payments, simulated

_LINE = {
    "transaction_id": "a",
    "timestamp": "2024-05-01T12:00:00.123456789+02:00",
    "user_id": 7,
    "amount": 9.5,
}


def read(path: Path, start: int = 0, rows: int = 100, **columns: str) -> Parsed:
    return Parsed.together([block.parsed for block in blocks(path, start, rows, columns)])


def test_what_is_missing_is_unknown_and_never_zero() -> None:
    found = parse_messages([orjson.dumps(_LINE | {"location": "DE", "hour": None})], {})
    assert (found.ids, found.users, found.words["location"]) == (["a"], ["7"], ["DE"])
    assert found.times.tolist() == [1714557600123456789]
    assert np.isnan(found.numbers["hour"]).all()
    assert "is_online" not in found.numbers


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"amount": -1}, "`amount` must be a number from 0, was -1"),
        ({"amount": "much"}, "`amount` must be a number"),
        ({"amount": None}, "`amount` must be a number from 0"),
        ({"timestamp": "yesterday"}, "`timestamp` must be RFC 3339 or ns, was 'yesterday'"),
        ({"timestamp": 5}, "`timestamp` must be 1990 to 2100"),
        ({"user_id": ""}, "`user_id` must be a text"),
        ({"hour": 99}, "`hour` must be from 0 to 23, was 99"),
        ({"location": {"lat": 1}}, "`location` must be a text"),
        ({"amount": 1e400}, "it is no JSON"),
    ],
)
def test_a_bad_row_is_told_and_the_others_are_read(change: dict[str, object], said: str) -> None:
    bad = orjson.dumps(_LINE | change) if change != {"amount": 1e400} else b'{"amount": 1e'
    found = parse_messages([orjson.dumps(_LINE), bad, orjson.dumps(_LINE | {"transaction_id": "c"})], {})
    assert (found.ids, found.places.tolist()) == (["a", "c"], [0, 2])
    ((row, reason),) = found.faults
    assert row == 1
    assert said in reason


@pytest.mark.parametrize("name", ["p.csv", "p.csv.zst", "p.jsonl", "p.jsonl.zst", "p.parquet"])
def test_every_format_gives_the_same_and_goes_on_where_it_was_left(tmp_path: Path, name: str) -> None:
    made, path = simulated(), tmp_path / name
    lines = [orjson.loads(line) for _, line in made.lines()]
    if name.startswith("p.jsonl"):
        write_transactions(path, made)
    elif name == "p.parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(lines), path)
    else:
        plain = tmp_path / "plain.csv"
        with plain.open("w", newline="") as file:
            table = csv.DictWriter(file, list(lines[0]))
            table.writeheader()
            table.writerows(lines)
        data = plain.read_bytes()
        path.write_bytes(zstandard.compress(data) if name.endswith("zst") else data)
    found, whole = read(path), payments()
    assert (found.ids, found.users, found.words) == (whole.ids, whole.users, whole.words)
    np.testing.assert_array_equal(found.times, whole.times)
    np.testing.assert_array_equal(found.amounts, whole.amounts)
    for column, values in whole.numbers.items():
        np.testing.assert_array_equal(found.numbers[column], values)
    first = next(blocks(path, 0, 100, {}))
    rest = [block.parsed for block in blocks(path, first.end, 100, {})]
    assert first.parsed.ids + [name for part in rest for name in part.ids] == whole.ids


def test_columns_that_cannot_be_told_apart_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text("transaction_id,timestamp,user_id,amount,amount\n1,2018-04-01 00:00:31,5,9,57.16\n")
    with pytest.raises(UserError, match="two columns have one name"):
        read(path)
    path.write_text("a\x1b[31m,b\n1,2\n")
    with pytest.raises(UserError, match=r"among a\\x1b\[31m, b"):
        read(path)


def test_columns_of_other_names(tmp_path: Path) -> None:
    path = tmp_path / "c.csv"
    path.write_text(
        "TRANSACTION_ID,TX_DATETIME,client,TERMINAL_ID,TX_AMOUNT\n1,2018-04-01 00:00:31,5,9,57.16\n"
    )
    with pytest.raises(UserError, match=r"c\.csv: there is no column 'user_id' among TRANSACTION_ID"):
        read(path)
    found = read(path, user_id="client")
    assert (found.ids, found.users, found.words["merchant_id"]) == (["1"], ["5"], ["9"])
    with pytest.raises(UserError, match=r"`transactions.columns.user_id` names 'nobody'"):
        read(path, user_id="nobody")


def test_damage_is_told(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl.zst"
    write_transactions(path, simulated())
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DamagedError, match="in the middle of a zst frame"):
        read(path)
    empty = tmp_path / "e.csv"
    empty.touch()
    with pytest.raises(UserError, match="is empty"):
        read(empty)
    table = tmp_path / "t.parquet"
    table.write_bytes(b"PAR1 and no more")
    with pytest.raises(DamagedError, match="no Parquet file"):
        read(table)


def test_simulated_payments_are_labelled(tmp_path: Path) -> None:
    made = simulate_transactions(TransactionSimulation(users=150, minutes=30 * 1_440, seed=2))
    share = sum(1 for kind in made.kinds if kind) / len(made)
    assert 0.035 < share < 0.065
    assert {part for kind in made.kinds for part in kind.split("+") if part} == set(KINDS)
    assert any("+" in kind for kind in made.kinds)
    assert (np.diff(made.times) >= 0).all()
    again = simulate_transactions(TransactionSimulation(users=150, minutes=30 * 1_440, seed=2))
    assert list(again.lines()) == list(made.lines())
    labels = write_transactions(tmp_path / "p.jsonl", made)
    assert len(read_labels(labels)) == sum(1 for kind in made.kinds if kind)


def test_only_the_kinds_asked_for() -> None:
    made = simulate_transactions(TransactionSimulation(users=40, minutes=20_000, kinds=("amount",)))
    assert set(made.kinds) == {"", "amount"}
    with pytest.raises(UserError, match="`--users` must be from 1"):
        simulate_transactions(TransactionSimulation(users=0))


def test_a_time_keeps_its_nanoseconds() -> None:
    columns: dict[str, list[object]] = {"transaction_id": ["a"], "user_id": ["u"], "amount": [1]}
    for value in ("2024-05-01T10:00:00.123456789Z", 1714557600123456789, "1714557600123456789"):
        assert parse(columns | {"timestamp": [value]}, 1).times.tolist() == [1714557600123456789]
