"""What predictions are made with before a flow has published anything: its knowledge of a simulation."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from connectors.plain_state import plain
from models.transaction_training import MINUTES, USERS, simulated_transactions
from operators.transaction_detectors import Rules, TransactionAutoencoder, TransactionForest
from operators.transaction_features import FEATURES
from operators.transaction_history import History
from operators.transaction_judge import TransactionJudge
from operators.transaction_settings import judging
from tapewatch.settings import Settings

KIND = "transactions_cold_start"
#: Of the simulated payments, which no model was trained on.
SEED = 103


def make(out: Path, seed: int = SEED, users: int = USERS) -> dict[str, Any]:
    """Write ``transactions_cold_start.json`` and return what it holds.

    Parameters
    ----------
    out
        An existing folder.
    seed, users
        Of the simulated payments; the default settings judge them.
    """
    batch = simulated_transactions(seed, users)
    wanted = judging(Settings.model_construct())
    judge = TransactionJudge(wanted)
    judge.scores(batch, History(wanted.idle_ns).measure(batch))
    told = judge.published()
    found: dict[str, Any] = {
        "kind": KIND,
        "format": told.version,
        "data": {"simulated": "transactions", "seed": seed, "users": users, "minutes": MINUTES},
        "versions": {"tapewatch": version("tapewatch"), "numpy": version("numpy")},
        "probe": probe(),
        "transactions": told.transactions,
        "ts_last": told.ts_last,
        "state": orjson.loads(orjson.dumps(plain(told.state))),
    }
    (out / f"{KIND}.json").write_text(json.dumps(found) + "\n")
    return found


def probe() -> dict[str, list[float]]:
    """Return what detectors without a state make of each feature alone, four deviations above usual.

    It is in the file, so that one which is older than the detectors can be told.
    """
    points = 4.0 * np.eye(len(FEATURES), dtype=np.float32)
    return {
        detector.name: [round(score, 4) for score in detector.build(None).score(points).tolist()]
        for detector in judging(Settings.model_construct()).detectors
        if isinstance(detector, Rules | TransactionForest | TransactionAutoencoder)
    }
