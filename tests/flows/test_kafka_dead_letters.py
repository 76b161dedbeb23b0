"""What cannot be read goes to the dead letters with its reason, and changes nothing for what is around it."""

from __future__ import annotations

import subprocess
import time
from collections import Counter
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from tapewatch.records import DAY, TRADE

runs: Any = import_module("tests.flows.kafka_runs")

Start = Callable[..., "subprocess.Popen[str]"]
Tables = Callable[[Path], dict[str, list[Any]]]

_GOOD = {
    "ts_recv": 1717423200000000000, "ts_event": 1717423200000000000, "instrument_id": 1, "action": "T",
    "side": "B", "price": "100.000000000", "size": 10, "publisher_id": 95, "symbol": "SYM1",
}  # fmt: skip
_DBN = {
    "encoding": b"dbn",
    "schema": b"trades",
    "dataset": b"XSIM.TAPE",
    "version": b"3",
    "symbols": b'{"1":"SYM1"}',
}


def line(**changes: Any) -> bytes:
    record = {**_GOOD, **changes}
    return orjson.dumps({name: value for name, value in record.items() if value != "missing"})


#: JSON that is no trade, and what the header `error` says of it.
LINES: list[tuple[bytes | None, str]] = [
    (b"junk", "JSON object"),
    (b"", "JSON object"),
    (None, "JSON object"),
    (b"\xff\xfe\x00", "JSON object"),
    (b"[1, 2]", "JSON object"),
    (b'{"price": NaN, "size": 1, "ts_event": 1717423200000000000, "symbol": "SYM1"}', "JSON object"),
    (line(price="missing"), "price"),
    (line(size="missing"), "undefined_size"),
    (line(ts_recv="missing", ts_event="missing"), "times"),
    (line(price=None), "undefined_price"),
    (line(price="NaN"), "price"),
    (line(price="1e400"), "price"),
    (line(price="999999999.5"), "absurd_price"),
    (line(size=-5), "size"),
    (line(size=0), "zero_size"),
    (line(size=2**40), "size"),
    (line(size=1.5), "size"),
    (line(ts_recv=5, ts_event=5), "impossible_time"),
    (line(ts_recv="yesterday"), "ts_recv"),
    (line(ts_recv=time.time_ns() + 2 * DAY, ts_event=time.time_ns() + 2 * DAY), "impossible_time"),
    (line(ts_recv=1717423200000000000 + 2 * DAY), "impossible_time"),
    (line(symbol="missing", instrument_id="missing"), "symbol"),
    (line(symbol="a\x00b"), "symbol"),
    (b"{" * 1_000_000, "JSON object"),
    (b'"' + b"x" * 1_000_000, "JSON object"),
    (b'{"id": 1, "amount": 5.0, "transaction_id": "x"}', "transactions"),
]  # fmt: skip


def trade(**changes: Any) -> bytes:
    record = np.zeros(1, TRADE)
    for name, value in {**_GOOD, "length": 12, **changes}.items():
        if name != "symbol":
            record[name] = 100_000_000_000 if name == "price" and isinstance(value, str) else value
    return record.tobytes()


#: DBN that is none, its headers' changes, and what the header `error` says.
RUNS: list[tuple[bytes, dict[str, bytes], str]] = [
    (trade()[:-1], {}, "middle of a record"),
    (trade() * 3 + trade()[:20], {}, "middle of a record"),
    (b"", {}, "empty"),
    (b"\x00" * 48, {}, "bytes"),
    (trade() + trade(rtype=1), {}, "none of `trades`"),
    (trade(), {"schema": b"trade"}, "schema"),
    (trade(), {"schema": b"statistics"}, "schema"),
    (trade(), {"schema": b"mbo"}, "bytes"),
    (trade(), {"version": b"9"}, "version"),
    (trade(), {"symbols": b"SYM1"}, "symbols"),
    (trade(), {"encoding": b"avro"}, "encoding"),
    (trade(size=0), {}, "zero_size"),
    (trade(price=2**63 - 1), {}, "undefined_price"),
    (trade(ts_recv=7, ts_event=7), {}, "impossible_time"),
]


@pytest.fixture(scope="module")
def tape(trades: Any, write: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = write(tmp_path_factory.mktemp("tape") / "tape.dbn", trades(6, count=6_000))
    return path


@pytest.mark.parametrize("encoding", ["json", "dbn"])
def test_what_cannot_be_read_is_kept_apart(
    encoding: str, tape: Path, broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    """Each kind of damage among the messages of a tape, in both encodings, at random places."""
    clean, mixed = broker.topic(1), broker.topic(1, **{"max.message.bytes": "2000000"})
    messages = list(runs.messages_of(tape, encoding, piece=500))
    broker.produce(clean, *messages)
    rng = np.random.default_rng(3)
    damaged: list[tuple[Any, ...]] = [(b"SYM1", value, None) for value, _ in LINES]
    damaged += [(b"SYM1", value, list({**_DBN, **changes}.items())) for value, changes, _ in RUNS]
    for each in damaged:
        messages.insert(int(rng.integers(len(messages))), each)
    places = {id(message): place for place, message in enumerate(messages)}
    broker.produce(mixed, *messages)
    wanted = [error for _, error in LINES] + [error for *_, error in RUNS]
    # Of these every field can be read; they are counted as in files.
    unfit = [error for error in wanted if "_" in error and error != "ts_recv"]
    results = []
    for topic, dead in ((clean, 0), (mixed, len(damaged))):
        folder = tmp_path / topic
        folder.mkdir()
        given = broker.settings(topic, **runs.SETTINGS)
        read = 6_000 + len(unfit) * bool(dead)
        assert runs.run_until(start_market, folder, read, dead=dead, **given) == [""]
        results.append(tables(folder / "results.db"))
    for name in ("anomalies", "bars", "scores"):
        assert results[0][name] == results[1][name], name
    counters = dict(results[1]["counters"])
    assert counters == {
        "records": 6_000 + len(unfit), "dead_letters": len(damaged), **Counter(unfit),
    }  # fmt: skip

    letters = {}
    for message in broker.messages(f"{mixed}.dead"):
        headers = dict(message.headers())
        assert headers["source_topic"].decode() == mixed
        assert headers["source_partition"] == b"0"
        letters[int(headers["source_offset"])] = (message, headers)
    assert letters.keys() == {places[id(each)] for each in damaged}
    for each, error in zip(damaged, wanted, strict=True):
        message, headers = letters[places[id(each)]]
        assert error in headers["error"].decode(), (each, headers)
        assert len(headers["error"]) < 600
        assert (message.key(), message.value()) == (b"SYM1", each[1])
        for name, value in each[2] or ():
            assert headers[name] == value


def test_single_records_of_a_run_are_sent_off_alone(
    tape: Path, broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    topic = broker.topic(1)
    run = trade() * 5 + trade(size=0) + trade() * 2 + trade(price=2**63 - 1) + trade(size=0)
    broker.produce(topic, (b"SYM1", run, list(_DBN.items())))
    runs.run_until(start_market, tmp_path, 10, dead=2, **broker.settings(topic))
    letters = {dict(m.headers())["error"]: m.value() for m in broker.messages(f"{topic}.dead")}
    assert letters == {
        b"zero_size": trade(size=0) * 2, b"undefined_price": trade(price=2**63 - 1),
    }  # fmt: skip
    assert dict(tables(tmp_path / "results.db")["counters"]) == {
        "records": 10, "zero_size": 2, "undefined_price": 1, "dead_letters": 2,
    }  # fmt: skip


def test_what_the_dead_letters_do_not_take_whole_is_cut(
    broker: Any, start_market: Start, tmp_path: Path
) -> None:
    topic, dead = broker.topic(1, **{"max.message.bytes": "2000000"}), broker.topic(1)
    junk = np.random.default_rng(1).bytes(1_500_000)
    broker.produce(topic, (b"a", junk), (b"b", b"junk"))
    runs.run_until(start_market, tmp_path, 0, dead=2, **broker.settings(topic, kafka__dead_letter_topic=dead))
    letters = {m.key(): m for m in broker.messages(dead)}
    assert letters[b"b"].value() == b"junk"
    assert dict(letters[b"a"].headers())["truncated"] == b"1500000"
    kept = letters[b"a"].value()
    assert len(kept) > 100_000
    assert junk.startswith(kept)


def test_a_flood_of_junk_is_passed(tape: Path, broker: Any, start_market: Start, tmp_path: Path) -> None:
    topic = broker.topic(1)
    broker.produce(topic, *((b"x", b'{"price": %d' % number) for number in range(20_000)))
    broker.produce(topic, *((b"x", line(price=f"x{number}")) for number in range(500)))
    broker.produce(topic, *runs.messages_of(tape, "json"))
    runs.run_until(start_market, tmp_path, 6_000, dead=20_500, **broker.settings(topic))
    assert broker.count(f"{topic}.dead") == 20_500


def test_one_dataset_in_two_schemas_goes_on_with_the_first(
    broker: Any, start_market: Start, tables: Tables, tmp_path: Path
) -> None:
    topic = broker.topic(1)
    bar = {
        "ts_event": _GOOD["ts_event"], "rtype": 33, "instrument_id": 1, "open": "1.0", "high": "2.0", "low": "1.0",
        "close": "1.5", "volume": 7, "symbol": "SYM1",
    }  # fmt: skip
    broker.produce(topic, (b"SYM1", line()), (b"SYM1", orjson.dumps(bar)), (b"SYM1", line(price="7.5")))
    runs.run_until(start_market, tmp_path, 2, dead=1, **broker.settings(topic))
    (letter,) = broker.messages(f"{topic}.dead")
    assert "another schema" in dict(letter.headers())["error"].decode()
    (only,) = tables(tmp_path / "results.db")["bars"]
    assert only[10] == 20
