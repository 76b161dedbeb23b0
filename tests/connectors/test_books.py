"""Locked and crossed books beside trades are told alike by every encoding."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import databento_dbn as dbn
import numpy as np
import orjson
import pytest

from connectors.csv_records import CsvRecords
from connectors.dbn_records import DbnRecords
from connectors.json_records import JsonRecords
from tapewatch.records import CROSSED, LOCKED, UNDEF_PRICE, book

databento: Any = import_module("tests.connectors.databento_encodings")
NS = 1_381_132_800_464_165_000
QUOTES = [(100, 101), (101, 101), (102, 101), (UNDEF_PRICE, 101), (102, UNDEF_PRICE), (-2, -3)]
WANTED = [0, LOCKED, CROSSED, 0, 0, CROSSED]


def records() -> Any:
    layout: Any = dbn.MBP1Msg
    records = np.zeros(len(QUOTES), np.dtype(layout._dtypes))
    records["length"], records["rtype"], records["instrument_id"], records["price"] = 20, 1, 7, 10**9
    records["ts_event"] = records["ts_recv"] = NS + np.arange(len(QUOTES))
    records["size"], records["action"], records["side"] = 5, b"T", b"A"
    records["bid_px_00"], records["ask_px_00"] = np.array(QUOTES).T
    return records


def metadata() -> bytes:
    new: Any = dbn.Metadata
    made = new(
        dataset="XNAS.ITCH", schema=dbn.Schema.MBP_1, start=NS, stype_in=dbn.SType.RAW_SYMBOL,
        stype_out=dbn.SType.INSTRUMENT_ID, symbols=[], partial=[], not_found=[], mappings=[], version=3,
    )  # fmt: skip
    return bytes(made.encode())


def test_dbn(tmp_path: Path) -> None:
    path = tmp_path / "a.dbn"
    path.write_bytes(metadata() + records().tobytes())
    assert databento.read_all(DbnRecords(path)).records["depth"].tolist() == WANTED


@pytest.mark.parametrize("pretty", [False, True])
def test_csv(tmp_path: Path, pretty: bool) -> None:
    def text(price: int) -> str:
        if price == UNDEF_PRICE:
            return "" if pretty else str(UNDEF_PRICE)
        return f"{price:.9f}" if pretty else str(price * 10**9)

    path = tmp_path / "a.csv"
    price = "1.0" if pretty else "1000000000"
    lines = [f"{NS},{price},5,T,{text(bid)},{text(ask)}\n" for bid, ask in QUOTES]
    path.write_text("ts_event,price,size,action,bid_px_00,ask_px_00\n" + "".join(lines))
    assert databento.read_all(CsvRecords(path)).records["depth"].tolist() == WANTED


@pytest.mark.parametrize("shape", ["uniform", "spaced", "several"])
def test_json(tmp_path: Path, shape: str) -> None:
    lines = []
    for bid, ask in QUOTES:
        level: dict[str, str | None] = {}
        for name, price in (("bid_px", bid), ("ask_px", ask)):
            undefined = None if shape == "spaced" else str(UNDEF_PRICE)
            level[name] = undefined if price == UNDEF_PRICE else str(price * 10**9)
        levels = [level] if shape != "several" else [level, {"bid_px": "9", "ask_px": "1"}]
        record = {"hd": {"ts_event": str(NS), "instrument_id": 7}, "price": "1000000000", "size": 5,
                  "action": "T", "levels": levels}  # fmt: skip
        line = orjson.dumps(record)
        lines.append(line.replace(b",", b" , ") if shape == "spaced" else line)
    path = tmp_path / "a.json"
    path.write_bytes(b"\n".join(lines) + b"\n")
    assert databento.read_all(JsonRecords(path)).records["depth"].tolist() == WANTED


def test_quotes_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(
        f"ts_event,price,size,action,bid_px_00,ask_px_00\n{NS},1.0,5,T,bad,1.0\n{NS},1.0,5,T,2.0,1.0\n"
    )
    read = databento.read_all(CsvRecords(path))
    assert read.damage is None
    assert read.records["depth"].tolist() == [0, CROSSED]


def test_undefined_sides_are_no_book() -> None:
    assert book(np.array([UNDEF_PRICE]), np.array([UNDEF_PRICE])).tolist() == [0]
