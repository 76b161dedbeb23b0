"""How well the transaction flow ranks frauds: every transaction streamed once, in the order of time.

Scores are those the flow's own judging step gives, each before it is learned. Nothing is chosen on what is
measured: of ``seed003`` the second half by time, of the cards June and July.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.transaction_training import in_order
from operators.transaction_detectors import transaction_detectors
from operators.transaction_feedback import FeedbackSettings
from operators.transaction_history import History
from operators.transaction_judge import TransactionJudge
from operators.transaction_scoring import TransactionJudgeSettings
from tapewatch.errors import UserError
from tapewatch.records import DAY, HOUR, Array, Floats
from tapewatch.transactions import Review, Transactions

_IDLE = 180 * DAY
_BATCH = 8_192
#: Labels are known so long after their transactions.
DELAY = 7 * DAY
_CARDS = 100


@dataclass(frozen=True, slots=True)
class Ranking:
    """How well scores rank what is labelled.

    Attributes
    ----------
    roc_auc, average_precision
        As usual; chance gives .5 and the share of frauds.
    precision
        Share of frauds among the top 5 %.
    """

    transactions: int
    frauds: int
    roc_auc: float
    average_precision: float
    precision: float


def ranking(scores: Floats, labels: Array) -> Ranking:
    """Return how well scores rank labels (1 fraud); of equal scores none is before another.

    >>> ranking(np.array([3.0, 2.0, 1.0, 0.0]), np.array([1, 0, 1, 0])).roc_auc
    0.75
    """
    order = np.argsort(-scores, kind="stable")
    ranked, hit = scores[order], labels[order].astype(np.float64)
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    found, seen = np.cumsum(hit)[last], last + 1.0
    frauds, others = found[-1], seen[-1] - found[-1]
    recall, false = found / frauds, (seen - found) / others
    area = float(np.trapezoid(np.append(0, recall), np.append(0, false)))
    average = float(np.sum(np.diff(np.append(0, recall)) * found / seen))
    top = max(int(0.05 * len(scores)), 1)
    return Ranking(len(scores), int(frauds), area, average, float(hit[:top].mean()))


def stream(
    whole: Transactions, *, personal: bool = True, reviews: Sequence[Review] = (), remember: int = 100_000,
    without: Sequence[str] = (), sections: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Floats]:  # fmt: skip
    """Return each detector's score of every transaction, streamed once.

    Parameters
    ----------
    whole
        Transactions in the order of time.
    reviews
        In the order of ``reviewed_at``.
    without
        Columns of numbers that are left out.
    sections
        ``transactions.detectors``.
    """
    feedback = FeedbackSettings(remember, DELAY, 0.1) if reviews else None
    judge = TransactionJudge(
        TransactionJudgeSettings(
            transaction_detectors(sections or {}), 100.0, personal, True, "", feedback, HOUR
        )
    )
    history = History(_IDLE)
    times = np.array([review.reviewed_at for review in reviews], np.int64)
    scores: dict[str, list[Floats]] = {}
    given = 0
    for seq, at in enumerate(range(0, len(whole), _BATCH)):
        rows = np.arange(at, min(at + _BATCH, len(whole)))
        part = whole.part(rows)
        due = int(np.searchsorted(times, int(part.times.max()), "right"))
        numbers = {name: column for name, column in part.numbers.items() if name not in without}
        batch = Transactions(
            "q", seq, part.ids, part.users, part.times, part.amounts, part.words, numbers,
            tuple(reviews[given:due]),
        )  # fmt: skip
        given = due
        measured = history.measure(batch)
        for name, found in judge.scores(batch, measured).items():
            scores.setdefault(name, []).append(found)
    return {name: np.concatenate(parts) for name, parts in scores.items()}


def labels_of(path: Path, column: str, order: Array) -> Array:
    """Return a column of labels in the given order."""
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        found: Array = pq.read_table(path, columns=[column]).column(0).to_numpy()
    else:
        import csv

        with path.open(newline="") as file:
            found = np.array([int(row[column]) for row in csv.DictReader(file)])
    return found[order]


def cards_per_day(
    scores: Floats, labels: Array, users: Sequence[str], days: Array, *, delay: int = 7
) -> float:
    """Return the share of compromised cards among the 100 most suspect of each day, averaged over the days.

    Cards of which a fraud has become known, ``delay`` days after it, are no longer looked at (Le Borgne and
    others, "Reproducible Machine Learning for Credit Card Fraud Detection", 2022).
    """
    names, card = np.unique(np.array(users), return_inverse=True)
    first = np.full(len(names), np.iinfo(np.int64).max)
    bad = labels == 1
    np.minimum.at(first, card[bad], days[bad])
    found = []
    for day in np.unique(days).tolist():
        today = np.flatnonzero((days == day) & (first[card] > day - delay))
        best = np.full(len(names), -np.inf)
        np.maximum.at(best, card[today], scores[today])
        fraud = np.zeros(len(names), bool)
        fraud[card[today[bad[today]]]] = True
        top = np.argsort(-best, kind="stable")[:_CARDS]
        found.append(float(fraud[top][np.isfinite(best[top])].sum()) / _CARDS)
    return float(np.mean(found))


def file_order(path: Path) -> tuple[Transactions, Array]:
    """Return a file's transactions in the order of time, and where each was in the file."""
    from connectors.transaction_files import blocks

    times = np.concatenate([block.parsed.times for block in blocks(path, 0, 65_536, {})])
    return in_order(path), np.argsort(times, kind="stable")


def quality(paths: Sequence[Path]) -> dict[str, Any]:
    """Return the table of qualities for files named as in the test data.

    Raises
    ------
    UserError
        If a file is not one of those whose labels are known here.
    """
    found: dict[str, Any] = {}
    for path in paths:
        if path.name.startswith("seed003"):
            found |= _seed003(path)
        elif path.name.startswith("cards-2018"):
            found |= _cards(path)
        else:
            raise UserError(
                f"`--data` names {path}; known are seed003-train.csv and cards-2018-04-07.parquet"
            )
    return found


def table(result: dict[str, Any]) -> str:
    """Return the qualities as Markdown."""
    lines = ["| what | detector | precision at 5 % | ROC AUC | average precision |", "|---|---|---|---|---|"]
    others = []
    for what, found in result.items():
        if not isinstance(found, dict):
            others.append(f"{what}: {found:.0f}")
            continue
        for name, value in found.items():
            if isinstance(value, Ranking):
                figures = (value.precision, value.roc_auc, value.average_precision)
                lines.append(f"| {what} | `{name}` | " + " | ".join(f"{x:.3f}" for x in figures) + " |")
            else:
                others.append(f"{what}, {name}: {value:.3f}")
    return "\n".join([*lines, "", *others]) + "\n"


def as_json(result: dict[str, Any]) -> dict[str, Any]:
    """Return the qualities for a file of JSON."""
    return {
        what: {n: asdict(v) if isinstance(v, Ranking) else v for n, v in found.items()}
        if isinstance(found, dict)
        else found
        for what, found in result.items()
    }


def _seed003(path: Path) -> dict[str, Any]:
    whole, order = file_order(path)
    label = labels_of(path, "is_anomaly", order)
    half = slice(len(whole) // 2, None)
    found: dict[str, Any] = {}
    for name, without in (("seed003", ()), ("seed003 without total_amount_24h", ("total_amount_24h",))):
        began = time.process_time()
        scores = stream(whole, without=without)
        found[name] = {n: ranking(np.nan_to_num(s[half]), label[half]) for n, s in scores.items()}
        found[f"{name}: CPU seconds"] = time.process_time() - began
    return found


def _cards(path: Path) -> dict[str, Any]:
    whole, order = file_order(path)
    label, kind = labels_of(path, "TX_FRAUD", order), labels_of(path, "TX_FRAUD_SCENARIO", order)
    days = whole.times // DAY
    test = days >= np.datetime64("2018-06-01").astype("datetime64[D]").astype(np.int64)
    seen = test & (kind != 2)
    found: dict[str, Any] = {}
    frauds = np.flatnonzero(label == 1)
    reviews = [Review(whole.ids[i], 1, int(whole.times[i]) + DELAY) for i in frauds.tolist()]
    for name, given in (("cards", ()), ("cards, labels after 7 days", reviews)):
        began = time.process_time()
        scores = stream(whole, reviews=given)
        scores = {n: np.nan_to_num(s, nan=0.0) for n, s in scores.items()}
        found[name] = {n: ranking(s[test], label[test]) for n, s in scores.items()}
        found[f"{name}: scenarios 1 and 3"] = {n: ranking(s[seen], label[seen]) for n, s in scores.items()}
        names = [whole.users[i] for i in np.flatnonzero(test).tolist()]
        found[f"{name}: cards among 100"] = {
            n: cards_per_day(s[test], label[test], names, days[test]) for n, s in scores.items()
        }
        found[f"{name}: CPU seconds"] = time.process_time() - began
    return found
