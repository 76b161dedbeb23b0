"""A session of trades with the anomalies that are known to be in it, and the labels' own file."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from connectors.whole_file import written_whole
from tapewatch.errors import UserError
from tapewatch.records import Array

LABEL_FIELDS = ("key", "kind", "ts_start", "ts_end")


class Label(NamedTuple):
    """One known anomaly: whose, of which kind, and when, ns, half-open ``[ts_start, ts_end)``."""

    key: str
    kind: str
    ts_start: int
    ts_end: int


@dataclass(frozen=True, slots=True)
class Session:
    """Trades of some instruments over one or more trading days, and what is wrong in them.

    Attributes
    ----------
    records
        ``TRADE`` records with defined prices, shape ``(n,)``, in the order of ``ts_recv``.
    symbols
        Symbol of each instrument id.
    labels
        Known anomalies, sorted by ``ts_start``, then key.
    hours
        Opening and closing time of each trading day, ns, half-open.
    """

    records: Array
    symbols: dict[int, str]
    labels: tuple[Label, ...] = ()
    hours: tuple[tuple[int, int], ...] = ()

    def instrument_id(self, key: str) -> int:
        """Return the id of a symbol.

        Raises
        ------
        KeyError
            If no instrument of the session has it.
        """
        for instrument_id, symbol in self.symbols.items():
            if symbol == key:
                return instrument_id
        raise KeyError(key)

    def labels_of(self, key: str) -> tuple[Label, ...]:
        """Return the labels of one symbol, in time order."""
        return tuple(label for label in self.labels if label.key == key)


def in_order(labels: Iterable[Label]) -> tuple[Label, ...]:
    """Return labels sorted by ``ts_start``, then key.

    >>> [label.key for label in in_order([Label("B", "gap", 5, 6), Label("A", "gap", 5, 6)])]
    ['A', 'B']
    """
    return tuple(sorted(labels, key=lambda label: (label.ts_start, label.key, label.kind)))


def labels_path(path: Path) -> Path:
    """Return where the labels of a session file are.

    >>> labels_path(Path("day.dbn.zst")).name
    'day.dbn.zst.labels.csv'
    """
    return path.with_name(f"{path.name}.labels.csv")


def labels_text(labels: Iterable[Label]) -> str:
    r"""Return the text of a labels file.

    >>> labels_text([Label("SIM001", "gap", 10, 20)])
    'key,kind,ts_start,ts_end\nSIM001,gap,10,20\n'
    """
    rows = [LABEL_FIELDS, *labels]
    return "".join(",".join(str(value) for value in row) + "\n" for row in rows)


def write_labels(path: Path, labels: Iterable[Label]) -> None:
    """Write a labels file.

    Raises
    ------
    UserError
        If it cannot be written.
    """
    with written_whole(path) as part:
        part.write_text(labels_text(labels), encoding="utf-8")


def read_labels(path: Path) -> tuple[Label, ...]:
    """Read the labels of a session from ``PATH.labels.csv``.

    Raises
    ------
    UserError
        If the file cannot be read or has other columns.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))
        if not rows or tuple(rows[0]) != LABEL_FIELDS:
            raise UserError(f"{path} must begin with the line {','.join(LABEL_FIELDS)}")
        return in_order(Label(key, kind, int(start), int(end)) for key, kind, start, end in rows[1:])
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} must hold rows of {','.join(LABEL_FIELDS)}: {error}") from error
