"""The page that scores a file of payments, and how such files are read."""

from __future__ import annotations

import csv
import io
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from connectors.sqlite import SqliteWriter
from dashboard.uploads import EXAMPLE, MOST_MB, MOST_ROWS, read
from tapewatch.errors import UserError

app: Any = import_module("tests.dashboard.test_app")
single: Any = import_module("tests.dashboard.test_predict")
stored: Any = import_module("tests.scoring.stored")
database = app.database
judged, filled = single.judged, single.filled
shown, checked, charts, figures = app.shown, app.checked, app.charts, app.figures


def handed_in(page: Any, data: bytes) -> Any:
    page.file_uploader[0].upload("some.csv", data, "text/csv")
    return checked(page.run())


def table(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def test_it_says_what_a_file_must_have(database: Path) -> None:
    assert "un the flow first" in shown("batch").info[0].value
    SqliteWriter(database).close()
    page = shown("batch")
    assert "transaction_id" in page.info[0].value
    assert (
        "no column 'amount'" in handed_in(page, b"transaction_id,timestamp,user_id\n").error[0].value.lower()
    )
    assert "only its first line" in handed_in(page, EXAMPLE.splitlines()[0].encode()).info[0].value


def test_a_file_is_scored_as_the_flow_would(filled: Path) -> None:
    rows = stored.rows(1_500, 1_650)
    lines = table(rows) + b"t,soon,u,1,,,,,,,\nshort,line\n"
    page = handed_in(shown("batch"), lines)
    with_scores = single.Scorer(stored.settings(filled))
    wanted = sorted(with_scores.score(rows), key=lambda row: -row["anomaly_score"])
    with_scores.close()
    told = page.dataframe[0].value
    assert list(told["transaction_id"]) == [row["transaction_id"] for row in wanted]
    assert list(told["severity"] / 100) == pytest.approx([row["anomaly_score"] for row in wanted])
    assert (figures(page)["Payments"], figures(page)["Alarms"]) == (
        "150", f"{sum(row['is_anomaly'] for row in wanted)}"
    )  # fmt: skip
    assert "2 lines left out" in page.expander[0].label
    assert "Line 152" in page.markdown[0].value
    assert "Line 153: it has 2 columns" in page.markdown[0].value
    assert charts(page) == 2
    assert not page.warning

    risky = [row for row in wanted if row["risk_level"] in ("high", "critical")]
    page.button_group[0].set_value(["high", "critical"])
    assert len(checked(page.run()).dataframe[0].value) == len(risky) > 0


def test_it_says_that_payments_are_of_the_past(filled: Path) -> None:
    page = handed_in(shown("batch"), table(stored.rows(10, 20)))
    assert "10 of these payments are earlier" in page.warning[0].value


def test_what_is_taken_away_runs_in_no_spreadsheet(database: Path) -> None:
    from dashboard.batch import _export, _scored
    from tapewatch.settings import load

    SqliteWriter(database).close()
    found = read(b"transaction_id,timestamp,user_id,amount\n=1+1,2024-05-01,u,yes\n", {})
    (row,) = csv.DictReader(io.StringIO(_export(_scored(load(), found))))
    assert (row["transaction_id"], row["amount"], row["basis"]) == ("'=1+1", "1.0", "cold start")
    assert "location" not in row
    assert 0 <= float(row["anomaly_score"]) <= 1
    assert "=" in row["contributions"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no column 'transaction_id'"),
        (b"transaction_id,timestamp,user_id,amount\nt,\xff,u,1\n", "line 2 is not"),
        (b'transaction_id,timestamp,user_id,amount\n"' + b"x" * 140_000, "no CSV: line 2"),
        (b"x" * (MOST_MB * 2**20 + 1), "10 MB"),
        (b"transaction_id,timestamp,user_id,amount\n" + b"t,2024-05-01,u,1\n" * (MOST_ROWS + 1), "50,000 payments"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_is_told_of(data: bytes, said: str) -> None:
    with pytest.raises(UserError, match=said):
        read(data, {})


def test_columns_are_recognised_as_the_flow_does() -> None:
    head = "\ufeffTX_ID,when,CUSTOMER_ID,TX_AMOUNT,comment\n"
    found = read(f"{head}t,2024-05-01,u,1.5,x\n\n".encode(), {"timestamp": "when"})
    assert found.rows == [{"transaction_id": "t", "timestamp": "2024-05-01", "user_id": "u", "amount": "1.5"}]
    assert found.faults == []
    assert [row["user_id"] for row in read(EXAMPLE.encode(), {}).rows] == ["u000001", "u000001"]
