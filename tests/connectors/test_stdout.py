"""Results as lines: one per document, each complete, and quiet when nobody reads any more."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import bytewax.operators as op
import orjson
from bytewax.dataflow import Dataflow
from bytewax.testing import TestingSource, run_main

import connectors.stdout
from connectors.stdout import StdoutSink
from tapewatch.documents import (
    ANOMALY_FIELDS,
    BAR_FIELDS,
    PAYMENT_FIELDS,
    PROFILE_FIELDS,
    SCORE_FIELDS,
    Results,
    rfc3339,
)
from tapewatch.late_rows import LATE_FIELDS

make: Any = import_module("tests.connectors.made_results")


def lines(*results: Results) -> list[dict[str, Any]]:
    stream = io.BytesIO()
    flow = Dataflow("results")
    items = [("day", r) for r in results]
    op.output("out", op.input("in", flow, TestingSource(items)), StdoutSink(stream=stream))
    run_main(flow)  # type: ignore[no-untyped-call]
    return [orjson.loads(line) for line in stream.getvalue().splitlines()]


def test_one_line_per_document_with_the_contracts_names() -> None:
    found = lines(
        make.results(
            anomalies=[make.anomaly()],
            bars=[make.bars(1, 2)],
            scores=[make.scores(1.5)],
            deleted=["ff"],
            late=make.late(100),
        )
    )
    assert [d["document"] for d in found] == ["deleted", "anomaly", "bar", "bar", "late", "score"]
    deleted, anomaly, bar, _, late, score = found
    assert deleted == {"document": "deleted", "id": "ff"}
    for document, fields in (
        (anomaly, ANOMALY_FIELDS), (bar, BAR_FIELDS), (score, SCORE_FIELDS), (late, LATE_FIELDS),
    ):  # fmt: skip
        assert document.keys() == {"document", "@timestamp", *fields}
    assert anomaly["ts_event"] == anomaly["@timestamp"] == rfc3339(make.anomaly().ts_event)
    assert anomaly["contributions"] == {"volume": 0.75, "trades": 0.25}
    assert (bar["open"], bar["vwap"], bar["final"]) == (10.0, 10.5, True)
    assert bar["@timestamp"] == "2024-06-03T00:00:00.000000000Z"


def test_payments_and_profiles_have_the_contracts_names() -> None:
    anomaly, profile = lines(make.results(anomalies=[make.payment()], profiles=[make.profile()]))
    assert set(anomaly) == {"document", "@timestamp", *ANOMALY_FIELDS, *PAYMENT_FIELDS}
    assert (anomaly["transaction_id"], anomaly["amount"]) == ("t1", 20.5)
    assert set(profile) == {"document", "@timestamp", *PROFILE_FIELDS} - {"state"}
    assert (profile["document"], profile["hours"]) == ("profile", {"7": 1.0})


def test_what_is_unknown_is_null() -> None:
    anomaly, bar = lines(
        make.results(anomalies=[make.anomaly(expected=float("nan"))], bars=[make.bars(1, detailed=False)])
    )
    assert anomaly["expected"] is None
    assert [bar[name] for name in ("trades", "vwap", "buy_volume", "max_size")] == [None] * 4


def test_each_is_acknowledged() -> None:
    done: list[int] = []
    partition = StdoutSink(lambda r: done.append(r.seq), stream=io.BytesIO()).build_part(
        "out", "stdout", None
    )
    partition.write_batch([make.results(seq=1), make.results(seq=2)])
    assert done == [1, 2]
    assert partition.snapshot() is None  # type: ignore[func-returns-value]


_PRINT = """
import sys
sys.path[:0] = [{tests!r}]
import made_results as make
from connectors.stdout import StdoutSink
done, closed = [], []
partition = StdoutSink(done.append, lambda: closed.append(1)).build_part("out", "stdout", None)
for number in range(3000):
    partition.write_batch([make.results(anomalies=[make.anomaly(number)])])
partition.close()
print(len(done), len(closed), file=sys.stderr)
"""


def test_a_reader_that_leaves_ends_it_quietly() -> None:
    code = _PRINT.format(tests=str(Path(__file__).parent))
    root = Path(connectors.stdout.__file__).parents[1]
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True, cwd=root
    )
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        first = orjson.loads(stream.readline())
    _, errors = process.communicate(timeout=280)
    assert first["document"] == "anomaly"
    # Acknowledged to the end, so that other sinks and the source go on; told once that nobody reads.
    assert (process.returncode, errors.split()) == (0, ["3000", "1"])
