"""Training the population's models of transactions: an isolation forest and a dense autoencoder, in ONNX.

They learn, without labels, from simulated payments and from whatever files are named, as the flow sees them:
features of transactions in the order of time, profiles growing beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from connectors.transaction_columns import Parsed
from connectors.transaction_files import blocks, parse_messages
from connectors.transaction_simulator import TransactionSimulation, simulate_transactions
from models import autoencoder, isolation_forest
from models.cards import write_model
from operators.transaction_detectors import Rules as TransactionRules
from operators.transaction_detectors import folded
from operators.transaction_features import FEATURES
from operators.transaction_history import featured
from tapewatch.errors import UserError
from tapewatch.records import DAY, Array
from tapewatch.transactions import Transactions

KINDS = ("transactions_isolation_forest", "transactions_autoencoder")
#: Seeds and size of the simulated payments.
SIMULATED, USERS, MINUTES = (101, 102), 400, 60 * 1_440
#: Share of a file, by time, that is trained on; the rest is for evaluation.
TRAINED = 0.5
_EPOCHS, _WARM_UP = 12, 1_000
_TREES, _SAMPLES = 100, 1_024
#: Share of the training transactions that the autoencoder is shown.
_TRIMMED = 0.9
_IDLE = 180 * DAY


def train(
    kind: str,
    paths: Sequence[Path],
    out: Path,
    seed: int,
    simulated: Sequence[int] = SIMULATED,
    effort: tuple[int, int] = (USERS, _EPOCHS),
) -> dict[str, Any]:
    """Train a model and write ``KIND.onnx`` and its card ``KIND.json``; return the card.

    Parameters
    ----------
    kind
        One of `KINDS`.
    paths
        Files of transactions; of each the first half by time is used, labels are not.
    out
        An existing folder.
    seed
        The same seed, data and versions give the same bytes.
    simulated, effort
        Seeds of the simulated payments; their users, and the autoencoder's epochs.

    Raises
    ------
    UserError
        For files that cannot be used, or if the extra ``train`` is not installed.
    """
    points: list[Array] = []
    sources: list[dict[str, Any]] = []
    for each in simulated:
        points.append(_features([simulated_transactions(each, effort[0])]))
        sources.append({"simulated": "transactions", "seed": each, "users": effort[0], "minutes": MINUTES})
    for path in paths:
        whole = in_order(path)
        points.append(_features([whole.part(np.arange(int(TRAINED * len(whole))))]))
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        sources.append({"file": path.name, "sha256": digest, "used": f"the first {TRAINED:.0%} by time"})
    training = np.concatenate(points)
    try:
        model, architecture = (_forest if kind == KINDS[0] else _autoencoder)(training, seed, effort[1])
    except ImportError as error:
        raise UserError(f'training needs {error.name}: pip install "tapewatch[train]"') from None
    described = {
        "features": list(FEATURES),
        "architecture": architecture,
        "seed": seed,
        "data": sources,
        "training_transactions": len(training),
        "labels_used": False,
    }
    return write_model(out, kind, model, described, ("tapewatch", "numpy", "scikit-learn", "onnx"))


def simulated_transactions(seed: int, users: int = USERS) -> Transactions:
    """Return simulated payments as the flow would read them."""
    made = simulate_transactions(TransactionSimulation(users=users, minutes=MINUTES, seed=seed))
    return _transactions([parse_messages([value for _, value in made.lines()], {})])


def in_order(path: Path, columns: Mapping[str, str] = MappingProxyType({})) -> Transactions:
    """Return all transactions of a file in the order of time, those of one time in the file's order."""
    whole = _transactions([block.parsed for block in blocks(path, 0, 65_536, columns)])
    return whole.part(np.argsort(whole.times, kind="stable"))


def _transactions(parts: Sequence[Parsed]) -> Transactions:
    whole = Parsed.together(parts)
    return Transactions(
        "history", 0, whole.ids, whole.users, whole.times, whole.amounts, whole.words, whole.numbers
    )


def _features(batches: Sequence[Transactions]) -> Array:
    parts: Iterator[Array] = (part.values for part in featured(batches, personal=True, idle_ns=_IDLE))
    return np.concatenate(list(parts))[_WARM_UP:]


def _forest(points: Array, seed: int, epochs: int) -> tuple[bytes, dict[str, Any]]:
    forest = isolation_forest.train(folded(points), seed, _TREES, _SAMPLES)
    nodes = sum(tree.tree_.node_count for tree in forest.estimators_)
    told = {"trees": len(forest.estimators_), "samples_per_tree": int(forest.max_samples_), "nodes": nodes}
    return isolation_forest.export(forest), told


def _autoencoder(points: Array, seed: int, epochs: int) -> tuple[bytes, dict[str, Any]]:
    # What the rules find strangest is kept from it: it must not learn to give frauds back.
    strange = TransactionRules().build(None).score(points)
    points = points[strange <= np.quantile(strange, _TRIMMED)]
    known = np.ones(points.shape, bool)
    held = slice(len(points) * 9 // 10, None)
    network = autoencoder.train(
        points.astype(np.float64), known, (points[held].astype(np.float64), known[held]), seed, epochs
    )
    layers = [len(FEATURES), *autoencoder.HIDDEN, len(FEATURES)]
    return autoencoder.export(network), {
        "layers": layers,
        "activation": "softsign",
        "epochs": epochs,
        "shown": _TRIMMED,
    }
