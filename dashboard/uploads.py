"""Files of payments that visitors hand in: read as the flow reads CSV, within bounds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectors.transaction_columns import layout, parse
from tapewatch.errors import UserError

#: Most of a file, in MB (of 2**20 bytes) and in rows.
MOST_MB, MOST_ROWS = 10, 50_000
#: What a file may look like.
EXAMPLE = (
    "transaction_id,timestamp,user_id,amount,merchant_category,location,payment_method\n"
    "t1,2024-01-14T19:05:00Z,u000001,52.30,grocery,NL,card\n"
    "t2,2024-01-14T19:06:00Z,u000001,4310.00,electronics,BR,transfer\n"
)


@dataclass(frozen=True, slots=True)
class Upload:
    """The payments of a file by the names of the contract, and lines that are none, each with the reason.

    ``amounts``, and ``times`` in ns, are those of the payments.
    """

    rows: list[dict[str, str]]
    amounts: list[float]
    times: list[int]
    faults: list[tuple[int, str]]


def read(data: bytes, given: Mapping[str, str]) -> Upload:
    r"""Return what is in a file.

    Parameters
    ----------
    data
        The file: CSV in UTF-8 whose first line names the columns.
    given
        ``transactions.columns``: our name to theirs.

    Raises
    ------
    UserError
        If it is no such file, a column is missing that must be there, or it is too large.

    Examples
    --------
    >>> head = b"TX_ID,TX_DATETIME,CUSTOMER_ID,TX_AMOUNT"
    >>> found = read(head + b"\na,2024-05-01,7,9.90\nb,2024-05-01,7,x\n", {})
    >>> found.rows[0]["user_id"], found.amounts, found.faults
    ('7', [9.9], [(3, "`amount` must be a number, was 'x'")])
    """
    if len(data) > MOST_MB << 20:
        raise UserError(
            f"the file may have {MOST_MB} MB, it has {len(data) / 2**20:.1f}; cut it into several"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(f"the file must be CSV in UTF-8; line {line} is not") from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        names = next(reader, [])
        columns = layout(names, given)
        lines, rows, faults = _rows(reader, names)
    except csv.Error as error:
        raise UserError(f"the file is no CSV: line {reader.line_num}: {error}") from None
    places = {name: names.index(column) for name, column in columns.items()}
    found = parse({name: [row[at] for row in rows] for name, at in places.items()}, len(rows))
    faults += [(lines[row], reason) for row, reason in found.faults]
    kept = found.places.tolist()
    told = [{name: rows[row][at] for name, at in places.items()} for row in kept]
    return Upload(told, found.amounts.tolist(), found.times.tolist(), sorted(faults))


def _rows(
    reader: Any,  # noqa: ANN401 - its type has no public name
    names: list[str],
) -> tuple[list[int], list[list[str]], list[tuple[int, str]]]:
    lines: list[int] = []
    rows: list[list[str]] = []
    faults: list[tuple[int, str]] = []
    for row in reader:
        if not row:
            continue
        if len(row) != len(names):
            faults.append((reader.line_num, f"it has {len(row)} columns, the first line {len(names)}"))
            continue
        if len(rows) == MOST_ROWS:
            raise UserError(f"the file may have {MOST_ROWS:,} payments; cut it into several")
        lines.append(reader.line_num)
        rows.append(row)
    return lines, rows, faults
